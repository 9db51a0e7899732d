"""From sub-regions, alone or in their window, to features: what the critic and the verifier begin with."""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import nn

from magical_hub.grid import Grid, Window
from magical_hub.models.base import Network
from magical_hub.models.checks import check_sub_region
from magical_hub.models.layers import GAIN, HALF, Conv2d, Linear, activate, beside_twin, num_doublings


class HalvingBlock(nn.Module):
    """A residual block that halves the resolution by averaging."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = Conv2d(inputs, inputs, 3, gain=GAIN, padding=1)
        self.conv2 = Conv2d(inputs, outputs, 3, gain=GAIN * HALF, padding=1)
        self.skip = Conv2d(inputs, outputs, 1, gain=HALF, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skip = self.skip(F.avg_pool2d(x, 2))
        # Pooled before the second convolution, where that convolution costs a quarter.
        x = F.avg_pool2d(activate(self.conv1(x)), 2)
        return skip + activate(self.conv2(x))


class SubRegionNetwork(Network):
    """A network that says something of sub-regions. Its subclasses set `grid`, then call `_build_trunk`."""

    grid: Grid

    def _build_trunk(self, channels: int, base_width: int, max_width: int, twins: bool = False) -> int:
        """Make the layers that `_features` runs; returns the number of features.

        Args:
            twins: whether the last convolution sees, beside an image, how its twin differs from it.
            channels: of the images, 1 or 3.
            base_width: channels at half the resolution of a sub-region, doubled with every halving up to `max_width`.
            max_width: the most channels at any level.
        """
        height, width = check_sub_region(self.grid, channels)
        doublings = num_doublings(height, width)
        # Sizes that halving does not divide are made a little larger.
        self.cell_size = (-(-height // 2**doublings) * 2**doublings, -(-width // 2**doublings) * 2**doublings)
        widths = [min(max_width, base_width * 2**level) for level in range(doublings)]
        features = widths[-1]

        # Four pixels a cell: the mirror of the generator's last layer, and no work at full size.
        self.stem = Conv2d(channels * 4, widths[0], 3, gain=GAIN, padding=1)
        self.blocks = nn.ModuleList(HalvingBlock(a, b) for a, b in itertools.pairwise(widths))
        self.sees_twins = twins
        self.last_conv = Conv2d(2 * features if twins else features, features, 3, gain=GAIN, padding=1)
        cells = (self.cell_size[0] >> doublings) * (self.cell_size[1] >> doublings)
        self.trunk = Linear(features * cells, features, GAIN)
        return features

    def _features(self, images: torch.Tensor, window: Window, twins: bool = False) -> torch.Tensor:
        """(B * n, features): the convolutions run over the whole window, the layers after them over sub-regions.

        `twins`: whether images 2i and 2i + 1 are two of one place and class; else each counts as its own twin.
        """
        self.grid.window(window).check_images(images)
        height, width = window[0] * self.cell_size[0], window[1] * self.cell_size[1]
        if images.shape[2:] != (height, width):
            images = F.interpolate(images, size=(height, width), mode="bilinear", align_corners=False)
        x = F.pixel_unshuffle(images, 2).contiguous(memory_format=torch.channels_last)
        x = activate(self.stem(x))
        for block in self.blocks:
            x = block(x)
        if self.sees_twins:
            x = beside_twin(x, twins)
        x = activate(self.last_conv(x))
        cells = Grid(*window, *x.shape[2:]).crop_all(x).flatten(0, 1)
        return activate(self.trunk(cells.flatten(1)))
