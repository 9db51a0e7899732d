"""A labelled dataset as every format of labelled images is written from it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from tqdm.auto import tqdm

from magical_hub.boxes import connected_parts
from magical_hub.data.columns import Columns, stored_values
from magical_hub.data.images import read_image
from magical_hub.data.rows import LabelledObject, LabelledRow, LabelledRows
from magical_hub.errors import DataError
from magical_hub.export.names import base_name, file_stems, names_beside

if TYPE_CHECKING:
    import datasets

DEPTHS = ("I", "F", "RGB;16")
"""Modes of images of which some, or all, can't be written as PNG."""


class Samples(LabelledRows):
    """The rows of a dataset, for files beside which they are described.

    Args:
        dataset: its images are decoded one at a time.
        columns: what its columns hold.
        mask_values: names of the defect classes that values of its masks stand for.

    Attributes:
        more: the columns of text and numbers beside these, and the names of what they store where they are classes.
        files: the names of the files that the images came in, None where the dataset doesn't record them.
        stems: of the files that are written: those of the files that the images came in, or their numbers.

    Raises:
        DataError: where an image is missing, and as `LabelledRows`.
    """

    def __init__(
        self, dataset: datasets.Dataset, columns: Columns, mask_values: Mapping[int, str] | None = None
    ) -> None:
        from datasets import ClassLabel, Value

        super().__init__(dataset, columns, mask_values)
        self._mode: str | None = dataset.features[columns.image].mode
        self.more = {
            name: {number: text for text, number in stored_values(feature).items()}
            for name, feature in dataset.features.items()
            if isinstance(feature, (Value, ClassLabel)) and name != columns.label
        }
        self.files = self._file_names()
        self.stems = file_stems(self.files)

    def to_write(self) -> Iterator[LabelledRow]:
        """All rows, under a bar."""
        return iter(tqdm(self, desc="Writing images", unit="img"))

    def unwritten(self) -> Iterator[LabelledRow]:
        """The rows for reading their labels, without reading other columns."""
        return self.over("image", "label", "objects", "mask")

    @property
    def has_file_names(self) -> bool:
        """Whether images say which file they came in."""
        return any(name is not None for name in self.files)

    def image(self, row: LabelledRow) -> Image.Image:
        """The image of a row, as a viewer shows it, in the mode in which `datasets` decodes it.

        Raises:
            DataError: where it can't be read, or a PNG file can't hold it.
        """
        image = read_image(*row.image)
        return image if self._mode in (None, image.mode) else image.convert(self._mode)

    def more_of(self, row: LabelledRow) -> dict[str, Any]:
        """What its columns of text, numbers and (by name) classes say beside the label."""
        return plain({name: names.get(row.values[name], row.values[name]) for name, names in self.more.items()})

    def all_objects(self, row: LabelledRow) -> list[LabelledObject]:
        """The objects of a row; where the dataset has no column of them, the connected parts of the mask.

        Raises:
            DataError: where a mask marks something that nothing names.
        """
        if self.columns.objects is not None or row.marked is None:
            return row.objects or []
        items = []
        for value in np.unique(row.marked[row.marked > 0]).tolist():
            parts, boxes = connected_parts(row.marked == value)
            category = row.marked_names[value - 1]
            items += [
                LabelledObject(box, category, partial(np.equal, parts, part)) for part, box in enumerate(boxes, 1)
            ]
        return items

    def names_beside(self, is_key: Callable[[str], bool]) -> dict[str, str]:
        """What the columns that a format hands on are called in it: the label, the objects and those of `more`.

        Args:
            is_key: whether a name means something to the format.
        """
        own = [self.columns.label, self.columns.objects, *self.more]
        return names_beside([name for name in own if name is not None], is_key)

    def check(self) -> None:
        """Refuse rows that no format can be right of, before anything is written.

        Raises:
            DataError: where a label, a box, a mask or the depth of an image is invalid.
        """
        for row in self.unwritten():
            _, mode = row.header
            if mode in DEPTHS:
                self.image(row)  # which refuses what a PNG file can't hold
            _ = row.label, row.objects
            row.check_sizes()
        _ = self.masks

    def check_objects(self, format_name: str) -> None:
        """Refuse a dataset for a format of detectors, where a row does not say whether it has defects, or which.

        Raises:
            DataError: naming the first such row.
        """
        columns = self.columns
        if columns.objects is None and columns.mask is None:
            raise DataError(
                f"{format_name} is for boxes, and no column has objects with bbox and category, nor masks: name one"
            )
        defective, good = {*self.kinds.defective}, {*self.kinds.good}
        for row in self.unwritten():
            if columns.objects is None and row.number in defective:
                _ = row.marked_names  # which refuses a mask where nothing says what it marks
            says = row.stored("mask") if columns.objects is None else row.stored_objects
            if says is None and row.number not in good:
                column = columns.objects or columns.mask
                raise DataError(
                    f"{row.name} does not say whether it has defects (its {column!r} is null), and a detector "
                    f"would take it for a good image: leave such rows out, or take another format than {format_name}"
                )

    def _file_names(self) -> list[str | None]:
        """The names of the files that the images came in, without reading their bytes."""
        import pyarrow.compute as pc

        column, names = self.columns.image, list[str | None]()
        for batch in self.dataset.select_columns([column]).with_format("arrow").iter(1000):
            missing = pc.index(batch[column].is_null(), True).as_py()
            if missing >= 0:
                raise DataError(f"row {len(names) + missing} has no image: leave it out")
            paths = pc.struct_field(batch[column], "path").to_pylist()
            names += [base_name(path) or None if path else None for path in paths]
        return names


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values as JSON has them: numbers that are none are null there."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in values.items()
    }


def save_image(image: Image.Image, path: Path) -> None:
    """Write an image as PNG, which keeps every value of the modes that `read_image` gives."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, format="PNG")
