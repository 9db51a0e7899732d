"""The rows of a dataset as the bank reads them: pixels, defects and references; or good images."""

from __future__ import annotations

import logging
from collections.abc import Collection, Container, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from magical_hub.boxes import Box
from magical_hub.data.columns import Columns
from magical_hub.data.images import read_pixels, without_copies
from magical_hub.data.kinds import check_one_kind, range_of_16_bits
from magical_hub.data.rows import GOOD_IMAGE, LabelledRow, LabelledRows
from magical_hub.defects.examples import parts_of
from magical_hub.defects.pixels import as_pixels, in_channels
from magical_hub.errors import DataError

if TYPE_CHECKING:
    import datasets

logger = logging.getLogger(__name__)

Part = Literal["image", "reference"]


@dataclass(frozen=True)
class Marked:
    """One defect of a row as it is annotated: its class, and a box or a mask (H, W) bool or both."""

    category: str
    box: Box | None
    mask: np.ndarray | None


@dataclass(frozen=True)
class Row:
    """An image with its defects, and what to call it in an error; a good one has none.

    Its mask marks `specks` more, each too small for a defect.
    """

    number: int
    name: str
    pixels: np.ndarray
    marked: list[Marked]
    specks: int
    reference: np.ndarray | None


class Rows(LabelledRows):
    """Rows of a dataset of which it is known which have defects and which are good.

    Args:
        dataset: with rows of defects and good rows.
        columns: as `find_columns` finds them.
        mask_values: the class that each value of a mask stands for.
        defect_labels: labels of defective images, where there is neither a column of objects nor one of masks.

    Raises:
        DataError: where nothing says which rows are good, or images are of several kinds (grey and in colour, 8 bits
            and 16).
    """

    def __init__(
        self,
        dataset: datasets.Dataset,
        columns: Columns,
        mask_values: Mapping[int, str] | None,
        defect_labels: Collection[str] = (),
    ) -> None:
        if columns.objects is None and columns.mask is None and not (defect_labels and columns.label):
            raise DataError(
                "the dataset has neither a column of objects nor one of masks: name the one that it has, or give a "
                "folder a metadata.jsonl with file_name and mask_file_name or objects"
            )
        super().__init__(dataset, columns, mask_values, defect_labels)
        check_one_kind(lambda: filter(None, (row.stored("image") for row in self.over("image"))))
        self.defective, self.good, self.unknown = self.kinds
        if self.unknown:
            logger.warning(
                "%d rows do not say whether they have a defect, and are left out%s: a good image has %s",
                len(self.unknown),
                self._classes_of_unknown(),
                GOOD_IMAGE,
            )

    def _classes_of_unknown(self) -> str:
        """The classes of rows that do not say whether they have a defect, in brackets; empty where they have none."""
        classes = sorted({label for number in self.unknown if (label := self.told[number][0]) is not None})
        shown = [f"{name}, of which others have a defect" if name in self.normal_labels else name for name in classes]
        return f" (their classes: {', '.join(shown)})" if shown else ""

    def white(self, numbers: Iterable[int]) -> int:
        """The greatest value of the range of 16-bit images and references of some rows: see `range_of_16_bits`."""
        parts: tuple[Part, ...] = ("image", "reference")
        stored = (row.stored(part) for row in map(self.__getitem__, numbers) for part in parts)
        return int(range_of_16_bits(filter(None, stored)).high)

    def read(self, number: int) -> Row:
        """One row, decoded.

        Raises:
            DataError: where an image, mask or reference cannot be used; it names the row.
        """
        row = self[number]
        pixels, stored = without_copies(_pixels(*row.image)), row.stored("reference")
        reference = None
        if stored is not None:
            reference = _of_kind(_pixels(*stored), pixels, stored[1])
        return Row(number, row.name, pixels, *_marked(row), reference)

    def pixels(self, number: int, part: Part = "image") -> np.ndarray:
        """The pixels of an image of a row: (H, W) or (H, W, 3), uint8 or uint16."""
        row = self[number]
        stored = row.image if part == "image" else row.stored(part)
        if stored is None:
            raise DataError(f"{row.name} has no {part}: leave it out")
        return _pixels(*stored)

    def targets(self, among: Container[int] | None = None) -> tuple[list[int], Part]:
        """The rows that can be painted on, and which image of theirs: good rows, or else those with a reference.

        Args:
            among: numbers of the rows that may be used; None: all of them.

        Raises:
            DataError: where there are none.
        """
        part: Part = "image"
        numbers = [number for number in self.good if among is None or number in among]
        if not numbers and self.columns.reference is not None:
            part = "reference"
            with_one = (row.number for row in self.over("reference") if row.stored("reference") is not None)
            numbers = [number for number in with_one if among is None or number in among]
        if not numbers:
            raise DataError(f"the dataset has no good image ({GOOD_IMAGE}): add some to paint defects on")
        return numbers, part

    def classes(self, occurring: list[str]) -> list[str]:
        """The names of the classes that occur, in the order of the dataset."""
        ordered = [*self.defect_names, *((self.masks.names if self.masks else None) or ()), *sorted(occurring)]
        return [name for name in dict.fromkeys(ordered) if name in occurring]


def _marked(row: LabelledRow) -> tuple[list[Marked], int]:
    """The defects of a row: its objects or, where it has none, what its mask marks; and the specks of that mask."""
    marked, specks = [], 0
    if row.objects is None and row.marked is not None:
        for value in np.unique(row.marked[row.marked > 0]):
            parts, smaller = parts_of(row.marked == value)
            marked += [Marked(row.marked_names[value - 1], None, part) for part in parts]
            specks += smaller
    for item in row.objects or ():
        mask = None if item.mask is None else item.mask()
        marked.append(Marked(item.category, item.box, mask if mask is not None and mask.any() else None))
    return marked, specks


def _pixels(source: Path | bytes, name: str) -> np.ndarray:
    return as_pixels(read_pixels(source, name), name)


def _of_kind(reference: np.ndarray, pixels: np.ndarray, name: str) -> np.ndarray:
    """The reference in the channels of the image; it must have its size and depth."""
    if reference.shape[:2] != pixels.shape[:2] or reference.dtype != pixels.dtype:
        raise DataError(
            f"{name} is {reference.shape[0]} x {reference.shape[1]} {reference.dtype}, and the image "
            f"{pixels.shape[0]} x {pixels.shape[1]} {pixels.dtype}: give one of the same size and depth"
        )
    return in_channels(reference, 1 if pixels.ndim == 2 else 3)
