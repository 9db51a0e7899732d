"""Which cells of each level a seamless generator must work out for a tile: the halo, from the layers backwards."""

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
        """With `by` more cells on each side: what a convolution that takes them away must be given."""
        return Span(self.first - by, self.last + by)

    def halved(self) -> Span:
        """The cells of half the resolution that bilinear doubling reads to make this span."""
        return Span((self.first - 1) // 2, self.last // 2 + 1)


@dataclass(frozen=True)
class LevelSpans:
    """What one level works out along one axis."""

    given: Span
    """Its input: features of the level before (of the first level: of the map)."""
    mid: Span
    """Between its two convolutions, in its own resolution."""
    made: Span
    """Its features."""
    picture: Span
    """Its part of the picture."""


def plan_spans(size: int, num_levels: int) -> list[LevelSpans]:
    """What every level must work out along one axis for `size` pixels: the halo, from the layers backwards."""
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


def reach(level: int, num_levels: int) -> int:
    """How far, in pixels, from where it stands a change of what the block of a level (from 1) is given shows."""
    size = 2**num_levels  # one cell of the map holds every place that a pixel can have in a cell
    span = plan_spans(size, num_levels)[level].given
    cell = 2 ** (num_levels - level + 1)
    return max(-span.first * cell, span.last * cell - size)


def doubled_within(x: torch.Tensor, covered: tuple[Span, Span], rows: Span, cols: Span) -> torch.Tensor:
    """Bilinear doubling of a tensor that covers `covered`, cut to the spans asked for.

    The outermost cells that come of the doubling lack a neighbour, and are never among those asked for.
    """
    down, across = (Span(2 * span.first, 2 * span.last) for span in covered)
    return cut(double(x), (down, across), rows, cols)


def cut(x: torch.Tensor, covered: tuple[Span, Span], rows: Span, cols: Span) -> torch.Tensor:
    """The part of a tensor that covers `covered`.

    By padding with less than nothing: the gradient of a slice loses the layout, which made a step twice as long.
    """
    down, across = covered
    sides = (down.first - rows.first, rows.last - down.last, across.first - cols.first, cols.last - across.last)
    return F.pad(x, (*sides[2:], *sides[:2]))
