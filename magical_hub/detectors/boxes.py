"""A small anchor-free detector of boxes: for each cell how likely a defect's centre is there, and its four sides.

Centres are learned as in CenterNet (Zhou et al. 2019, "Objects as Points"), sides as in TTFNet (Liu et al. 2020,
"Training-Time-Friendly Network"): every cell near a centre learns them, weighted by how near it is, which needs fewer
steps than the centre alone.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from magical_hub.detectors.network import UNet, padded
from magical_hub.metrics.average_precision import overlaps

SPREAD = 0.09
"""Standard deviation of a centre's bell, in sides of the box: 0.54 / 6, as in TTFNet."""
MOST_BOXES = 100
"""The most boxes of an image, as in COCO's evaluation."""
OVERLAP = 0.6
"""Of two boxes of a class that overlap by more (intersection over union), the one with the lower score goes."""
LOWEST_SCORE = 0.005
_AT_ONCE = 32


class Detections(NamedTuple):
    """Boxes found in one image, the highest score first.

    Attributes:
        boxes: (n, 4) float32: x, y, width, height in pixels, inside the image.
        scores: (n,) float32 from 0 to 1.
        categories: (n,) int64.
    """

    boxes: np.ndarray
    scores: np.ndarray
    categories: np.ndarray


class BoxDetector(nn.Module):
    """Finds boxes of defects.

    Args:
        channels: of the images.
        num_classes: of the defects.
        stride: pixels of a cell.
        widths: of the U-Net.
    """

    def __init__(
        self, channels: int, num_classes: int, stride: int = 4, widths: tuple[int, ...] = (64, 96, 128)
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.features = UNet(channels, stride, widths)
        self.head = nn.Conv2d(widths[0], num_classes + 4, 3, padding=1)
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.constant_(self.head.bias[:num_classes], -4.0)  # type: ignore[index]  # few cells hold a centre
        nn.init.constant_(self.head.bias[num_classes:], 1.0)  # type: ignore[index]  # sides of some cells

    def forward(self, images: Tensor) -> Tensor:
        """Class logits and the logarithms of the distances to the left, upper, right and lower side, in cells.

        Args:
            images: (N, C, H, W) in [-1, 1].

        Returns:
            (N, num_classes + 4, h, w), float32.
        """
        return self.head(self.features(padded(images, self.features.multiple))).float()

    def loss(self, images: Tensor, boxes: list[np.ndarray], categories: list[np.ndarray]) -> Tensor:
        """The mean loss of a box.

        Args:
            images: (N, C, H, W) in [-1, 1].
            boxes, categories: of each image, as in `LabelledImages`.
        """
        output = self(images)
        heat, sides, weights = targets(boxes, categories, self.num_classes, self.features.stride, output.shape[-2:])
        logits, reach = output[:, : self.num_classes], output[:, self.num_classes :].clamp(-4, 6).exp()
        count = max(1, sum(len(some) for some in boxes))
        centres = _centre_loss(logits, heat.to(logits.device)) / count
        weights, sides = weights.to(logits.device), sides.to(logits.device)
        return centres + 2 * ((1 - _overlap(reach, sides)) * weights).sum() / count

    @torch.inference_mode()
    def detect(self, images: np.ndarray) -> list[Detections]:
        """The boxes of images (N, H, W, C) uint8."""
        self.eval()
        found = []
        height, width = images.shape[1:3]
        for first in range(0, len(images), _AT_ONCE):
            output = self(as_input(images[first : first + _AT_ONCE], self.head.weight.device)).cpu()
            for one in output:
                found.append(_read(one, self.num_classes, self.features.stride, height, width))
        return found


def as_input(images: np.ndarray, device: torch.device) -> Tensor:
    """(N, H, W, C) uint8 as what a network takes: (N, C, H, W) in [-1, 1], channels last in memory."""
    return torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1


def targets(
    boxes: list[np.ndarray], categories: list[np.ndarray], num_classes: int, stride: int, shape: torch.Size
) -> tuple[Tensor, Tensor, Tensor]:
    """What a detector should answer.

    Returns:
        How near each cell is to a centre of each class (N, num_classes, h, w), 1 in a box's own cell; the distances to
        the sides in cells (N, 4, h, w); how much a cell's distances count (N, 1, h, w), in sum 1 for each box.
    """
    heat = np.zeros((len(boxes), num_classes, *shape), np.float32)
    sides = np.zeros((len(boxes), 4, *shape), np.float32)
    weights = np.zeros((len(boxes), 1, *shape), np.float32)
    down, across = np.arange(shape[0], dtype=np.float32) + 0.5, np.arange(shape[1], dtype=np.float32) + 0.5
    for number, (some, kinds) in enumerate(zip(boxes, categories, strict=True)):
        order = np.argsort(-some[:, 2] * some[:, 3], kind="stable")  # small boxes last, over large ones
        for (x, y, width, height), kind in zip(some[order] / stride, kinds[order], strict=True):
            middle_x, middle_y = x + width / 2, y + height / 2
            col, row = min(int(middle_x), shape[1] - 1), min(int(middle_y), shape[0] - 1)
            bell_x = np.exp(-(((across - across[col]) / max(SPREAD * width, 1 / 3)) ** 2) / 2)
            bell_y = np.exp(-(((down - down[row]) / max(SPREAD * height, 1 / 3)) ** 2) / 2)
            bell = bell_y[:, None] * bell_x[None]
            np.maximum(heat[number, kind], bell, out=heat[number, kind])
            inside = (across > x) & (across < x + width) & ((down > y) & (down < y + height))[:, None]
            near = (bell > 0.05) & inside
            near[row, col] = True
            weights[number, 0][near] = bell[near] / bell[near].sum()
            grid_y, grid_x = np.meshgrid(down, across, indexing="ij")
            distances = (grid_x - x, grid_y - y, x + width - grid_x, y + height - grid_y)
            for side, distance in enumerate(distances):
                sides[number, side][near] = np.maximum(distance[near], 0.05)
    return torch.from_numpy(heat), torch.from_numpy(sides), torch.from_numpy(weights)


def _centre_loss(logits: Tensor, heat: Tensor) -> Tensor:
    """The focal loss that punishes cells near a centre less (Law and Deng 2018, CornerNet, equation 1)."""
    chances = logits.sigmoid()
    there = heat == 1
    missed = -((1 - chances) ** 2) * F.logsigmoid(logits)
    false = -((1 - heat) ** 4) * chances**2 * F.logsigmoid(-logits)
    return torch.where(there, missed, false).sum()


def _overlap(ours: Tensor, theirs: Tensor) -> Tensor:
    """Generalised intersection over union (Rezatofighi et al. 2019) of boxes around the same cells, (N, 1, h, w)."""
    both, either = torch.minimum(ours, theirs), torch.maximum(ours, theirs)

    def area(sides: Tensor) -> Tensor:
        return (sides[:, :1] + sides[:, 2:3]) * (sides[:, 1:2] + sides[:, 3:])

    shared, hull = area(both), area(either)
    union = (area(ours) + area(theirs) - shared).clamp(min=1e-6)
    return shared / union - (hull - union) / hull.clamp(min=1e-6)


def _read(output: Tensor, num_classes: int, stride: int, height: int, width: int) -> Detections:
    """The boxes of one image's output (num_classes + 4, h, w)."""
    chances = output[:num_classes].sigmoid()
    peaks = chances * (chances == F.max_pool2d(chances[None], 3, 1, 1)[0])
    scores, places = peaks.flatten().topk(min(2 * MOST_BOXES, peaks.numel()))
    scores, places = (values[scores > LOWEST_SCORE] for values in (scores, places))
    cells = places % (output.shape[1] * output.shape[2])
    kinds = places // (output.shape[1] * output.shape[2])
    rows, cols = cells // output.shape[2], cells % output.shape[2]
    left, top, right, bottom = output[num_classes:, rows, cols].clamp(-4, 6).exp()
    corners = torch.stack([cols + 0.5 - left, rows + 0.5 - top, cols + 0.5 + right, rows + 0.5 + bottom], 1) * stride
    corners[:, 0::2] = corners[:, 0::2].clamp(0, width)
    corners[:, 1::2] = corners[:, 1::2].clamp(0, height)
    boxes = torch.cat([corners[:, :2], corners[:, 2:] - corners[:, :2]], 1).numpy()
    kept = _without_duplicates(boxes, kinds.numpy())[:MOST_BOXES]
    return Detections(boxes[kept], scores.numpy()[kept], kinds.numpy()[kept])


def _without_duplicates(boxes: np.ndarray, kinds: np.ndarray) -> np.ndarray:
    """Places of the boxes that stay: greedy non-maximum suppression, each class for itself."""
    shared = (overlaps(boxes, boxes) > OVERLAP) & (kinds[:, None] == kinds)
    alive = boxes[:, 2:].min(1, initial=1) > 0
    for place in range(len(boxes)):
        if alive[place]:
            alive[place + 1 :] &= ~shared[place, place + 1 :]
    return np.flatnonzero(alive)
