"""The critic of the paper: a score for each sub-region, and a classification of its location."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import register_to_config
from diffusers.utils import BaseOutput
from torch import nn

from magical_hub.grid import Grid, Window
from magical_hub.models.base import Network
from magical_hub.models.checks import check_class_labels, check_config, check_defect_labels
from magical_hub.models.layers import GAIN, HALF, Conv2d, Linear, activate, halve, num_doublings, with_pair_difference


@dataclass
class CriticOutput(BaseOutput):
    """Output of a critic for B sub-regions (those of all windows together).

    Args:
        score: (B,), higher for more realistic sub-regions; without a unit.
        location_logits: (B, R*K); log P(location) = log P(row) + log P(column).
        class_logits: (B, num_classes), or None.
        defect_logits: (B, 1 + num_defects), the first for none; or None.
    """

    # The defaults are for Accelerate, which makes an output anew from one dict; no critic leaves these out.
    score: torch.Tensor = None  # type: ignore[assignment]
    location_logits: torch.Tensor = None  # type: ignore[assignment]
    class_logits: torch.Tensor | None = None
    defect_logits: torch.Tensor | None = None


class HalvingBlock(nn.Module):
    """A residual block that halves the resolution by averaging."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = Conv2d(inputs, inputs, 3, gain=GAIN, padding=1)
        self.conv2 = Conv2d(inputs, outputs, 3, gain=GAIN * HALF, padding=1)
        self.skip = Conv2d(inputs, outputs, 1, gain=HALF, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skip = self.skip(halve(x))
        # Pooled before the second convolution, where that convolution costs a quarter.
        x = halve(activate(self.conv1(x)))
        return skip + activate(self.conv2(x))


class MagicalCritic(Network):
    """The critic of MAGICal (Chang, Choi and Han 2023): no normalisation, one score, one auxiliary classifier.

    The location is classified as a row and as a column. It also conditions the score by projection (Miyato and Koyama
    2018), as do the class of the image and the defect of the sub-region.

    Args:
        rows, cols, image_size, channels, num_classes, num_defects: as the generator's.
        base_width: channels at half the resolution of a sub-region, doubled with every halving up to `max_width`.
        max_width: the most channels at any level.
        same_location_pairs: whether the last convolution also reads the difference within pairs of images of one
            location and class (after PacGAN, Lin et al. 2018).
    """

    renamed = {"twins": "same_location_pairs"}  # noqa: RUF012 - as diffusers' own class attributes

    @register_to_config
    def __init__(
        self,
        rows: int = 4,
        cols: int = 4,
        image_size: tuple[int, int] = (128, 128),
        channels: int = 1,
        base_width: int = 64,
        max_width: int = 256,
        num_classes: int = 0,
        num_defects: int = 0,
        same_location_pairs: bool = False,
    ) -> None:
        super().__init__()
        self.grid = check_config(self.config)
        height, width = self.grid.cell_height, self.grid.cell_width
        doublings = num_doublings(height, width)
        # Sizes that halving does not divide are made a little larger.
        self.cell_size = (-(-height // 2**doublings) * 2**doublings, -(-width // 2**doublings) * 2**doublings)
        widths = [min(max_width, base_width * 2**level) for level in range(doublings)]
        features = widths[-1]

        # Four pixels a cell: the mirror of the generator's last layer, and no work at full size.
        self.stem = Conv2d(channels * 4, widths[0], 3, gain=GAIN, padding=1)
        self.blocks = nn.ModuleList(HalvingBlock(a, b) for a, b in itertools.pairwise(widths))
        self.same_location_pairs = same_location_pairs
        self.last_conv = Conv2d(2 * features if same_location_pairs else features, features, 3, gain=GAIN, padding=1)
        cells = (self.cell_size[0] >> doublings) * (self.cell_size[1] >> doublings)
        self.trunk = Linear(features * cells, features, GAIN)

        self.score = Linear(features, 1, bias=None)  # only differences of scores count, so one would drift
        self.row_head = Linear(features, rows)
        self.col_head = Linear(features, cols)
        self.row_projection = nn.Embedding(rows, features)
        self.col_projection = nn.Embedding(cols, features)
        self.class_head = Linear(features, num_classes) if num_classes else None
        self.class_projection = nn.Embedding(num_classes, features) if num_classes else None
        self.defect_head = Linear(features, 1 + num_defects) if num_defects else None
        self.defect_projection = nn.Embedding(1 + num_defects, features) if num_defects else None

    def forward(
        self,
        images: torch.Tensor,
        locations: torch.Tensor,
        class_labels: torch.Tensor | None = None,
        window: Window = (1, 1),
        defect_labels: torch.Tensor | None = None,
        in_pairs: bool = False,
    ) -> CriticOutput:
        """Score sub-regions. Convolutions run over the whole window, so that what crosses a seam counts.

        With windows of 1 x 1 this is the critic of the paper, whose input is one sub-region.

        Args:
            images: (B, C, h * window rows, w * window columns) in [-1, 1].
            locations: (B,) int64; of a window, the location of its top-left sub-region.
            class_labels: (B,) int64, or None where the critic has no classes.
            window: rows and columns of sub-regions.
            defect_labels: (B, R, K) int64 of the whole images, or None where the critic has no defects.
            in_pairs: whether images 2i and 2i + 1 are a same-location pair, of one location and class. Otherwise each
                image is paired with itself.

        Returns:
            Outputs for each of the B * window rows * window columns sub-regions, image by image.
        """
        check_class_labels(class_labels, self.config.num_classes)
        check_defect_labels(defect_labels, self.config.num_defects, self.grid)
        members = self.grid.members(locations, window)
        features = self._features(images, window, in_pairs)
        rows, cols = members.flatten() // self.grid.cols, members.flatten() % self.grid.cols
        direction = self.row_projection(rows) + self.col_projection(cols)
        class_logits = None
        if self.class_projection is not None and self.class_head is not None:
            assert class_labels is not None
            direction = direction + self.class_projection(class_labels.repeat_interleave(members.shape[1], 0))
            class_logits = self.class_head(features)
        defect_logits = None
        if self.defect_projection is not None and self.defect_head is not None:
            assert defect_labels is not None
            direction = direction + self.defect_projection(defect_labels.flatten(1).gather(1, members).flatten())
            defect_logits = self.defect_head(features)
        score = self.score(features).squeeze(1).float()
        score = score + (features.float() * direction).sum(1) / features.shape[1] ** 0.5
        location_logits = self.row_head(features)[:, :, None] + self.col_head(features)[:, None, :]
        return CriticOutput(score, location_logits.flatten(1), class_logits, defect_logits)

    def _features(self, images: torch.Tensor, window: Window, in_pairs: bool) -> torch.Tensor:
        """(B * n, features): the convolutions run over the whole window, the layers after them over sub-regions."""
        self.grid.window(window).check_images(images)
        height, width = window[0] * self.cell_size[0], window[1] * self.cell_size[1]
        if images.shape[2:] != (height, width):
            images = F.interpolate(images, size=(height, width), mode="bilinear", align_corners=False)
        x = F.pixel_unshuffle(images, 2).contiguous(memory_format=torch.channels_last)
        x = activate(self.stem(x))
        for block in self.blocks:
            x = block(x)
        if self.same_location_pairs:
            x = with_pair_difference(x, in_pairs)
        x = activate(self.last_conv(x))
        cells = Grid(*window, *x.shape[2:]).crop_all(x).flatten(0, 1)
        return activate(self.trunk(cells.flatten(1)))
