"""The rows of a dataset as the bank reads them: pixels, defects and references; or good images."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from magical_hub.data.boxes import Box
from magical_hub.data.columns import find_columns, object_fields, read_objects, stored_values
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
    """An image with its defects; a good one has none."""

    number: int
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

    Attributes:
        defective, good: numbers of the rows.
        unknown: numbers of rows that do not say whether they are good.

    Raises:
        DataError: where a column is missing, or no row has defects.
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
    ) -> None:
        import datasets

        self.columns = find_columns(dataset.features, image_column, label_column, objects_column, mask_column)
        if self.columns.objects is None and self.columns.mask is None:
            raise DataError("the dataset has neither a column of objects nor one of masks: name the one that it has")
        self.reference_column, self.mask_values = reference_column, dict(mask_values) if mask_values else None
        images = [image_column, reference_column, self.columns.mask]
        for name in filter(None, images):
            if name not in dataset.features or not isinstance(dataset.features[name], datasets.Image):
                raise DataError(f"the dataset has no column of images {name!r}, only {', '.join(dataset.features)}")
            dataset = dataset.cast_column(name, datasets.Image(decode=False))
        self.dataset = dataset.with_format(None)
        self.label_names = self._names(label_column)
        self.category_names = self._category_names()
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
        name = f"row {number}"
        pixels = _decoded(record[self.columns.image], name)
        reference = None
        if self.reference_column and record[self.reference_column] is not None:
            reference = _decoded(record[self.reference_column], f"the reference of {name}")
            reference = _of_kind(reference, pixels, f"the reference of {name}")
        return Row(number, pixels, self._marked(record, pixels.shape[:2], name), reference)

    def image(self, number: int) -> np.ndarray:
        """The pixels of a row alone."""
        return _decoded(self.dataset[number][self.columns.image], f"row {number}")

    def classes(self, occurring: list[str]) -> list[str]:
        """The names of the classes that occur, in the order of the dataset."""
        fields = object_fields(self.dataset.features[self.columns.objects]) if self.columns.objects else None
        ordered = list(getattr((fields or {}).get("category"), "names", None) or [])
        ordered += [name for _, name in sorted((self.mask_values or {}).items())]
        there = set(occurring)
        return [name for name in dict.fromkeys([*ordered, *sorted(there)]) if name in there]

    def _marked(self, record: dict[str, Any], size: tuple[int, int], name: str) -> list[Marked]:
        from magical_hub.defects.examples import parts_of

        classes, names = self._mask(record, size, name)
        objects = read_objects(record[self.columns.objects]) if self.columns.objects else None
        if objects is None:
            if classes is None:
                return []
            return [
                Marked(names[value], None, part)
                for value in np.unique(classes[classes > 0])
                for part in parts_of(classes == value)
            ]
        marked = []
        for box, stored in objects:
            category = self.category_names(stored)
            x, y, w, h = _checked(box, size, name)
            mask = None
            if classes is not None:
                mask = np.zeros(size, bool)
                inside = slice(int(y), int(np.ceil(y + h))), slice(int(x), int(np.ceil(x + w)))
                value = next((value for value, its in names.items() if its == category), None)
                mask[inside] = classes[inside] == value if value is not None else classes[inside] > 0
                mask = mask if mask.any() else None
            marked.append(Marked(category, (x, y, w, h), mask))
        return marked

    def _mask(
        self, record: dict[str, Any], size: tuple[int, int], name: str
    ) -> tuple[np.ndarray | None, dict[int, str]]:
        """The values of a row's mask, and what they stand for."""
        if self.columns.mask is None or record[self.columns.mask] is None:
            return None, {}
        mask = _decoded(record[self.columns.mask], f"the mask of {name}")
        mask = mask if mask.ndim == 2 else mask.max(axis=2)
        if mask.shape != size:
            raise DataError(
                f"the mask of {name} is {mask.shape[0]} x {mask.shape[1]}, and the image {size[0]} x {size[1]}: "
                "give one of the same size"
            )
        values = [int(value) for value in np.unique(mask) if value]
        if self.mask_values is not None:
            if missing := [value for value in values if value not in self.mask_values]:
                raise DataError(f"the mask of {name} has the value {missing[0]}: name the class in mask_values")
            return mask, {value: self.mask_values[value] for value in values}
        category = self.label_names(record[self.columns.label]) if self.columns.label else "defect"
        return (mask > 0).astype(np.uint8), {1: category}

    def _sorted(self) -> tuple[list[int], list[int], list[int]]:
        """Numbers of the rows with defects, of good rows, and of those that say nothing."""
        columns = self.columns
        wanted = [name for name in (columns.objects, columns.mask, columns.label) if name]
        says: list[bool | None] = []
        labels: list[Any] = []
        for number, record in enumerate(self.dataset.select_columns(wanted)):
            objects = read_objects(record[columns.objects]) if columns.objects else None
            mask = record[columns.mask] if columns.mask else None
            labels.append(record[columns.label] if columns.label else None)
            if objects is not None:
                says.append(bool(objects))
            elif mask is not None:
                says.append(bool(_decoded(mask, f"the mask of row {number}").any()))
            else:
                says.append(None)
        blamed = {label for label, bad in zip(labels, says, strict=True) if bad}
        for number, label in enumerate(labels):
            if says[number] is None and label is not None and label not in blamed:
                says[number] = False
        numbers = range(len(says))
        defective = [number for number in numbers if says[number]]
        if not defective:
            raise DataError("no row of the dataset has a defect: give boxes or masks of some")
        good = [number for number in numbers if says[number] is False]
        return defective, good, [number for number in numbers if says[number] is None]

    def _names(self, column: str | None) -> Callable[[Any], str]:
        if column is None:
            return str
        values = stored_values(self.dataset.features[column], self.dataset.unique(column))
        names = {value: name for name, value in values.items()}
        return lambda value: names.get(value, str(value))

    def _category_names(self) -> Callable[[Any], str]:
        if self.columns.objects is None:
            return str
        fields = object_fields(self.dataset.features[self.columns.objects]) or {}
        names = getattr(fields["category"], "names", None)
        return (lambda value: names[value]) if names else str


def _decoded(value: dict[str, Any], name: str) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(value["bytes"]) if value["bytes"] is not None else value["path"]) as file:
            image: Image.Image = file
            if file.mode not in ("L", "RGB", "I;16"):
                image = file.convert("L" if file.mode in ("1", "LA") else "RGB")
            return without_copies(as_pixels(np.asarray(image), name))
    except OSError as error:
        raise DataError(f"{name} cannot be read ({error}): replace it or leave it out") from error


def _of_kind(reference: np.ndarray, pixels: np.ndarray, name: str) -> np.ndarray:
    """The reference in the channels of the image; it must have its size and depth."""
    if reference.shape[:2] != pixels.shape[:2] or reference.dtype != pixels.dtype:
        raise DataError(
            f"{name} is {reference.shape[0]} x {reference.shape[1]} {reference.dtype}, and the image "
            f"{pixels.shape[0]} x {pixels.shape[1]} {pixels.dtype}: give one of the same size and depth"
        )
    return in_channels(reference, 1 if pixels.ndim == 2 else 3)


def _checked(box: Any, size: tuple[int, int], name: str) -> Box:
    x, y, w, h = (float(value) for value in box)
    left, top, right, bottom = max(x, 0.0), max(y, 0.0), min(x + w, float(size[1])), min(y + h, float(size[0]))
    if not (right > left and bottom > top):
        raise DataError(f"{name} has the box {[x, y, w, h]}, which is not in the image of {size[0]} x {size[1]}")
    return left, top, right - left, bottom - top
