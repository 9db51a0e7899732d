"""A labelled dataset as samples, one per image, from which every format of labelled images is written."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from tqdm.auto import tqdm

from magical_hub.boxes import Box, checked_box, connected_parts
from magical_hub.data.columns import (
    LabelledColumns,
    file_of,
    object_fields,
    other_fields,
    read_objects,
    row_name,
    stored_values,
    undecoded,
)
from magical_hub.data.images import image_size, read_header, read_image
from magical_hub.data.masks import MaskValues, check_mask_size, survey_masks
from magical_hub.errors import DataError
from magical_hub.export.names import base_name, file_stems, names_beside

if TYPE_CHECKING:
    import datasets

NORMAL = ("normal", "good", "ok")
"""Names of a class that stand for no defect, in lower case."""
DEPTHS = ("I", "F", "RGB;16")
"""Modes of images of which some, or all, can't be written as PNG."""
ONE_CLASS = "defect"
"""The category of what a mask marks, where neither its values nor a label name it."""


@dataclass(frozen=True, eq=False)
class LabelledObject:
    """An object of an image.

    Args:
        box: x, y, w, h in pixels, inside the image.
        category: its name.
        mask: (H, W) bool, the pixels that are its own; None where no mask says.
        more: what else the dataset says of it.
    """

    box: Box
    category: str
    mask: Callable[[], np.ndarray] | None = None
    more: Mapping[str, Any] = field(default_factory=dict)


class Sample:
    """An image with all that is known of it. What is decoded is decoded when it is used.

    Args:
        samples: that it is one of.
        row: its number in the dataset.
        values: of the dataset's columns, images not decoded.
    """

    def __init__(self, samples: Samples, row: int, values: Mapping[str, Any]) -> None:
        self.row = row
        self._samples, self._values = samples, values

    @property
    def name(self) -> str:
        """What to call it in an error."""
        return row_name(self.row, self._values[self._samples.columns.image])

    @property
    def stem(self) -> str:
        """The name of its file without the ending: that of the file that it came in, or its number."""
        return self._samples.stems[self.row]

    @property
    def original_name(self) -> str | None:
        """The name of the file that it came in."""
        return self._samples.files[self.row]

    @cached_property
    def image(self) -> Image.Image:
        """Decoded, as a viewer shows it, in the mode in which `datasets` decodes it.

        Raises:
            DataError: where it can't be read, or a PNG file can't hold it.
        """
        samples = self._samples
        image = read_image(file_of(self._values[samples.columns.image]), f"the image of {self.name}")
        return image if samples.mode in (None, image.mode) else image.convert(samples.mode)

    @cached_property
    def header(self) -> tuple[tuple[int, int], str]:
        """Height and width, and Pillow's mode, without decoding it."""
        file = file_of(self._values[self._samples.columns.image])
        (width, height), mode = read_header(file, f"the image of {self.name}")
        return (height, width), mode

    @cached_property
    def label(self) -> str | None:
        """The name of its class; None where there is none, or the dataset says null (or -1, its "unknown").

        Raises:
            DataError: where it is another value than those that are classes.
        """
        column, labels = self._samples.columns.label, self._samples.labels
        value = None if column is None else self._values[column]
        if value is None or (value == -1 and value not in labels):
            return None
        if value not in labels:
            raise DataError(f"{self.name} has {value!r} in {column!r}, which is not the name of a class: correct it")
        return labels[value]

    @property
    def is_called_normal(self) -> bool:
        """Whether its class stands for no defect."""
        return self.label is not None and self.label.lower() in NORMAL

    @cached_property
    def mask(self) -> Image.Image | None:
        """The mask as the dataset has it: in the same mode, with the same values and palette."""
        stored = self._stored_mask
        return None if stored is None else read_image(file_of(stored), self._mask_name)

    @cached_property
    def mask_classes(self) -> np.ndarray | None:
        """The classes in the mask, (H, W) uint8: see `MaskValues.read`. None where there is no mask.

        Raises:
            DataError: where it can't be read, or has another size than the image.
        """
        stored = self._stored_mask
        if stored is None:
            return None
        self.check_mask()
        return self._samples.mask_values.read(file_of(stored), self._mask_name)

    @property
    def has_mask(self) -> bool:
        """Whether there is one, which may mark nothing."""
        return self._stored_mask is not None

    def check_mask(self) -> None:
        """Refuse a mask of another size than the image's.

        Raises:
            DataError: naming the row.
        """
        if self._stored_mask is not None:
            shown = image_size(file_of(self._stored_mask), self._mask_name)
            check_mask_size(self._mask_name, shown[::-1], self.header[0])

    @cached_property
    def objects(self) -> list[LabelledObject] | None:
        """The objects of the column of objects; None where that is null, or there is none.

        Raises:
            DataError: where a box or a category is invalid.
        """
        column, where = self._samples.columns.objects, self.name
        value = None if column is None else self._values[column]
        found, more = read_objects(value, where), other_fields(value)
        if found is None:
            return None
        items = []
        for (values, category), others in zip(found, more, strict=True):
            if category not in self._samples.stored_categories:
                raise DataError(f"{where} has an object of the category {category!r}: give it one with a name")
            box, name = checked_box(values, self.header[0], where), self._samples.stored_categories[category]
            items.append(
                LabelledObject(box, name, partial(self._inside, box, name) if self.has_mask else None, _plain(others))
            )
        return items

    @property
    def all_objects(self) -> list[LabelledObject]:
        """The objects; where the dataset has no column of them, the connected parts of the mask.

        Raises:
            DataError: where a mask marks something that nothing names.
        """
        if self._samples.columns.objects is not None or self.mask_classes is None:
            return self.objects or []
        self.check_named()
        names, items = self._samples.mask_values.names, []
        for value in np.unique(self.mask_classes[self.mask_classes > 0]).tolist():
            parts, boxes = connected_parts(self.mask_classes == value)
            category = names[value - 1] if names is not None else self.label or ONE_CLASS
            items += [
                LabelledObject(box, category, partial(np.equal, parts, part)) for part, box in enumerate(boxes, 1)
            ]
        return items

    def check_named(self) -> None:
        """Refuse a mask that marks a defect where the image's class should name it, and is null or stands for none.

        Raises:
            DataError: naming the row.
        """
        if not self._samples.labels or self._samples.mask_values.names is not None:
            return
        if (self.label is None or self.is_called_normal) and self.mask_classes is not None and self.mask_classes.any():
            raise DataError(
                f"{self.name} is called {self.label!r}, and its mask marks a defect: give it the label of the "
                "defect, or name the values of masks by mask_values"
            )

    @property
    def more(self) -> dict[str, Any]:
        """Other columns of text, numbers and (by name) classes; numbers that are none are null."""
        known = self._samples.more.items()
        return _plain({name: names.get(self._values[name], self._values[name]) for name, names in known})

    @property
    def _mask_name(self) -> str:
        """What to call the mask in an error."""
        return f"the mask of {row_name(self.row, self._stored_mask, self._values[self._samples.columns.image])}"

    @property
    def _stored_mask(self) -> Any:
        column = self._samples.columns.mask
        return None if column is None else self._values[column]

    def _inside(self, box: Box, category: str) -> np.ndarray:
        """The pixels that the mask marks in a box, of the box's category where the mask has classes: (H, W) bool."""
        assert self.mask_classes is not None
        return self._samples.mask_values.inside(self.mask_classes, box, category)


class Samples:
    """The rows of a dataset, as samples.

    Args:
        dataset: its images are decoded one at a time.
        columns: what its columns hold.
        mask_values: names of the defect classes that values of its masks stand for.

    Attributes:
        columns: as given.
        mode: of Pillow, in which `datasets` decodes the images; None for that of their files.
        labels: the classes: what the dataset stores, and their names.
        stored_categories: the same of the categories of objects.
        more: the columns of text and numbers beside these, and the names of what they store where they are classes.
        files: the names of the files that the images came in, None where the dataset doesn't record them.
        stems: of the files that are written.

    Raises:
        DataError: where it is empty, an image is missing, or its classes have no names.
    """

    def __init__(
        self, dataset: datasets.Dataset, columns: LabelledColumns, mask_values: Mapping[int, str] | None = None
    ) -> None:
        from datasets import ClassLabel, Value

        if mask_values is not None and columns.mask is None:
            raise DataError("mask_values name what masks mark, and no column has masks: name it by mask_column")
        if not len(dataset):
            raise DataError("the dataset is empty: give one with images")
        self.columns, self._mask_values = columns, mask_values
        self.mode: str | None = dataset.features[columns.image].mode
        self._rows = undecoded(dataset.with_format(None), columns.image, columns.mask)
        self.labels = self._names(columns.label)
        self.more = {
            name: {number: text for text, number in stored_values(feature).items()}
            for name, feature in dataset.features.items()
            if isinstance(feature, (Value, ClassLabel)) and name != columns.label
        }
        self.files = self._file_names()
        self.stems = file_stems(self.files)
        self.stored_categories: dict[Any, str] = {}
        if columns.objects is not None:
            feature = (object_fields(dataset.features[columns.objects]) or {})["category"]
            found = (
                read_objects(value, row_name(row, {"path": file}))
                for row, (file, value) in enumerate(zip(self.files, self._values(columns.objects), strict=True))
            )
            categories = [category for objects in found for _, category in objects or ()]
            stored = stored_values(feature, categories, columns.objects)
            self.stored_categories = {value: name for name, value in stored.items()}

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Sample]:
        for row, values in enumerate(tqdm(self._rows, desc="Writing images", unit="img")):
            yield Sample(self, row, values)

    @property
    def categories(self) -> list[str]:
        """The names of the categories of objects, in the order of their numbers."""
        if self.columns.objects is not None:
            return list(self.stored_categories.values())
        if self.columns.mask is None:
            return []
        names = self.mask_values.names
        return list(names) if names is not None else list(self.labels.values()) or [ONE_CLASS]

    @property
    def tells_normal(self) -> bool:
        """Whether one of the classes stands for no defect."""
        return any(name.lower() in NORMAL for name in self.labels.values())

    @cached_property
    def mask_values(self) -> MaskValues:
        """The meaning of the values of the masks."""
        assert self.columns.mask is not None
        masks = enumerate(tqdm(self._values(self.columns.mask), desc="Reading masks", unit="mask"))
        return survey_masks(
            ((file_of(value), f"the mask of {row_name(row, value)}") for row, value in masks if value is not None),
            self._mask_values,
        )

    def names_beside(self, is_key: Callable[[str], bool]) -> dict[str, str]:
        """What the columns that a format hands on are called in it: the label, the objects and `Sample.more`.

        Args:
            is_key: whether a name means something to the format.
        """
        own = [self.columns.label, self.columns.objects, *self.more]
        return names_beside([name for name in own if name is not None], is_key)

    @property
    def knows_files(self) -> bool:
        """Whether images say which file they came in."""
        return any(name is not None for name in self.files)

    def unwritten(self) -> Iterator[Sample]:
        """The samples for reading their labels, without decoding an image."""
        columns = (self.columns.image, self.columns.label, self.columns.objects, self.columns.mask)
        for row, values in enumerate(self._rows.select_columns([name for name in columns if name is not None])):
            yield Sample(self, row, values)

    def check(self) -> None:
        """Refuse rows that no format can be right of, before anything is written.

        Raises:
            DataError: where a label, a box, a mask or the depth of an image is invalid.
        """
        for sample in self.unwritten():
            _, mode = sample.header
            if mode in DEPTHS:
                _ = sample.image  # which refuses what a PNG file can't hold
            _ = sample.label, sample.objects
            sample.check_mask()
        if self.columns.mask is not None:
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
        for sample in self.unwritten():
            if columns.objects is not None:
                says = sample.objects is not None
            else:
                says = sample.has_mask or not self.tells_normal or sample.is_called_normal
                sample.check_named()
            if not says:
                column = columns.objects or columns.mask
                raise DataError(
                    f"{sample.name} does not say whether it has defects (its {column!r} is null), and a detector "
                    f"would take it for a good image: leave such rows out, or take another format than {format_name}"
                )

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


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values as JSON has them: numbers that are none are null there."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in values.items()
    }


def save_image(image: Image.Image, path: Path) -> None:
    """Write an image as PNG, which keeps every value of the modes that `read_image` gives."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, format="PNG")
