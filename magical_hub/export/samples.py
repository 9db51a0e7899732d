"""A labelled dataset as samples, one an image, from which every format of labelled images is written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from magical_hub.data.columns import LabelledColumns, object_fields, read_objects, stored_values
from magical_hub.errors import DataError

if TYPE_CHECKING:
    import datasets


@dataclass(frozen=True)
class Sample:
    """An image with all that is known of it.

    Args:
        stem: of its file: 00000 and so on.
        image: decoded.
        label: the name of its class.
        objects: boxes x, y, w, h in pixels with the name of their category; None where that isn't known.
        mask: (H, W), not 0 where there is a defect; None where there is none.
        more: other columns of text, numbers and (by name) classes.
    """

    stem: str
    image: Image.Image
    label: str | None
    objects: list[tuple[tuple[float, ...], str]] | None
    mask: np.ndarray | None
    more: dict[str, Any]


class Samples:
    """The rows of a dataset, as samples.

    Args:
        dataset: images that are decoded one at a time.
        columns: what its columns hold.

    Raises:
        DataError: where it is empty.
    """

    def __init__(self, dataset: datasets.Dataset, columns: LabelledColumns) -> None:
        from datasets import ClassLabel, Value

        if not len(dataset):
            raise DataError("the dataset is empty: give one with images")
        self._dataset, self.columns = dataset.with_format(None), columns
        self._labels = self._names(columns.label)
        self._more = {
            name: {number: its for its, number in stored_values(feature).items()}
            for name, feature in dataset.features.items()
            if isinstance(feature, (Value, ClassLabel)) and name != columns.label
        }
        self.categories: list[str] = []
        """The names of the categories of objects, in the order of their numbers."""
        if columns.objects is not None:
            fields = object_fields(dataset.features[columns.objects]) or {}
            every = [read_objects(value) or [] for value in self._values(columns.objects)]
            stored = stored_values(fields["category"], [category for objects in every for _, category in objects])
            self._categories = {value: name for name, value in stored.items()}
            self.categories = list(stored)

    def __len__(self) -> int:
        return len(self._dataset)

    @property
    def labels(self) -> list[str]:
        """The names of the classes."""
        return list(self._labels.values())

    def __iter__(self) -> Iterator[Sample]:
        columns = self.columns
        for number, row in enumerate(self._dataset):
            if row[columns.image] is None:
                raise DataError(f"row {number} has no image: leave it out")
            objects = read_objects(row[columns.objects]) if columns.objects else None
            mask = row[columns.mask] if columns.mask else None
            yield Sample(
                stem=f"{number:05d}",
                image=row[columns.image],
                label=self._labels.get(row[columns.label]) if columns.label else None,
                objects=None if objects is None else [(box, self._categories[its]) for box, its in objects],
                mask=None if mask is None else np.asarray(mask if mask.mode in ("1", "L", "P") else mask.convert("L")),
                more={name: names.get(row[name], row[name]) for name, names in self._more.items()},
            )

    def check_boxes(self, format_name: str) -> None:
        """Refuse a dataset for a format of detectors, where a row does not say whether it has defects.

        Raises:
            DataError: naming the first such row.
        """
        if self.columns.objects is None:
            raise DataError(f"{format_name} is for boxes, and no column has objects with bbox and category: name it")
        for number, value in enumerate(self._values(self.columns.objects)):
            if value is None:
                raise DataError(
                    f"row {number} does not say whether it has defects (its {self.columns.objects!r} is null), and a "
                    f"detector would take it for sound: leave such rows out, or take another format than {format_name}"
                )

    def _values(self, column: str) -> Any:
        return self._dataset.select_columns([column])[column]

    def _names(self, column: str | None) -> dict[Any, str]:
        if column is None:
            return {}
        feature = self._dataset.features[column]
        seen = None if hasattr(feature, "names") else self._dataset.unique(column)
        return {value: name for name, value in stored_values(feature, seen).items()}


def save_image(image: Image.Image, path: Path) -> None:
    """Write an image as PNG, which keeps every value of the modes that it knows; others become RGB."""
    path.parent.mkdir(parents=True, exist_ok=True)
    known = image.mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16", "I")
    (image if known else image.convert("RGB")).save(path, format="PNG")
