"""Features of defects over the canvas, which a generator adds where the defect map has one, and nowhere else."""

from __future__ import annotations

import torch
from torch import nn

from magical_hub.grid import Grid
from magical_hub.models.layers import GAIN, Conv2d, activate, hashed_noise

OCTAVES = (1, 2)
"""Lattice points of the noise along a side of a sub-region, in each octave."""
CHANNELS = 8
"""Of noise, in each octave."""
WIDTH = 64
FIRST_LAYER = 4096
"""The number of the first noise layer of the first field; below it are those of the map and of the convolutions."""


class DefectField(nn.Module):
    """Features of the defects at the cells of one level, 0 where the map has none.

    Every cell is drawn from the class of its sub-region, its place in it, and smooth noise (Perlin 1985) of the
    image's seed whose lattice is that of the sub-regions: level lines of such noise run on from one sub-region to the
    next, so that a defect may.

    Args:
        grid: the canvas.
        outputs: features of a cell.
        num_defects: classes; class 0 is none and comes on top.
        cell: pixels a cell.
        number: of the field among those of a generator, whose noises differ.
    """

    def __init__(self, grid: Grid, outputs: int, num_defects: int, cell: int, number: int) -> None:
        super().__init__()
        self.grid, self.cell = grid, cell
        self.first_layer = FIRST_LAYER + number * len(OCTAVES) * CHANNELS
        self.conv1 = Conv2d(len(OCTAVES) * CHANNELS + 2, WIDTH, 1, gain=GAIN)
        self.conv2 = Conv2d(WIDTH, WIDTH, 1, gain=GAIN)
        self.conv3 = Conv2d(WIDTH, outputs, 1, bias=False)
        self.shift = nn.Embedding(num_defects, WIDTH)
        self.scale = nn.Embedding(num_defects, WIDTH)

    def forward(
        self,
        defect_labels: torch.Tensor,
        seeds: torch.Tensor | None,
        tops: torch.Tensor,
        lefts: torch.Tensor,
        height: int,
        width: int,
    ) -> torch.Tensor:
        """Tiles that start at cells (tops, lefts), (B,) int64, and may leave the canvas: (B, outputs, height, width).

        Args:
            defect_labels: (B, R, K) int64; 0 none.
            seeds: (B,) int64, one per image; None for no noise.
            tops, lefts, height, width: in cells.
        """
        down = self._along(tops, height, self.grid.cell_height)
        across = self._along(lefts, width, self.grid.cell_width)
        rows = down.floor().long().clamp(0, self.grid.rows - 1)  # past the edge as at the edge
        cols = across.floor().long().clamp(0, self.grid.cols - 1)
        which = torch.arange(len(rows), device=rows.device)[:, None, None]
        classes = defect_labels[which, rows[:, :, None], cols[:, None, :]]
        places = [
            (2 * (down - rows).clamp(0, 1) - 1)[:, None, :, None].expand(-1, 1, -1, width),
            (2 * (across - cols).clamp(0, 1) - 1)[:, None, None, :].expand(-1, 1, height, -1),
        ]
        x = self.conv1(torch.cat([*self._noise(seeds, down, across), *places], 1).to(self.shift.weight.dtype))
        known = (classes - 1).clamp(min=0)
        shift, scale = (of(known).permute(0, 3, 1, 2) for of in (self.shift, self.scale))
        x = activate(x + shift.to(x.dtype))
        x = activate(self.conv2(x) * (1 + 0.5 * scale).to(x.dtype))
        return self.conv3(x) * (classes > 0)[:, None]

    def _along(self, starts: torch.Tensor, count: int, size: int) -> torch.Tensor:
        """The middles of cells along one axis, in sub-regions: (B, count)."""
        return (starts[:, None] + torch.arange(count, device=starts.device) + 0.5) * (self.cell / size)

    def _noise(self, seeds: torch.Tensor | None, down: torch.Tensor, across: torch.Tensor) -> list[torch.Tensor]:
        """(B, CHANNELS, h, w) an octave."""
        if seeds is None:
            return [down.new_zeros(len(down), len(OCTAVES) * CHANNELS, down.shape[1], across.shape[1])]
        made = []
        for octave, points in enumerate(OCTAVES):
            layers = torch.arange(CHANNELS, device=seeds.device) + self.first_layer + octave * CHANNELS
            (rows, low), (cols, left) = (((at * points).floor().long(), (at * points) % 1) for at in (down, across))
            right_share, low_share = left[:, None, None, :], low[:, None, :, None]
            upper, lower = (
                torch.lerp(
                    hashed_noise(seeds, layers, row, cols), hashed_noise(seeds, layers, row, cols + 1), right_share
                )
                for row in (rows, rows + 1)
            )
            made.append(torch.lerp(upper, lower, low_share))
        return made
