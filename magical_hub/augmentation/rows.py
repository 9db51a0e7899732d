"""From the images of a pipeline to rows of a dataset: the same columns, names, sizes and modes."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from magical_hub.augmentation.keeping import Keep
from magical_hub.augmentation.labels import Known, LabelColumn
from magical_hub.augmentation.looks import Look
from magical_hub.data.columns import LabelledColumns, object_fields, stored_values, write_objects
from magical_hub.errors import DataError

if TYPE_CHECKING:
    import datasets

PROVENANCE = ("synthetic", "source", "seed")


@dataclass(frozen=True)
class Recipe:
    """All that a row hangs on beside the pipeline and what is wished for.

    Args:
        features: of the rows, the three of provenance included where they are wanted.
        columns: what they hold.
        labels: the columns of classes that are filled.
        categories: names of defects to what the dataset stores for them.
        look: of the images.
        source: the checkpoint's name and a hash of its weights.
        seed: of the series of images.
        batch_size: images at a time.
        keep: which ones are kept.
    """

    features: datasets.Features
    columns: LabelledColumns
    labels: Mapping[str, LabelColumn]
    categories: Mapping[str, Any]
    look: Look
    source: str
    seed: int
    batch_size: int
    keep: Keep

    @property
    def label(self) -> LabelColumn | None:
        """The column whose classes are asked for."""
        return None if self.columns.label is None else self.labels[self.columns.label]

    def row(
        self, image: Image.Image, annotation: Mapping[str, Any], mask: np.ndarray | None, seed: int
    ) -> dict[str, Any]:
        """A row, encoded; what can't be filled is null."""
        columns, objects = self.columns, annotation.get("objects")
        row: dict[str, Any] = dict.fromkeys(self.features)
        row[columns.image] = _file(self.look.image(image))
        for name, column in self.labels.items():
            row[name] = column.value(annotation)
        if columns.objects is not None and objects is not None:
            scale = self.look.size[0] / image.width, self.look.size[1] / image.height
            row[columns.objects] = self._objects(objects, scale)
        if columns.mask is not None and mask is not None:
            row[columns.mask] = _file(self.look.mask(self.marked(mask)))
        if "synthetic" in self.features:
            row |= {"synthetic": True, "source": self.source, "seed": seed}
        encoded: dict[str, Any] = self.features.encode_example(row)
        return encoded

    def _objects(self, objects: list[dict[str, Any]], scale: tuple[float, float]) -> Any:
        records = []
        for thing in objects:
            box = [float(side * scale[axis % 2]) for axis, side in enumerate(thing["bbox"])]
            record = {"bbox": box, "category": self.categories[thing["category"]], "area": box[2] * box[3]}
            records.append(record)
        return write_objects(self.features[self.columns.objects], records)

    def marked(self, mask: np.ndarray) -> np.ndarray:
        """A pipeline's mask, 1 + the number of the defect, in the values of the dataset's masks."""
        if self.look.mask_value is None:
            return mask
        return np.where(mask > 0, np.uint8(self.look.mask_value), np.uint8(0))


def categories_of(feature: Any, known: Known) -> dict[str, Any]:
    """What a column of objects stores for each defect that the checkpoint knows.

    Raises:
        DataError: where it has no name for one of them.
    """
    import datasets

    field = (object_fields(feature) or {})["category"]
    if isinstance(field, datasets.Value) and field.dtype in ("string", "large_string"):
        return {name: name for name in known.defects}
    stored = stored_values(field)
    missing = [name for name in known.defects if name not in stored]
    if missing:
        raise DataError(
            f"the categories of the objects ({', '.join(stored) or 'numbers without names'}) lack the checkpoint's "
            f"{', '.join(map(repr, missing))}: cast them to a ClassLabel with these names, or to strings"
        )
    return {name: stored[name] for name in known.defects}


def _file(image: Image.Image) -> dict[str, Any]:
    """As an Image feature stores it, in a format that keeps every value."""
    target = io.BytesIO()
    if image.mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16", "I"):
        image.save(target, "PNG", compress_level=1)  # sensor noise hardly compresses: a higher level gains little
    else:
        image.save(target, "TIFF")
    return {"bytes": target.getvalue(), "path": None}
