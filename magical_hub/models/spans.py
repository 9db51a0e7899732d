"""The cells of each level that a seamless generator computes for a tile: its receptive field."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from magical_hub.models.layers import double


@dataclass(frozen=True)
class Span:
    """Cells first .. last - 1 of one level along one axis, counted from where the tile starts."""

    first: int
    last: int

    def __len__(self) -> int:
        return self.last - self.first

    def grown(self, by: int) -> Span:
        """With `by` more cells on each side: the input of an unpadded convolution."""
        return Span(self.first - by, self.last + by)

    def halved(self) -> Span:
        """The cells of half the resolution that bilinear doubling reads to make this span."""
        return Span((self.first - 1) // 2, self.last // 2 + 1)


@dataclass(frozen=True)
class LevelSpans:
    """The cells that one level computes along one axis."""

    given: Span
    """Its input: features of the level before (of the first level: of the map)."""
    mid: Span
    """Between its two convolutions, in its own resolution."""
    made: Span
    """Its features."""
    picture: Span
    """Its part of the picture."""


def plan_spans(size: int, num_levels: int) -> list[LevelSpans]:
    """The cells of every level along one axis for `size` pixels, from the last layer back to the map."""
    pixels = Span(0, size)
    smoothed = pixels.grown(1)  # the filter takes a pixel off each side
    shuffled = Span(smoothed.first // 2, -(-smoothed.last // 2))
    made, picture = shuffled.grown(1), pixels.halved()
    spans = []
    for level in reversed(range(num_levels)):
        mid = made.grown(1)
        given = (mid.halved() if level else mid).grown(1)
        spans.append(LevelSpans(given, mid, made, picture))
        made, picture = given, picture.halved()
    return spans[::-1]


def receptive_field_radius(level: int, num_levels: int) -> int:
    """How many pixels from its own cell an input of the block of a level (from 1) can affect."""
    size = 2**num_levels  # one cell of the map has every position of a pixel in a cell
    span = plan_spans(size, num_levels)[level].given
    cell = 2 ** (num_levels - level + 1)
    return max(-span.first * cell, span.last * cell - size)


def doubled_within(x: torch.Tensor, covered: tuple[Span, Span], rows: Span, cols: Span) -> torch.Tensor:
    """Bilinear doubling of a tensor that covers `covered`, cut to `rows` and `cols`.

    The outermost doubled cells lack a neighbour, and are never among `rows` and `cols`.
    """
    down, across = (Span(2 * span.first, 2 * span.last) for span in covered)
    return cut(double(x), (down, across), rows, cols)


def cut(x: torch.Tensor, covered: tuple[Span, Span], rows: Span, cols: Span) -> torch.Tensor:
    """The part of a tensor that covers `covered`.

    By negative padding: the gradient of a slice loses the memory layout, which made a step twice as long.
    """
    down, across = covered
    sides = (down.first - rows.first, rows.last - down.last, across.first - cols.first, cols.last - across.last)
    return F.pad(x, (*sides[2:], *sides[:2]))
