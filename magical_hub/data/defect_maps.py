"""The defects of an image, as boxes or a mask, and the defect map that training reads.

A defect map is (R, K) int64: for each sub-region 0 where there is nothing, else 1 + the number of the defect's class.
A sub-region carries a class where a box (or the mask) covers a share of it; the one that a defect covers most carries
it in any case, so that a small defect is not lost. Of two classes the one that covers more wins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from magical_hub.boxes import checked_box
from magical_hub.data.masks import MaskValues, check_mask_size
from magical_hub.errors import DataError
from magical_hub.grid import Grid


@dataclass(frozen=True)
class Boxes:
    """One box per defect (x, y, width, height), with the number of its class (from 0)."""

    boxes: Sequence[tuple[Sequence[Any], int]]

    def defect_map(self, size: tuple[int, int], grid: Grid, share: float, name: str) -> np.ndarray:
        """The defect map on a canvas to which the image is resized: (R, K) int64.

        Args:
            size: height and width of the image, as it was opened.
            grid: the canvas and its sub-regions.
            share: of a sub-region that must be covered.
            name: what to call the image in an error.

        Raises:
            DataError: where they don't fit the image.
        """
        covered: dict[int, list[np.ndarray]] = {}
        for values, number in self.boxes:
            x, y, width, height = checked_box(values, size, name)
            part = np.outer(
                _overlaps(y, height, size[0] / grid.rows, grid.rows),
                _overlaps(x, width, size[1] / grid.cols, grid.cols),
            )
            covered.setdefault(number, []).append(_marked(part, share))
        return _strongest({number: np.max(parts, axis=0) for number, parts in covered.items()}, grid)

    def classes(self, name: str) -> set[int]:
        """The numbers of the defect classes that occur (from 0); `name` is what to call the image in an error."""
        return {number for _, number in self.boxes}


@dataclass(frozen=True)
class Mask:
    """An image of the same size whose values say what is where.

    Attributes:
        image: its file.
        values: what they mean.
        number: of the image's own class (from 0), which counts where `values` tells no classes apart; None where that
            class stands for no defect, so that the mask must not mark any.
    """

    image: Path | bytes
    values: MaskValues
    number: int | None

    def defect_map(self, size: tuple[int, int], grid: Grid, share: float, name: str) -> np.ndarray:
        """The defect map, as of `Boxes.defect_map`."""
        marked = self._read(name)
        check_mask_size(f"the mask of {name}", marked.shape, size)
        covered = {}
        for value in np.unique(marked[marked > 0]).tolist():
            where = Image.fromarray((marked == value).astype(np.float32))
            part = np.asarray(where.resize((grid.cols, grid.rows), Image.Resampling.BOX))
            covered[self._class(value, name)] = _marked(part, share)
        return _strongest(covered, grid)

    def classes(self, name: str) -> set[int]:
        """The classes, as of `Boxes.classes`."""
        marked = self._read(name)
        return {self._class(value, name) for value in np.unique(marked[marked > 0]).tolist()}

    def _read(self, name: str) -> np.ndarray:
        return self.values.read(self.image, f"the mask of {name}")

    def _class(self, value: int, name: str) -> int:
        if self.values.names is not None:
            return value - 1
        if self.number is None:
            raise DataError(
                f"{name} is called good, and its mask marks a defect: give it the label of the defect, or name the "
                "values of masks by --mask-values"
            )
        return self.number


DefectAnnotation = Boxes | Mask
"""The defects of one image, in the pixels of its file."""


def _strongest(covered: dict[int, np.ndarray], grid: Grid) -> np.ndarray:
    """The class that covers most of each sub-region: (R, K), 0 or 1 + its number."""
    numbers = sorted(covered)
    layers = [np.zeros((grid.rows, grid.cols)), *(covered[number] for number in numbers)]
    return np.array([0, *(number + 1 for number in numbers)])[np.argmax(layers, axis=0)]


def _overlaps(start: float, length: float, cell: float, count: int) -> np.ndarray:
    edges = np.arange(count + 1) * cell
    return (np.minimum(edges[1:], start + length) - np.maximum(edges[:-1], start)).clip(0) / cell


def _marked(covered: np.ndarray, share: float) -> np.ndarray:
    """The covered share of the sub-regions that carry a defect, 0 elsewhere."""
    return np.where((covered >= share) | (covered == covered.max()), covered, 0)
