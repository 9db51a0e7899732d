"""A detector for few images: a small head on the maps of a frozen ImageNet network."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detection_parts.arms import Boxed
from magical_hub.evaluation.usefulness.looking import Looker

BATCH = 16
LR = 2e-3

MOST = 5
"""Boxes that are said of an image; a package has one defect at most."""


class Mapped(NamedTuple):
    """Images as the head sees them: maps (N, F, h, w) in half precision; boxes (x, y, width, height) in cells."""

    maps: Tensor
    boxes: list[np.ndarray]
    kinds: list[np.ndarray]


class Said(NamedTuple):
    """A detector's boxes of one image, the surest first: (MOST, 4) in pixels (x, y, width, height), kinds, scores."""

    boxes: np.ndarray
    kinds: np.ndarray
    scores: np.ndarray


class Head(nn.Module):
    """Says for each cell whether a defect's centre lies in it, of which kind, and how far the box's sides are."""

    def __init__(self, features: int, num_kinds: int, width: int = 64) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.BatchNorm2d(features),
            *(nn.Conv2d(features, width, 1), nn.ReLU()),
            *(nn.Conv2d(width, width, 3, padding=1), nn.ReLU()),
        )
        self.kinds, self.sides = nn.Conv2d(width, num_kinds, 1), nn.Conv2d(width, 4, 1)
        nn.init.constant_(self.kinds.bias, -4.0)  # type: ignore[arg-type]  # few cells have a defect

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (N, kinds, h, w); distances to the left, upper, right and lower side in cells (N, 4, h, w)."""
        hidden = self.body(maps.float().contiguous(memory_format=torch.channels_last))
        return self.kinds(hidden), F.softplus(self.sides(hidden))


def mapped(looker: Looker, given: Boxed) -> Mapped:
    maps = torch.cat([some.half() for some in looker.maps(given.images)])
    scale = maps.shape[-1] / given.images.shape[-1]
    return Mapped(maps, [boxes * scale for boxes in given.boxes], given.kinds)


def teach(parts: list[Mapped], num_kinds: int, steps: int, seed: int) -> Head:
    """A head taught with one set of images, or with two that share every batch equally, half of each sound."""
    torch.manual_seed(seed)
    rng = np.random.default_rng([seed, 3])
    head = Head(parts[0].maps.shape[1], num_kinds)
    head.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a quarter faster on a CPU
    optimizer = torch.optim.AdamW(head.parameters(), lr=LR, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LR, total_steps=steps)
    for _ in range(steps):
        maps, boxes, kinds = [], list[np.ndarray](), list[np.ndarray]()
        for part in parts:
            chosen = rng.integers(len(part.maps), size=BATCH // len(parts))
            maps.append(part.maps[torch.from_numpy(chosen)])
            boxes += [part.boxes[number] for number in chosen]
            kinds += [part.kinds[number] for number in chosen]
        logits, sides = head(torch.cat(maps))
        wanted, wanted_sides = targets(boxes, kinds, logits.shape)
        chances = logits.sigmoid()
        wrong = torch.where(wanted > 0, 1 - chances, chances)  # the focal loss: what is right already counts little
        loss = (wrong**2 * F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")).sum()
        there = wanted.amax(1, keepdim=True) > 0
        loss = loss + ((sides + 0.1).log() - (wanted_sides + 0.1).log()).abs().mul(there).sum()
        optimizer.zero_grad()
        (loss / there.sum().clamp(min=1)).backward()
        optimizer.step()
        schedule.step()
    return head.eval()


def targets(boxes: list[np.ndarray], kinds: list[np.ndarray], shape: torch.Size) -> tuple[Tensor, Tensor]:
    """What a head should say: kinds (N, kinds, h, w) of 0 and 1, and sides (N, 4, h, w), 0 where no centre lies."""
    wanted, sides = torch.zeros(shape), torch.zeros(shape[0], 4, *shape[2:])
    for number, (some, its_kinds) in enumerate(zip(boxes, kinds, strict=True)):
        for (x, y, width, height), kind in zip(some, its_kinds, strict=True):
            row, col = min(int(y + height / 2), shape[2] - 1), min(int(x + width / 2), shape[3] - 1)
            across, down = col + 0.5, row + 0.5
            wanted[number, kind - 1, row, col] = 1
            distances = torch.tensor([across - x, down - y, x + width - across, y + height - down])
            sides[number, :, row, col] = distances.clamp(min=0.05)
    return wanted, sides


@torch.inference_mode()
def look(head: Head, maps: Tensor, cell: float) -> list[Said]:
    """The boxes of each image; `cell` is the side of a cell in pixels."""
    answers = []
    for some in maps.split(64):
        logits, sides = head(some)
        chances = logits.sigmoid()
        peaks = chances * (chances == F.max_pool2d(chances, 3, 1, 1))  # one box a hill
        scores, where = peaks.flatten(1).topk(MOST)
        kinds, cells = where // peaks[0, 0].numel(), where % peaks[0, 0].numel()
        rows, cols = cells // peaks.shape[3], cells % peaks.shape[3]
        left, top, right, bottom = sides.flatten(2).gather(2, cells[:, None].expand(-1, 4, -1)).unbind(1)
        boxes = torch.stack([cols + 0.5 - left, rows + 0.5 - top, left + right, top + bottom], 2) * cell
        answers += [Said(*(its.numpy() for its in one)) for one in zip(boxes, kinds + 1, scores, strict=True)]
    return answers
