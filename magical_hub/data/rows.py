"""The rows of a dataset: the one reading of an image with its class, its objects, its mask and its reference.

What a row holds is read and checked when it is used. Every error names the row, and the file where it is known.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from tqdm.auto import tqdm

from magical_hub.boxes import Box, checked_box
from magical_hub.data.allowed import is_allowed, outside
from magical_hub.data.columns import (
    Columns,
    Object,
    file_of,
    object_fields,
    object_records,
    read_objects,
    row_name,
    stored_values,
    undecoded,
)
from magical_hub.data.images import read_header
from magical_hub.data.masks import MaskValues, check_mask_size, survey_masks
from magical_hub.errors import DataError

if TYPE_CHECKING:
    import datasets

FIRST = 32
"""Rows of a stream from which the meaning of masks is found; training and surveys read as many before all others."""
NORMAL = ("normal", "good", "ok")
"""Names of a class that stand for no defect, in lower case."""
GOOD_IMAGE = f"no objects, an empty mask, or a class (label_column) called {', '.join(NORMAL[:-1])} or {NORMAL[-1]}"
"""What a good image has, for errors and warnings."""
ONE_CLASS = "defect"
"""The class of what a mask marks, where neither its values nor a label name it."""

Stored = tuple[Path | bytes, str]
"""The file of an image, or its bytes, and what to call it in an error."""


def is_normal(name: str) -> bool:
    """Whether a class of this name stands for no defect."""
    return name.strip().lower() in NORMAL


@dataclass(frozen=True, eq=False)
class LabelledObject:
    """An object of an image.

    Attributes:
        box: x, y, w, h in pixels, inside the image.
        category: its name.
        mask: gives (H, W) bool, the pixels that are its own; None where no mask says.
        more: what else the dataset says of it.
    """

    box: Box
    category: str
    mask: Callable[[], np.ndarray] | None = None
    more: Mapping[str, Any] = field(default_factory=dict)


class LabelledRow:
    """One row of a dataset. Its properties raise a DataError where what they give cannot be used.

    Args:
        rows: that it is one of.
        number: from 0 on.
        values: of its columns, images not decoded; those that are not used may be missing.
    """

    def __init__(self, rows: LabelledRows, number: int, values: Mapping[Any, Any]) -> None:
        self.number, self.values, self._rows = number, values, rows

    @property
    def name(self) -> str:
        """What to call it in an error."""
        return row_name(self.number, self.values.get(self._rows.columns.image))

    def stored(self, part: Literal["image", "mask", "reference"]) -> Stored | None:
        """One of its images, not decoded; None where it has none."""
        columns = self._rows.columns
        value = self.values.get(getattr(columns, part))
        if value is None or (value["bytes"] is None and not value["path"]):
            return None
        name = f"the {part} of {row_name(self.number, value, self.values.get(columns.image))}"
        if value["bytes"] is None and not is_allowed(value["path"], self._rows.folders):
            raise outside(name, value["path"])
        return file_of(value), name

    @cached_property
    def image(self) -> Stored:
        """Its image, not decoded."""
        stored = self.stored("image")
        if stored is None:
            raise DataError(f"{self.name} has no image: leave it out")
        return stored

    @cached_property
    def header(self) -> tuple[tuple[int, int], str]:
        """Height and width of its image as a viewer shows it, and Pillow's mode, without decoding it."""
        (width, height), mode = read_header(*self.image)
        return (height, width), mode

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of its image."""
        return self.header[0]

    @cached_property
    def label(self) -> str | None:
        """The name of its class; None where there is none, or the dataset says null (or -1, its "unknown")."""
        column, labels = self._rows.columns.label, self._rows.labels
        value = self.values.get(column)
        if value is None or (value == -1 and value not in labels):
            return None
        if value not in labels:
            raise DataError(f"{self.name} has {value!r} in {column!r}, which is not the name of a class: correct it")
        return labels[value]

    @property
    def is_called_normal(self) -> bool:
        """Whether its class stands for no defect."""
        return self.label in self._rows.normal_labels

    @cached_property
    def has_defect(self) -> bool | None:
        """Whether it has a defect: by its objects, or else by its mask; None where neither says it.

        A DataError where the two contradict each other.
        """
        objects, marked = self.stored_objects, self.marked
        if objects is None:
            return None if marked is None else bool(marked.any())
        if marked is not None:
            self._check_agreement(objects, marked)
        return bool(objects)

    @property
    def stored_objects(self) -> list[Object] | None:
        """Its objects as they are stored, boxes and categories not checked; None where it doesn't say."""
        return read_objects(self.values.get(self._rows.columns.objects), self.name)

    @cached_property
    def objects(self) -> list[LabelledObject] | None:
        """Its objects; None where it doesn't say, which is not the same as none."""
        records = object_records(self.values.get(self._rows.columns.objects), self.name)
        if records is None:
            return None
        found = []
        for (values, category), record in zip(self.stored_objects or (), records, strict=True):
            box, name = checked_box(values, self.size, self.name), self.category(category)
            mask = partial(self._inside, box, name) if self.stored("mask") is not None else None
            more = {key: value for key, value in record.items() if key not in ("bbox", "category")}
            found.append(LabelledObject(box, name, mask, more))
        return found

    def category(self, value: Any) -> str:
        """The name of the stored category of one of its objects."""
        if value not in self._rows.categories:
            raise DataError(f"{self.name} has an object of the category {value!r}: give it one with a name")
        return self._rows.categories[value]

    @cached_property
    def marked(self) -> np.ndarray | None:
        """What its mask marks, (H, W) uint8: see `MaskValues.read`. None where it has none."""
        stored = self.stored("mask")
        if stored is None or self._rows.masks is None:
            return None
        marked = self._rows.masks.read(*stored)
        check_mask_size(stored[1], marked.shape, self.size)
        return marked

    @property
    def marked_names(self) -> tuple[str, ...]:
        """The names of the classes that its mask may mark, from 1 on."""
        names = self._rows.masks.names if self._rows.masks is not None else ()
        if names is not None:
            return names
        if not self._rows.labels:
            return (ONE_CLASS,)
        if self.label is None or self.is_called_normal:
            raise DataError(
                f"{self.name} is called {self.label!r}, and its mask marks a defect: give it the label of the "
                "defect, or name the values of masks by mask_values"
            )
        return (self.label,)

    def check_sizes(self) -> None:
        """Check boxes and the size of the mask against the image; of images the headers alone are read."""
        for box, _ in self.stored_objects or ():
            checked_box(box, self.size, self.name)
        stored = self.stored("mask")
        if stored is not None:
            (width, height), _ = read_header(*stored)
            check_mask_size(stored[1], (height, width), self.size)

    def _check_agreement(self, objects: list[Object], marked: np.ndarray) -> None:
        """Refuse no objects beside a mask that marks something, and a box in which it marks nothing."""
        assert self._rows.masks is not None
        mend = "correct one, or leave a column out (objects_column or mask_column None)"
        if not objects and marked.any():
            raise DataError(f"{self.name} has no objects, and its mask marks a defect: {mend}")
        for values, _ in objects:
            box = checked_box(values, self.size, self.name)
            if not self._rows.masks.inside(marked, box).any():
                shown = ", ".join(f"{side:g}" for side in box)
                raise DataError(f"{self.name} has an object at {shown}, where its mask marks nothing: {mend}")

    def _inside(self, box: Box, category: str) -> np.ndarray:
        """The pixels that the mask marks in a box, of the box's category where the mask has classes: (H, W) bool."""
        assert self.marked is not None and self._rows.masks is not None
        return self._rows.masks.inside(self.marked, box, category)


class Kinds(NamedTuple):
    """The numbers of rows with defects, of good rows, and of rows that do not say which they are."""

    defective: list[int]
    good: list[int]
    unknown: list[int]


class LabelledRows:
    """The rows of a dataset.

    Args:
        dataset: or a stream, of which only the first few rows are read, and the columns that are named.
        columns: what its columns hold, as `find_columns` gives them.
        mask_values: names of the classes that values of its masks stand for.
        defect_labels: names of the classes of images with a defect, where neither objects nor a mask say it.
        folders: whose files rows may name; None for any.

    Raises:
        DataError: where it is empty, or mask_values are given and there is no column of masks.
    """

    def __init__(
        self,
        dataset: datasets.Dataset | datasets.IterableDataset,
        columns: Columns,
        mask_values: Mapping[int, str] | None = None,
        defect_labels: Collection[str] = (),
        folders: list[Path] | None = None,
    ) -> None:
        import datasets

        if mask_values is not None and columns.mask is None:
            raise DataError("mask_values name what masks mark, and no column has masks: name it by mask_column")
        self.columns, self.mask_values, self._defect_labels = columns, mask_values, defect_labels
        self.features, self.folders = dataset.features, folders
        self.streamed = isinstance(dataset, datasets.IterableDataset)
        self.dataset: Any
        if isinstance(dataset, datasets.IterableDataset):
            self.dataset = dataset.decode(False).select_columns(columns.names)
        elif not len(dataset):
            raise DataError("the dataset is empty: give one with images")
        else:
            self.dataset = undecoded(dataset.with_format(None), *columns.images)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, number: int) -> LabelledRow:
        return LabelledRow(self, number, self.dataset[number])

    def __iter__(self) -> Iterator[LabelledRow]:
        for number, values in enumerate(self.dataset):
            yield LabelledRow(self, number, values)

    def over(self, *parts: str) -> Iterator[LabelledRow]:
        """The rows with these of the `columns` alone, which spares reading the others; of a stream the first few."""
        names = [name for part in parts if (name := getattr(self.columns, part)) is not None]
        some = self.dataset.take(FIRST) if self.streamed else self.dataset.select_columns(names)
        for number, values in enumerate(some):
            yield LabelledRow(self, number, values)

    @cached_property
    def labels(self) -> dict[Any, str]:
        """The classes of images: what the dataset stores, and their names, in the order of their numbers."""
        column = self.columns.label
        if column is None:
            return {}
        return self._named(column, self.features[column], lambda: self.dataset.unique(column))

    @cached_property
    def normal_labels(self) -> set[str]:
        """The classes of images whose names stand for no defect."""
        return {name for name in self.labels.values() if is_normal(name)}

    @cached_property
    def categories(self) -> dict[Any, str]:
        """The same of the categories of objects."""
        column = self.columns.objects
        if column is None:
            return {}
        feature = (object_fields(self.features[column]) or {})["category"]
        return self._named(column, feature, lambda: [*self._stored_categories()])

    @cached_property
    def masks(self) -> MaskValues | None:
        """The meaning of the values of masks; None without a column of masks."""
        if self.columns.mask is None:
            return None
        total = None if self.streamed else len(self)
        rows = tqdm(self.over("mask"), total=total, desc="Reading masks", unit="mask", delay=2)
        return survey_masks(filter(None, (row.stored("mask") for row in rows)), self.mask_values)

    @property
    def groups(self) -> np.ndarray:
        """The group of each row, or its number where there is no column of groups: (N,) str."""
        column = self.columns.group
        return np.array(self.dataset.select_columns([column])[column] if column else np.arange(len(self)), str)

    @property
    def defect_names(self) -> list[str]:
        """The classes of defects in the order of their numbers: of objects, or else of what masks mark."""
        if self.columns.objects is not None:
            return list(self.categories.values())
        if self.masks is None:
            return []
        return list(self.masks.names or self.labels.values()) or [ONE_CLASS]

    @cached_property
    def told(self) -> list[tuple[str | None, bool | None]]:
        """The class of each row, and whether it has a defect; None where only a class that is called good may say."""
        return [
            (row.label, True if row.has_defect is None and row.label in self._defect_labels else row.has_defect)
            for row in self.over("image", "label", "objects", "mask")
        ]

    @cached_property
    def good_labels(self) -> set[str]:
        """The classes that say by themselves that an image is good: called so, and without a row that has a defect."""
        return self.normal_labels - {label for label, has_defect in self.told if has_defect}

    @cached_property
    def kinds(self) -> Kinds:
        """Which rows have defects and which are good: by their objects, else by their masks, else by their class.

        Of a class that is neither one of `good_labels` nor a defect's, nothing is known without objects or a mask: it
        may be a kind of defect that is not annotated, or a type of product.
        """
        told = [False if bad is None and label in self.good_labels else bad for label, bad in self.told]
        return Kinds(*([number for number, bad in enumerate(told) if bad is kind] for kind in (True, False, None)))

    def _named(self, column: str, feature: Any, values: Callable[[], list[Any]]) -> dict[Any, str]:
        """What a column of classes stores, and its names; `values` gives all that occur."""
        import datasets

        if isinstance(feature, datasets.ClassLabel):
            return dict(enumerate(feature.names))
        if self.streamed:
            raise DataError(
                f"column {column!r} of the stream is not a ClassLabel, and its classes must be known before it ends: "
                "cast it to one, or load the dataset without streaming"
            )
        if not isinstance(feature, datasets.Value):
            raise DataError(f"column {column!r} holds no classes but lists or records: name one that does")
        return {value: name for name, value in stored_values(feature, values(), column).items()}

    def _stored_categories(self) -> Iterator[Any]:
        """The categories of all objects that can be read: an error in one is reported when it is used."""
        for row in self.over("objects"):
            try:
                yield from (category for _, category in row.stored_objects or ())
            except DataError:
                continue
