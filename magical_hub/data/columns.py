"""The columns of a dataset: those of images, classes, boxes and masks, found and checked."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from magical_hub.errors import DataError, first_line

if TYPE_CHECKING:
    import datasets

Object = tuple[tuple[Any, ...], Any]
"""A box x, y, w, h in pixels as the dataset has it, to be checked by `boxes.checked_box`, and the stored category."""


@dataclass(frozen=True)
class Columns:
    """The names of the columns of a dataset; None where there is no such column.

    Attributes:
        image: of the images.
        label: of their classes.
        objects: of their boxes, each with a category.
        mask: of masks, images of the same size.
        reference: of images of the same objects without their defects.
        group: of what belongs together: a board, a lot.
    """

    image: str = "image"
    label: str | None = None
    objects: str | None = None
    mask: str | None = None
    reference: str | None = None
    group: str | None = None

    @property
    def names(self) -> list[str]:
        """All of them, each once."""
        return [*dict.fromkeys(name for name in astuple(self) if name is not None)]

    @property
    def images(self) -> list[str]:
        """Those that hold images."""
        return [name for name in (self.image, self.mask, self.reference) if name is not None]


def check_dataset(dataset: Any, streamed: bool = False) -> None:
    """Raise a DataError unless `dataset` is a `datasets.Dataset` or, where `streamed`, an `IterableDataset`."""
    import datasets

    if isinstance(dataset, datasets.Dataset) or (streamed and isinstance(dataset, datasets.IterableDataset)):
        return
    kind = type(dataset).__name__
    if isinstance(dataset, dict):
        split = next(iter(dataset), "train")
        raise DataError(f"dataset is a {kind} of {', '.join(map(repr, dataset))}: give one split, as data[{split!r}]")
    if isinstance(dataset, datasets.IterableDataset):
        raise DataError("dataset is a stream (IterableDataset): load it without streaming=True")
    raise DataError(f"dataset is a {kind}: give a datasets.Dataset" + " or IterableDataset" * streamed)


def find_columns(
    features: datasets.Features | None,
    image_column: str = "image",
    label_column: str | None = "label",
    objects_column: str | None = "auto",
    mask_column: str | None = "auto",
    reference_column: str | None = None,
    group_column: str | None = None,
) -> Columns:
    """Check the columns that are named, and find those left to "auto".

    Objects are found as a list of records with `bbox` (x, y, w, h in pixels: COCO's order) and `category`; a mask as a
    second column of images with "mask" in its name.

    Raises:
        DataError: where a column is missing or holds something else.
    """
    import datasets

    if features is None:
        raise DataError("the stream does not say what its columns hold: give it features, by its cast() for instance")
    for column in (image_column, label_column, objects_column, mask_column, reference_column, group_column):
        if column not in (None, "auto") and column not in features:
            raise DataError(
                f"the dataset has no column {column!r}, only {', '.join(features)}: name another, or None for none"
            )
    if objects_column == "auto":
        objects_column = next((name for name in features if object_fields(features[name])), None)
    if mask_column == "auto":
        others = [name for name in features if name != image_column and isinstance(features[name], datasets.Image)]
        mask_column = next((name for name in others if "mask" in name.lower()), None)
    columns = Columns(image_column, label_column, objects_column, mask_column, reference_column, group_column)
    for column in columns.images:
        if not isinstance(features[column], datasets.Image):
            raise DataError(f"column {column!r} holds no images: name the column that does")
    if objects_column is not None and not object_fields(features[objects_column]):
        raise DataError(f"column {objects_column!r} holds no list of bbox and category: name the column that does")
    return columns


def object_fields(feature: Any) -> dict[str, Any] | None:
    """The fields of a column of objects, of either layout: a list of records, or a record of lists; else None."""
    inner = getattr(feature, "feature", None) if not isinstance(feature, list) else feature[0]
    if isinstance(feature, dict):
        inner = {name: field.feature for name, field in feature.items() if hasattr(field, "feature")}
    return inner if isinstance(inner, dict) and {"bbox", "category"} <= inner.keys() else None


def objects_feature(categories: Iterable[str]) -> Any:
    """The feature of a column of objects: lists of {"bbox": x, y, w, h in pixels, "category": one of these}."""
    import datasets

    category = datasets.ClassLabel(names=list(categories))
    return datasets.List({"bbox": datasets.List(datasets.Value("float32"), length=4), "category": category})


def read_objects(value: Any, name: str = "a row") -> list[Object] | None:
    """The objects of a row, of either layout; None where the row doesn't say, which is not the same as none.

    Args:
        value: of the column.
        name: what to call the row in an error.

    Raises:
        DataError: where there are not as many boxes as categories.
    """
    records = object_records(value, name)
    return None if records is None else [(_as_tuple(item["bbox"]), item["category"]) for item in records]


def _as_tuple(box: Any) -> tuple[Any, ...]:
    return tuple(box) if box is not None else ()


def object_records(value: Any, name: str) -> list[dict[str, Any]] | None:
    """The objects of a row as records of all their fields, as `read_objects` reads them."""
    if isinstance(value, dict):
        boxes, categories = value["bbox"] or [], value["category"] or []
        if len(boxes) != len(categories):
            raise DataError(f"{name} has {len(boxes)} boxes and {len(categories)} categories: give each box one")
        return [
            {field: (values or [None] * len(boxes))[number] for field, values in value.items()}
            for number in range(len(boxes))
        ]
    if any(item is None for item in value or ()):
        raise DataError(f"{name} has null among its objects: leave it out")
    return value


def write_objects(feature: Any, records: list[dict[str, Any]]) -> Any:
    """Records with `bbox` and `category` in the layout of a column; fields that they lack are null."""
    fields = object_fields(feature) or {}
    whole = [{name: record.get(name) for name in fields} for record in records]
    if isinstance(feature, dict):
        return {name: [record[name] for record in whole] for name in fields}
    return whole


def stored_values(feature: Any, values: Iterable[Any] | None = None, column: str = "label") -> dict[str, Any]:
    """The names of a column of classes, and how the dataset stores each.

    Args:
        feature: a ClassLabel; or strings, whole numbers or bools, whose classes are the `values`.
        values: those that occur, null among them or not; None where that isn't known.
        column: its name.

    Returns:
        Names to values, in the order of the numbers; empty where the column holds no classes.

    Raises:
        DataError: where values occur of which not each has a name of its own.
    """
    import datasets

    if isinstance(feature, datasets.ClassLabel):
        return {name: number for number, name in enumerate(feature.names)}
    if not isinstance(feature, datasets.Value):
        return {}
    occurring = {value for value in values or () if value is not None}
    if any(isinstance(value, str) and not value.strip() for value in occurring):
        raise DataError(f"column {column!r} holds an empty name: give every image a class, or null for none")
    if not feature.dtype.startswith(("string", "large_string", "int", "uint", "bool")):
        if occurring:
            raise DataError(
                f"column {column!r} holds {feature.dtype}, which is not a class: cast it to strings or whole numbers"
            )
        return {}
    return {str(value): value for value in sorted(occurring)}


def undecoded(dataset: Any, *columns: str) -> Any:
    """A `datasets.Dataset` whose images in these columns stay files: see `file_of`."""
    import datasets

    for column in columns:
        dataset = dataset.cast_column(column, datasets.Image(decode=False))
    return dataset


def row_name(number: int, *images: Any) -> str:
    """What to call a row in an error: its number, and where that is known its file with the folder that it is in.

    Args:
        number: of the row, from 0 on.
        images: of the row, not decoded, null among them or not: the first that came in a file names it.
    """
    paths = [image["path"] for image in images if image is not None and image["path"]]
    if not paths:
        return f"row {number}"
    shown = "/".join(part for part in re.split(r"[/\\]", paths[0])[-2:] if part)
    return f"row {number} ({shown.encode('utf-8', 'backslashreplace').decode()})"


def file_of(image: Any) -> Path | bytes:
    """The file of an image that is not decoded, or its bytes; what is at a URL is fetched.

    Raises:
        DataError: where that fails.
    """
    if image["bytes"] is not None:
        return bytes(image["bytes"])
    if "://" in image["path"]:
        import fsspec

        try:
            with fsspec.open(image["path"], "rb") as file:
                return bytes(file.read())
        except Exception as error:  # every file system has its own
            raise DataError(f"{image['path']} cannot be fetched ({first_line(error)}): try again") from error
    return Path(image["path"])
