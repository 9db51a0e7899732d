"""Columns of classes of a dataset: image classes of a checkpoint, or its defects and a name for none."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from magical_hub.conditions import LabelNames
from magical_hub.data.columns import Columns, stored_values
from magical_hub.errors import DataError


@dataclass(frozen=True)
class LabelColumn:
    """A column that can be filled.

    Args:
        values: names to what the dataset stores for them.
        is_defect: whether the names are defects (and one for none), not image classes.
        none: the name that stands for no defect; None where there is none.
    """

    values: Mapping[str, Any]
    is_defect: bool
    none: str | None = None

    def value(self, annotation: Mapping[str, Any]) -> Any:
        """The value of the column for an image of a pipeline; None where its annotation does not determine it."""
        if not self.is_defect:
            return self.values.get(annotation.get("class_name", ""))
        objects = annotation.get("objects")
        if objects is None:
            return None
        return self.values.get(largest(objects) if objects else self.none or "")


def largest(objects: Sequence[Mapping[str, Any]]) -> str:
    """The category of the object whose box is the largest."""
    return max(objects, key=lambda item: item["bbox"][2] * item["bbox"][3])["category"]


def label_columns(
    features: Mapping[str, Any],
    columns: Columns,
    known: LabelNames,
    present: Mapping[str, Collection[Any]] | None,
) -> dict[str, LabelColumn]:
    """The columns of classes that a checkpoint can fill.

    Args:
        features: the dataset's.
        columns: the column that must be among them is `columns.label`.
        known: to the checkpoint.
        present: the values that occur in each column of classes; others need not be known. None where they were not
            counted: `columns.label` must be a ClassLabel then.

    Raises:
        DataError: where the checkpoint lacks classes of `columns.label`.
    """
    import datasets

    found = {}
    for name, feature in features.items():
        if name != columns.label and not isinstance(feature, datasets.ClassLabel):
            continue
        occurring_values = None if present is None else present[name]
        values = stored_values(feature, occurring_values)
        occurring = [name for name, value in values.items() if occurring_values is None or value in occurring_values]
        column = _column(occurring, known)
        if column is not None and (name == columns.label or {*values} & {*known.classes, *known.defects}):
            found[name] = LabelColumn(values, *column)
        elif name == columns.label:
            raise _unknown(name, occurring, known)
    return found


def _unknown(name: str, occurring: Sequence[str], known: LabelNames) -> DataError:
    if not occurring:
        return DataError(f"column {name!r} holds no known classes: cast it to a ClassLabel, or name another")
    unknown = [name for name in occurring if name not in known.classes + known.defects]
    return DataError(
        f"the checkpoint has no class {', '.join(map(repr, unknown))} of column {name!r} (it has {known}): rename "
        "the classes, take another checkpoint, or leave the column out by label_column=None"
    )


def _column(names: Sequence[str], known: LabelNames) -> tuple[bool, str | None] | None:
    """Whether names are defects, and the one for none; None where the checkpoint can't fill the column."""
    if not names:
        return None
    if known.classes and {*names} <= {*known.classes}:
        return False, None
    others = [name for name in names if name not in known.defects]
    if not known.defects or len(others) > 1:
        return None
    return True, others[0] if others else None
