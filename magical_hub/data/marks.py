"""What is wrong with an image, and where: boxes or a mask, turned into the field of classes that training reads.

A field is (R, K) int64: for each sub-region 0 where there is nothing, else 1 + the number of the defect's class. A
sub-region carries a class where a box (or the mask) covers a share of it; the one that a defect covers most carries it
anyhow, so that a small defect is not lost. Of two classes the one that covers more wins.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from magical_hub.data.images import open_image
from magical_hub.errors import DataError
from magical_hub.grid import Grid

SLACK = 0.5
"""Pixels by which a box may stand over the edge of its image: annotation tools round."""


class Marks(ABC):
    """The defects of one image, in the pixels of its file."""

    @abstractmethod
    def field(self, size: tuple[int, int], grid: Grid, share: float, name: str) -> np.ndarray:
        """The field on a canvas to which the image is resized: (R, K) int64.

        Args:
            size: height and width of the image, as it was opened.
            grid: the canvas and its sub-regions.
            share: of a sub-region that must be covered.
            name: what to call the image in an error.

        Raises:
            DataError: where the marks don't fit the image.
        """


@dataclass(frozen=True)
class Boxes(Marks):
    """A box a defect (x, y, width, height), with the number of its class (from 0)."""

    boxes: Sequence[tuple[Sequence[float], int]]

    def field(self, size: tuple[int, int], grid: Grid, share: float, name: str) -> np.ndarray:
        """As `Marks.field` says."""
        coverage = [np.zeros((grid.rows, grid.cols))]
        numbers = sorted({number for _, number in self.boxes})
        for wanted in numbers:
            parts = [_marked(_covered(box, size, grid, name), share) for box, number in self.boxes if number == wanted]
            coverage.append(np.max(parts, axis=0))
        return np.array([0, *(number + 1 for number in numbers)])[np.argmax(coverage, axis=0)]


@dataclass(frozen=True)
class Mask(Marks):
    """A grey image of the same size: what is not black is defective, all of one class (from 0)."""

    image: Path | bytes
    number: int

    def field(self, size: tuple[int, int], grid: Grid, share: float, name: str) -> np.ndarray:
        """As `Marks.field` says."""
        mask = open_image(self.image, f"the mask of {name}").convert("L")
        if (mask.height, mask.width) != size:
            raise DataError(
                f"the mask of {name} is {mask.height} x {mask.width}, and the image {size[0]} x {size[1]}: "
                "give one of the same size"
            )
        where = Image.fromarray((np.asarray(mask) > 0).astype(np.float32))
        covered = np.asarray(where.resize((grid.cols, grid.rows), Image.Resampling.BOX))
        return np.where(_marked(covered, share) > 0, self.number + 1, 0)


def _covered(box: Sequence[float], size: tuple[int, int], grid: Grid, name: str) -> np.ndarray:
    """The share of each sub-region that a box covers: (R, K)."""
    left, top, width, height = box
    inside = -SLACK <= left < left + width <= size[1] + SLACK and -SLACK <= top < top + height <= size[0] + SLACK
    if not (width > 0 and height > 0 and inside):
        raise DataError(
            f"{name} has the box {[round(float(x), 2) for x in box]} (x, y, width, height), which does not lie in the "
            f"image of {size[0]} x {size[1]}: mend it"
        )
    return np.outer(
        _overlaps(top, height, size[0] / grid.rows, grid.rows), _overlaps(left, width, size[1] / grid.cols, grid.cols)
    )


def _overlaps(start: float, length: float, cell: float, count: int) -> np.ndarray:
    edges = np.arange(count + 1) * cell
    return (np.minimum(edges[1:], start + length) - np.maximum(edges[:-1], start)).clip(0) / cell


def _marked(covered: np.ndarray, share: float) -> np.ndarray:
    """What a defect covers of the sub-regions that carry it, 0 elsewhere."""
    return np.where((covered >= share) | (covered == covered.max()), covered, 0)
