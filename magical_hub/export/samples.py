"""A labelled dataset as samples, one an image, from which every format of labelled images is written."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from tqdm.auto import tqdm

from magical_hub.data.boxes import Box, checked_box, connected_parts
from magical_hub.data.columns import LabelledColumns, file_of, object_fields, read_objects, stored_values
from magical_hub.data.images import image_size, read_image
from magical_hub.data.masks import MaskValues, survey_masks
from magical_hub.errors import DataError
from magical_hub.export.names import base_name, file_stems, names_beside

if TYPE_CHECKING:
    import datasets

NORMAL = ("normal", "good", "ok")
"""Names of a class that stand for no defect, in lower case."""
ONE_CLASS = "defect"
"""The category of what a mask marks, where neither its values nor a label name it."""


@dataclass(frozen=True, eq=False)
class Thing:
    """An object of an image.

    Args:
        box: x, y, w, h in pixels, inside the image.
        category: its name.
        mask: (H, W) bool, the pixels that are its own; None where no mask says.
    """

    box: Box
    category: str
    mask: Callable[[], np.ndarray] | None = None


@dataclass(frozen=True, eq=False)
class Sample:
    """An image with all that is known of it.

    Args:
        row: its number in the dataset.
        stem: of its file: that of the file that it came in, or its number.
        image: decoded, as a viewer shows it.
        label: the name of its class.
        objects: those of its column; None where that isn't known, or there is none.
        mask: as the dataset has it; None where there is none.
        marks: (H, W) uint8, what the mask means: see `MaskValues.read`.
        more: other columns of text, numbers and (by name) classes.
        original_name: of the file that it came in.
    """

    row: int
    stem: str
    image: Image.Image
    label: str | None
    objects: list[Thing] | None
    mask: Image.Image | None
    marks: np.ndarray | None
    more: dict[str, Any]
    original_name: str | None


class Samples:
    """The rows of a dataset, as samples.

    Args:
        dataset: its images are decoded one at a time.
        columns: what its columns hold.
        mask_values: names of the defect classes that values of its masks stand for.

    Raises:
        DataError: where it is empty, an image is missing, or its classes have no names.
    """

    def __init__(
        self, dataset: datasets.Dataset, columns: LabelledColumns, mask_values: Mapping[int, str] | None = None
    ) -> None:
        from datasets import ClassLabel, Image, Value

        if mask_values is not None and columns.mask is None:
            raise DataError("mask_values name what masks mark, and no column has masks: name it by mask_column")
        if not len(dataset):
            raise DataError("the dataset is empty: give one with images")
        self.columns, self._mask_values = columns, mask_values
        self._rows, self._mode = dataset.with_format(None), dataset.features[columns.image].mode
        for name in (columns.image, columns.mask):
            if name is not None:
                self._rows = self._rows.cast_column(name, Image(decode=False))
        self._labels = self._names(columns.label)
        self._more = {
            name: {number: text for text, number in stored_values(feature).items()}
            for name, feature in dataset.features.items()
            if isinstance(feature, (Value, ClassLabel)) and name != columns.label
        }
        self.files = self._file_names()
        """The names of the files that the images came in, where the dataset knows them."""
        self._stems = file_stems(self.files)
        self._categories: dict[Any, str] = {}
        if columns.objects is not None:
            field = (object_fields(dataset.features[columns.objects]) or {})["category"]
            found = (read_objects(value, f"row {row}") for row, value in enumerate(self._values(columns.objects)))
            categories = [category for objects in found for _, category in objects or ()]
            stored = stored_values(field, categories, columns.objects)
            self._categories = {value: name for name, value in stored.items()}

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def labels(self) -> list[str]:
        """The names of the classes."""
        return list(self._labels.values())

    @property
    def categories(self) -> list[str]:
        """The names of the categories of objects, in the order of their numbers."""
        if self.columns.objects is not None:
            return list(self._categories.values())
        if self.columns.mask is None:
            return []
        names = self.mask_values.names
        return list(names) if names is not None else self.labels or [ONE_CLASS]

    @property
    def tells_normal(self) -> bool:
        """Whether one of the classes stands for no defect."""
        return any(name.lower() in NORMAL for name in self.labels)

    @cached_property
    def mask_values(self) -> MaskValues:
        """What the values of the masks mean."""
        assert self.columns.mask is not None
        masks = enumerate(tqdm(self._values(self.columns.mask), desc="Reading masks", unit="mask"))
        return survey_masks(
            ((file_of(value), f"the mask of row {row}") for row, value in masks if value is not None),
            self._mask_values,
        )

    def names_beside(self, is_key: Callable[[str], bool]) -> dict[str, str]:
        """What the columns that a format hands on are called in it: the label, the objects and `Sample.more`.

        Args:
            is_key: whether a name means something to the format.
        """
        own = [self.columns.label, self.columns.objects, *self._more]
        return names_beside([name for name in own if name is not None], is_key)

    @property
    def knows_files(self) -> bool:
        """Whether images say which file they came in."""
        return any(name is not None for name in self.files)

    def __iter__(self) -> Iterator[Sample]:
        columns = self.columns
        for number, row in enumerate(tqdm(self._rows, desc="Writing images", unit="img")):
            image = self._image(number, row)
            stored = row[columns.mask] if columns.mask else None
            mask = None if stored is None else read_image(file_of(stored), f"the mask of row {number}")
            marks = None if stored is None else self._marks(number, stored, (image.height, image.width))
            yield Sample(
                row=number,
                stem=self._stems[number],
                image=image,
                label=self._label(number, row),
                objects=self._objects(number, row, (image.height, image.width), marks) if columns.objects else None,
                mask=mask,
                marks=marks,
                more={name: _plain(names.get(row[name], row[name])) for name, names in self._more.items()},
                original_name=self.files[number],
            )

    def check(self) -> None:
        """Look at every row without decoding its image.

        Raises:
            DataError: where a label, a box or a mask is no good.
        """
        columns = self.columns
        names = [name for name in (columns.image, columns.label, columns.objects, columns.mask) if name is not None]
        for number, row in enumerate(self._rows.select_columns(names)):
            width, height = image_size(file_of(row[columns.image]), f"the image of row {number}")
            self._label(number, row)
            if columns.objects is not None:
                self._objects(number, row, (height, width), None)
            if columns.mask is not None and row[columns.mask] is not None:
                shown = image_size(file_of(row[columns.mask]), f"the mask of row {number}")
                _check_size(number, (shown[1], shown[0]), (height, width))
        if columns.mask is not None:
            _ = self.mask_values

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
        column = columns.objects or columns.mask
        names = [name for name in (columns.label, column) if name is not None]
        for number, row in enumerate(self._rows.select_columns(names)):
            if row[column] is None and not (columns.objects is None and self._is_sound_without(number, row)):
                raise DataError(
                    f"row {number} does not say whether it has defects (its {column!r} is null), and a "
                    f"detector would take it for sound: leave such rows out, or take another format than {format_name}"
                )
            if columns.objects is None and row[column] is not None and self.mask_values.names is None:
                label = self._label(number, row)
                if self.labels and (label is None or label.lower() in NORMAL):
                    self._check_named(number, label, self.mask_values.read(file_of(row[column]), f"row {number}"))

    def things(self, sample: Sample) -> list[Thing] | None:
        """The objects of a sample; where the dataset has no column of them, the connected parts of its mask.

        Raises:
            DataError: where a mask marks something that nothing names.
        """
        if self.columns.objects is not None or self.columns.mask is None:
            return sample.objects
        if sample.marks is None:
            return []  # see `check_objects`
        names, things = self.mask_values.names, []
        if names is None and self.labels:
            self._check_named(sample.row, sample.label, sample.marks)
        for value in np.unique(sample.marks[sample.marks > 0]).tolist():
            parts, boxes = connected_parts(sample.marks == value)
            category = names[value - 1] if names is not None else sample.label or ONE_CLASS
            things += [Thing(box, category, partial(np.equal, parts, part)) for part, box in enumerate(boxes, 1)]
        return things

    def _check_named(self, number: int, label: str | None, marks: np.ndarray) -> None:
        if marks.any() and (label is None or label.lower() in NORMAL):
            raise DataError(
                f"row {number} is called {label!r}, and its mask marks a defect: give it the label of the defect, or "
                "name the values of masks by mask_values"
            )

    def _is_sound_without(self, number: int, row: Mapping[str, Any]) -> bool:
        """Whether a row without a mask has no defect: its class says so, where one of the classes stands for none."""
        label = self._label(number, row)
        return not self.tells_normal or (label is not None and label.lower() in NORMAL)

    def _objects(
        self, number: int, row: Mapping[str, Any], size: tuple[int, int], marks: np.ndarray | None
    ) -> list[Thing] | None:
        where = f"row {number}"
        assert self.columns.objects is not None
        found = read_objects(row[self.columns.objects], where)
        if found is None:
            return None
        things = []
        for values, category in found:
            if category not in self._categories:
                raise DataError(f"{where} has an object of the category {category!r}: give it one with a name")
            box, name = checked_box(values, size, where), self._categories[category]
            things.append(Thing(box, name, None if marks is None else self._inside(marks, box, name)))
        return things

    def _inside(self, marks: np.ndarray, box: Box, category: str) -> Callable[[], np.ndarray]:
        """What the mask marks inside a box, of the box's category where the mask tells classes apart."""
        names = self.mask_values.names
        number = 1 + names.index(category) if names is not None and category in names else None

        def pixels() -> np.ndarray:
            x, y, width, height = box
            there = slice(math.floor(y), math.ceil(y + height)), slice(math.floor(x), math.ceil(x + width))
            own = np.zeros(marks.shape, bool)
            own[there] = marks[there] > 0 if number is None else marks[there] == number
            return own

        return pixels

    def _marks(self, number: int, stored: Any, size: tuple[int, int]) -> np.ndarray:
        marks = self.mask_values.read(file_of(stored), f"the mask of row {number}")
        _check_size(number, marks.shape, size)
        return marks

    def _label(self, number: int, row: Mapping[str, Any]) -> str | None:
        """The name of a row's class; None where the dataset says null (or -1, which is its "unknown")."""
        column = self.columns.label
        if column is None or row[column] is None:
            return None
        if row[column] not in self._labels:
            if row[column] == -1:
                return None
            raise DataError(f"row {number} has {row[column]!r} in {column!r}, which names no class: mend it")
        return self._labels[row[column]]

    def _image(self, number: int, row: Mapping[str, Any]) -> Image.Image:
        image = read_image(file_of(row[self.columns.image]), f"the image of row {number}")
        return image if self._mode in (None, image.mode) else image.convert(self._mode)  # as `datasets` decodes it

    def _file_names(self) -> list[str | None]:
        """The names of the files that the images came in, without reading their bytes."""
        import pyarrow.compute as pc

        column, names = self.columns.image, list[str | None]()
        for batch in self._rows.select_columns([column]).with_format("arrow").iter(1000):
            missing = pc.index(batch[column].is_null(), True).as_py()
            if missing >= 0:
                raise DataError(f"row {len(names) + missing} has no image: leave it out")
            paths = pc.struct_field(batch[column], "path").to_pylist()
            names += [base_name(path) or None if path else None for path in paths]
        return names

    def _values(self, column: str) -> Any:
        return self._rows.select_columns([column])[column]

    def _names(self, column: str | None) -> dict[Any, str]:
        if column is None:
            return {}
        feature = self._rows.features[column]
        values = None if hasattr(feature, "names") else self._rows.unique(column)
        return {value: name for name, value in stored_values(feature, values, column).items()}


def _check_size(number: int, mask: tuple[int, ...], image: tuple[int, int]) -> None:
    if tuple(mask) != image:
        raise DataError(
            f"the mask of row {number} is {mask[0]} x {mask[1]} and its image {image[0]} x {image[1]} pixels: give "
            "masks of the size of their image"
        )


def _plain(value: Any) -> Any:
    """A value as JSON has it: numbers that are none are null there."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def save_image(image: Image.Image, path: Path) -> None:
    """Write an image as PNG, which keeps every value of the modes that `read_image` gives."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, format="PNG")
