"""What the columns of a dataset hold: images, classes, boxes and masks, found and named."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from magical_hub.errors import DataError

if TYPE_CHECKING:
    import datasets

Object = tuple[tuple[float, ...], Any]
"""A box x, y, w, h in pixels, and the category as the dataset stores it."""


@dataclass(frozen=True)
class LabelledColumns:
    """The columns of images, of their class, of their objects and of their mask; None where there is none."""

    image: str
    label: str | None
    objects: str | None
    mask: str | None


def find_columns(
    features: datasets.Features,
    image_column: str = "image",
    label_column: str | None = "label",
    objects_column: str | None = "auto",
    mask_column: str | None = "auto",
) -> LabelledColumns:
    """Check the columns that are named, and find those left to "auto".

    Objects are found as a list of records with `bbox` (x, y, w, h in pixels: COCO's order) and `category`; a mask as a
    second column of images with "mask" in its name.

    Raises:
        DataError: where a column is missing or holds something else.
    """
    import datasets

    for column in (image_column, label_column, objects_column, mask_column):
        if column not in (None, "auto") and column not in features:
            raise DataError(
                f"the dataset has no column {column!r}, only {', '.join(features)}: name another, or None for none"
            )
    if objects_column == "auto":
        objects_column = next((name for name in features if object_fields(features[name])), None)
    if mask_column == "auto":
        others = [name for name in features if name != image_column and isinstance(features[name], datasets.Image)]
        mask_column = next((name for name in others if "mask" in name.lower()), None)
    for column in (image_column, mask_column):
        if column is not None and not isinstance(features[column], datasets.Image):
            raise DataError(f"column {column!r} holds no images: name the column that does")
    if objects_column is not None and not object_fields(features[objects_column]):
        raise DataError(f"column {objects_column!r} holds no list of bbox and category: name the column that does")
    return LabelledColumns(image_column, label_column, objects_column, mask_column)


def object_fields(feature: Any) -> dict[str, Any] | None:
    """The fields of a column of objects, of either layout: a list of records, or a record of lists; else None."""
    inner = getattr(feature, "feature", None) if not isinstance(feature, list) else feature[0]
    if isinstance(feature, dict):
        inner = {name: field.feature for name, field in feature.items() if hasattr(field, "feature")}
    return inner if isinstance(inner, dict) and {"bbox", "category"} <= inner.keys() else None


def read_objects(value: Any) -> list[Object] | None:
    """The objects of a row, of either layout; None where the row doesn't say, which is not the same as none."""
    if value is None:
        return None
    if isinstance(value, dict):
        return [(tuple(box), its) for box, its in zip(value["bbox"], value["category"], strict=True)]
    return [(tuple(thing["bbox"]), thing["category"]) for thing in value]


def write_objects(feature: Any, records: list[dict[str, Any]]) -> Any:
    """Records with `bbox` and `category` in the layout of a column; fields that they lack are null."""
    fields = object_fields(feature) or {}
    whole = [{name: record.get(name) for name in fields} for record in records]
    if isinstance(feature, dict):
        return {name: [record[name] for record in whole] for name in fields}
    return whole


def stored_values(feature: Any, seen: Iterable[Any] | None = None) -> dict[str, Any]:
    """The names of a column of classes, and how the dataset stores each.

    Args:
        feature: a ClassLabel; or strings or whole numbers, whose classes are those `seen`.
        seen: the values that occur; None where that isn't known.

    Returns:
        Names to values, in the order of the numbers; empty where the column holds no classes.
    """
    import datasets

    if isinstance(feature, datasets.ClassLabel):
        return {name: number for number, name in enumerate(feature.names)}
    if not isinstance(feature, datasets.Value) or not feature.dtype.startswith(
        ("string", "large_string", "int", "uint")
    ):
        return {}
    return {str(value): value for value in sorted({value for value in seen or () if value is not None})}
