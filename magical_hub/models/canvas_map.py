"""The learned map over the canvas, from which a seamless generator has the location."""

from __future__ import annotations

import math

import torch
from torch import nn

from magical_hub.models.layers import HALF, Linear

LARGEST_LEARNED = 64
"""Cells along an axis up to which each has values of its own."""

OWN_CHANNELS = 32
"""Values of every cell that each class has to itself: what a style alone would have to switch on and off."""

RATE = 5.0
"""Factor of the learning rate of the map: few windows of a step contain a given cell. On solar cells bus bars appeared
after 500 steps, and without the factor after 1,700."""


class CanvasMap(nn.Module):
    """Values of every cell of the canvas and of a margin around it, read a tile at a time.

    Up to 64 x 64 cells they are learned one by one. Beyond, a coarse learned map is interpolated bilinearly and a
    linear function of Fourier features of the position is added (Tancik et al. 2020), both worked out for the tile
    alone: neither parameters nor memory grow with the canvas. With classes, half of the map is a class's own: two
    types of package have little in common but the canvas.

    Args:
        cells: rows and columns of cells on the canvas.
        channels: values a cell.
        margin: cells beyond each edge of the canvas.
        num_classes: image classes; 0 for none.
    """

    def __init__(self, cells: tuple[int, int], channels: int, margin: int, num_classes: int = 0) -> None:
        super().__init__()
        self.cells, self.margin = cells, margin
        self.coarse = max(cells) > LARGEST_LEARNED
        # So many cells lie between two coarse points.
        self.stride = [max(1, -(-count // LARGEST_LEARNED)) for count in cells]
        self.points = [
            -(-(count + 2 * margin) // stride) + (1 if self.coarse else 0)
            for count, stride in zip(cells, self.stride, strict=True)
        ]
        count = self.points[0] * self.points[1]
        self.values = nn.Embedding(count, channels)
        self.own_values = nn.Embedding(num_classes * count, OWN_CHANNELS) if num_classes else None
        self.blend = Linear(OWN_CHANNELS, channels, bias=None) if num_classes else None
        with torch.no_grad():
            for values in (self.values, self.own_values):
                if values is not None:
                    values.weight.div_(RATE)
        # Wavelengths from twice the coarse step (or somewhat more) down to four cells: at two every sine would be 0.
        self.octaves = max(1, math.ceil(math.log2(max(self.stride)))) if self.coarse else 0
        self.fourier = Linear(4 * self.octaves, channels, bias=None) if self.coarse else None

    def forward(
        self,
        tops: torch.Tensor,
        lefts: torch.Tensor,
        height: int,
        width: int,
        class_labels: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Tiles that start at cells (tops, lefts), (B,) int64, of -margin at least: (B, channels, height, width).

        `class_labels`, (B,) int64, where there are classes.
        """
        rows = tops[:, None] + torch.arange(height, device=tops.device) + self.margin
        cols = lefts[:, None] + torch.arange(width, device=tops.device) + self.margin
        if not self.coarse:
            return self._look_up(rows, cols, class_labels)
        (up, down_share), (left, right_share) = self._between(rows, 0), self._between(cols, 1)
        down_share, right_share = down_share[:, None, :, None], right_share[:, None, None, :]
        upper, lower = (
            torch.lerp(self._look_up(row, left, class_labels), self._look_up(row, left + 1, class_labels), right_share)
            for row in (up, up + 1)
        )
        return torch.lerp(upper, lower, down_share) + self._waves(rows, cols)

    def _look_up(self, rows: torch.Tensor, cols: torch.Tensor, class_labels: torch.Tensor | None) -> torch.Tensor:
        """(B, h) and (B, w) -> (B, channels, h, w), channels last in memory."""
        points = rows[:, :, None] * self.points[1] + cols[:, None, :]
        values = self.values(points)
        if self.own_values is not None and self.blend is not None:
            assert class_labels is not None
            first = class_labels * (self.points[0] * self.points[1])
            values = HALF * (values + self.blend(self.own_values(points + first[:, None, None])))
        return RATE * values.permute(0, 3, 1, 2)

    def _between(self, cells: torch.Tensor, axis: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The coarse point at or before each cell, and how far the cell lies towards the next."""
        point = cells // self.stride[axis]
        return point, (cells % self.stride[axis]).to(self.values.weight.dtype) / self.stride[axis]

    def _waves(self, rows: torch.Tensor, cols: torch.Tensor) -> torch.Tensor:
        assert self.fourier is not None
        # A linear function of features of the row and of the column is a sum of one of each. Angles are float32 even
        # where the weights are not: 16 bits can't tell one cell from the next on a large canvas.
        weight = self.fourier.weight * self.fourier.scale
        frequencies = math.pi / 2.0 ** torch.arange(1, self.octaves + 1, device=weight.device)
        down, across = (
            torch.cat([(angles := at[:, :, None] * frequencies).sin(), angles.cos()], 2).to(weight.dtype)
            for at in (rows, cols)
        )
        half = down.shape[2]
        vertical = (down @ weight[:, :half].T).permute(0, 2, 1)[:, :, :, None]
        horizontal = (across @ weight[:, half:].T).permute(0, 2, 1)[:, :, None, :]
        return vertical + horizontal
