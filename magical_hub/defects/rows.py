"""The rows of a dataset as the bank reads them: pixels, defects and references; or good images."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from magical_hub.boxes import Box, checked_box
from magical_hub.data.columns import (
    file_of,
    find_columns,
    object_fields,
    read_objects,
    row_name,
    stored_values,
    undecoded,
)
from magical_hub.data.images import image_size, read_pixels
from magical_hub.data.kinds import check_one_kind
from magical_hub.data.masks import MaskValues, check_mask_size, survey_masks
from magical_hub.defects.examples import parts_of
from magical_hub.defects.pixels import as_pixels, in_channels, without_copies
from magical_hub.errors import DataError

if TYPE_CHECKING:
    import datasets


@dataclass(frozen=True)
class Marked:
    """One defect of a row as it is annotated: its class, and a box or a mask (H, W) bool or both."""

    category: str
    box: Box | None
    mask: np.ndarray | None


@dataclass(frozen=True)
class Row:
    """An image with its defects, and what to call it in an error; a good one has none."""

    number: int
    name: str
    pixels: np.ndarray
    marked: list[Marked]
    reference: np.ndarray | None


class Rows:
    """Rows of a dataset, read one at a time.

    Args:
        dataset: with rows of defects and good rows.
        image_column, label_column, objects_column, mask_column: as `find_columns` finds them.
        reference_column: of images without the defect.
        mask_values: the class that each value of a mask stands for.
        defect_labels: labels of defective images, where there is neither a column of objects nor one of masks.

    Attributes:
        masks: what the values of masks mean; None where there are none.
        defective, good: numbers of the rows.
        unknown: numbers of rows that do not say whether they are good.

    Raises:
        DataError: where a column is missing, nothing says which rows are good, or images are of several kinds (grey
            and in colour, 8 bits and 16).
    """

    def __init__(
        self,
        dataset: datasets.Dataset,
        image_column: str,
        label_column: str | None,
        objects_column: str | None,
        mask_column: str | None,
        reference_column: str | None,
        mask_values: Mapping[int, str] | None,
        defect_labels: Collection[str] | None = None,
    ) -> None:
        import datasets

        self.columns = find_columns(dataset.features, image_column, label_column, objects_column, mask_column)
        if self.columns.objects is None and self.columns.mask is None and (not defect_labels or not label_column):
            raise DataError(
                "the dataset has neither a column of objects nor one of masks: name the one that it has, or give a "
                "folder a metadata.jsonl with file_name and mask_file_name or objects"
            )
        self._defect_labels = defect_labels
        self.reference_column = reference_column
        images = [image_column, reference_column, self.columns.mask]
        for name in filter(None, images):
            if name not in dataset.features or not isinstance(dataset.features[name], datasets.Image):
                raise DataError(f"the dataset has no column of images {name!r}, only {', '.join(dataset.features)}")
        self.dataset = undecoded(dataset.with_format(None), *images)
        check_one_kind(lambda: self._sources(image_column))
        self._label_names: dict[Any, str] = {}
        if label_column is not None:
            stored = stored_values(self.dataset.features[label_column], self.dataset.unique(label_column))
            self._label_names = {value: name for name, value in stored.items()}
        self._ordered = self._ordered_categories()
        self.masks: MaskValues | None = None
        if self.columns.mask is not None:
            self.masks = survey_masks(self._sources(self.columns.mask), mask_values)
        self.defective, self.good, self.unknown = self._sorted()

    def rows(self, numbers: list[int]) -> Iterator[Row]:
        """These rows, one after the other."""
        for number in numbers:
            yield self.row(number)

    def row(self, number: int) -> Row:
        """One row, decoded.

        Raises:
            DataError: where an image, mask or reference cannot be used; it names the row.
        """
        record = self.dataset[number]
        name = row_name(number, record[self.columns.image])
        pixels = without_copies(_pixels(record[self.columns.image], name))
        reference = None
        if self.reference_column and record[self.reference_column] is not None:
            reference = _pixels(record[self.reference_column], f"the reference of {name}")
            reference = _of_kind(reference, pixels, f"the reference of {name}")
        return Row(number, name, pixels, self._marked(number, record, pixels.shape[:2]), reference)

    def image(self, number: int) -> np.ndarray:
        """The pixels of a row alone, grey where its channels are equal."""
        return without_copies(self.pixels(number, self.columns.image))

    def pixels(self, number: int, column: str) -> np.ndarray:
        """The pixels of an image of a row: (H, W) or (H, W, 3), uint8 or uint16."""
        value = self.dataset[number][column]
        return _pixels(value, f"{column!r} of {row_name(number, value)}")

    def classes(self, occurring: list[str]) -> list[str]:
        """The names of the classes that occur, in the order of the dataset."""
        ordered = list(self._ordered)
        ordered += (self.masks.names if self.masks else None) or ()
        there = set(occurring)
        return [name for name in dict.fromkeys([*ordered, *sorted(there)]) if name in there]

    def _marked(self, number: int, record: dict[str, Any], size: tuple[int, int]) -> list[Marked]:
        name = row_name(number, record[self.columns.image])
        classes, names = self._mask(number, record, size)
        objects = read_objects(record[self.columns.objects], name) if self.columns.objects else None
        if objects is None:
            if classes is None:
                return []
            return [
                Marked(names[value - 1], None, part)
                for value in np.unique(classes[classes > 0])
                for part in parts_of(classes == value)
            ]
        marked = []
        for box, stored in objects:
            category = self._category_name(stored)
            checked, mask = checked_box(box, size, name), None
            if classes is not None and self.masks is not None:
                mask = self.masks.inside(classes, checked, category)
            marked.append(Marked(category, checked, mask if mask is not None and mask.any() else None))
        return marked

    def _mask(
        self, number: int, record: dict[str, Any], size: tuple[int, int]
    ) -> tuple[np.ndarray | None, tuple[str, ...]]:
        """What a row's mask marks (H, W), 0 or 1 + the number of a class, and the names of the classes."""
        mask = record[self.columns.mask] if self.columns.mask else None
        if self.masks is None or mask is None:
            return None, ()
        name = row_name(number, mask, record[self.columns.image])
        classes = self.masks.read(file_of(mask), f"the mask of {name}")
        check_mask_size(f"the mask of {name}", classes.shape, size)
        label = self._label_name(record[self.columns.label]) if self.columns.label else "defect"
        return classes, self.masks.names or (label,)

    def _sources(self, column: str) -> Iterator[tuple[Path | bytes, str]]:
        """The files of a column, and what to call them."""
        for number, record in enumerate(self.dataset.select_columns([column])):
            if record[column] is not None:
                yield file_of(record[column]), f"{column!r} of {row_name(number, record[column])}"

    def _sorted(self) -> tuple[list[int], list[int], list[int]]:
        """Numbers of the rows with defects, of good rows, and of those that say nothing."""
        columns = self.columns
        wanted = [name for name in (columns.image, columns.objects, columns.mask, columns.label) if name]
        says: list[bool | None] = []
        labels: list[Any] = []
        for number, record in enumerate(self.dataset.select_columns(wanted)):
            objects = read_objects(record[columns.objects]) if columns.objects else None
            mask = record[columns.mask] if columns.mask else None
            labels.append(record[columns.label] if columns.label else None)
            if mask is not None and record[columns.image] is not None:  # of good rows too, which are not read later
                where = f"the mask of {row_name(number, mask, record[columns.image])}"
                shown = image_size(file_of(record[columns.image]), row_name(number, record[columns.image]))
                check_mask_size(where, image_size(file_of(mask), where)[::-1], shown[::-1])
            if objects is not None:
                says.append(bool(objects))
            elif mask is not None:
                assert self.masks is not None
                says.append(bool(self.masks.read(file_of(mask), f"the mask of {row_name(number, mask)}").any()))
            elif self._defect_labels and labels[-1] is not None:
                says.append(self._label_name(labels[-1]) in self._defect_labels)
            else:
                says.append(None)
        blamed = {label for label, bad in zip(labels, says, strict=True) if bad}
        for number, label in enumerate(labels):
            if says[number] is None and label is not None and label not in blamed:
                says[number] = False
        numbers = range(len(says))
        defective = [number for number in numbers if says[number]]
        good = [number for number in numbers if says[number] is False]
        return defective, good, [number for number in numbers if says[number] is None]

    def _label_name(self, value: Any) -> str:
        return self._label_names.get(value, str(value))

    def _category_name(self, value: Any) -> str:
        if value is None or (self._ordered and not 0 <= value < len(self._ordered)):
            raise DataError(
                f"an object has the category {value}, which is not the name of a class: correct it, or leave it out"
            )
        return self._ordered[value] if self._ordered else str(value)

    def _ordered_categories(self) -> list[str]:
        """The names of a ClassLabel of objects, by their numbers."""
        fields = object_fields(self.dataset.features[self.columns.objects]) if self.columns.objects else None
        return list(getattr((fields or {}).get("category"), "names", None) or [])


def _pixels(value: dict[str, Any] | None, name: str) -> np.ndarray:
    if value is None:
        raise DataError(f"{name} is missing: put it back, or leave it out of the data")
    return as_pixels(read_pixels(file_of(value), name), name)


def _of_kind(reference: np.ndarray, pixels: np.ndarray, name: str) -> np.ndarray:
    """The reference in the channels of the image; it must have its size and depth."""
    if reference.shape[:2] != pixels.shape[:2] or reference.dtype != pixels.dtype:
        raise DataError(
            f"{name} is {reference.shape[0]} x {reference.shape[1]} {reference.dtype}, and the image "
            f"{pixels.shape[0]} x {pixels.shape[1]} {pixels.dtype}: give one of the same size and depth"
        )
    return in_channels(reference, 1 if pixels.ndim == 2 else 3)
