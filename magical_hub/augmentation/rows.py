"""From the images of a pipeline to rows of a dataset: the same columns, names, sizes and modes."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from magical_hub.augmentation.image_spec import ImageSpec
from magical_hub.augmentation.labels import LabelColumn
from magical_hub.augmentation.settings import Keep
from magical_hub.boxes import Box, checked_box
from magical_hub.data.columns import Columns, object_fields, stored_values, write_objects
from magical_hub.data.masks import MaskValues
from magical_hub.errors import DataError

if TYPE_CHECKING:
    import datasets

PROVENANCE = ("synthetic", "source", "seed")


@dataclass(frozen=True)
class RowEncoder:
    """Encodes generated images as rows of a dataset.

    Args:
        features: of the rows, the three of provenance included where they are wanted.
        columns: what they hold.
        labels: the columns of classes that are filled.
        categories: names of defects to what the dataset stores for them.
        mask_classes: the class of each defect of the checkpoint in the dataset's masks, from 1 on; 0 first, for none.
        spec: of the images and masks.
        source: the checkpoint's name and a hash of its weights.
        seed: of the series of images.
        batch_size: images at a time.
        keep: which ones are kept.
    """

    features: datasets.Features
    columns: Columns
    labels: Mapping[str, LabelColumn]
    categories: Mapping[str, Any]
    mask_classes: tuple[int, ...]
    spec: ImageSpec
    source: str
    seed: int
    batch_size: int
    keep: Keep

    @property
    def label(self) -> LabelColumn | None:
        """The column whose classes the images are generated for."""
        return None if self.columns.label is None else self.labels[self.columns.label]

    def encode(
        self, image: Image.Image, annotation: Mapping[str, Any], mask: np.ndarray | None, number: int, seed: int
    ) -> dict[str, Any]:
        """A row, encoded; what can't be filled is null.

        Args:
            image: of the pipeline.
            annotation: that it has.
            mask: (H, W), the numbers of the checkpoint's defects; None where none is known.
            number: of the image in its series.
            seed: of the image.
        """
        columns, objects = self.columns, annotation.get("objects")
        name = synthetic_name(self.seed, number)
        row: dict[str, Any] = {columns.image: image_file(self.spec.image(image), name)}
        for label, column in self.labels.items():
            row[label] = column.value(annotation)
        if columns.objects is not None and objects is not None:
            across, down = self.spec.size[0] / image.width, self.spec.size[1] / image.height
            scaled = [(item["bbox"], item["category"]) for item in objects]
            row[columns.objects] = self.objects(
                [((x * across, y * down, w * across, h * down), kind) for (x, y, w, h), kind in scaled]
            )
        if columns.mask is not None and mask is not None:
            row[columns.mask] = image_file(self.spec.mask(self.dataset_mask(mask)), name)
        return encoded_row(self.features, row, self.source, seed)

    def objects(self, objects: Sequence[tuple[Box, str]]) -> Any:
        """Boxes in pixels of the dataset's images, and the names of their defects, as its column stores them."""
        feature = self.features[self.columns.objects]
        return stored_objects(feature, self.categories, objects, self.spec.size[::-1])

    def dataset_mask(self, mask: np.ndarray) -> np.ndarray:
        """A pipeline's mask (H, W), the numbers of the checkpoint's defects, in the classes of the dataset's masks."""
        return np.array(self.mask_classes, np.uint8)[mask]


def encoded_row(features: datasets.Features, row: Mapping[Any, Any], source: str, seed: int) -> dict[str, Any]:
    """A row as a dataset stores it: what it does not say is null; with its provenance where that is wanted."""
    known = {"synthetic": True, "source": source, "seed": seed} if "synthetic" in features else {}
    encoded: dict[str, Any] = features.encode_example({**dict.fromkeys(features), **row, **known})
    return encoded


def synthetic_name(seed: int, number: int) -> str:
    """The file name of an image of a series, without its ending."""
    return f"synthetic-{seed}-{number:05d}"


def stored_objects(
    feature: Any, categories: Mapping[str, Any], objects: Sequence[tuple[Box, str]], size: tuple[int, int]
) -> Any:
    """Boxes and the names of their defects as a column of objects stores them.

    A column of whole numbers gets the smallest box of whole pixels that holds the defect.

    Args:
        feature: of the column.
        categories: what it stores for each name.
        objects: boxes in pixels, and names.
        size: height and width of the image.
    """
    fields = object_fields(feature) or {}
    records = []
    for box, name in objects:
        clipped = checked_box(box, size, "a synthetic image")
        sides = _outward(clipped) if _is_whole(fields["bbox"]) else [float(side) for side in clipped]
        area = sides[2] * sides[3]
        record = {"bbox": sides, "category": categories[name], "area": area}
        if _is_whole(fields.get("area")):
            record["area"] = round(area)
        records.append(record)
    return write_objects(feature, records)


def categories_of(feature: Any, defects: Sequence[str]) -> dict[str, Any]:
    """What a column of objects stores for each of these defects.

    Raises:
        DataError: where it has no name for one of them.
    """
    import datasets

    field = (object_fields(feature) or {})["category"]
    if isinstance(field, datasets.Value) and field.dtype in ("string", "large_string"):
        return {name: name for name in defects}
    stored = stored_values(field)
    missing = [name for name in defects if name not in stored]
    if missing:
        raise DataError(
            f"the categories of the objects ({', '.join(stored) or 'numbers without names'}) lack "
            f"{', '.join(map(repr, missing))}: cast them to a ClassLabel with these names, or to strings"
        )
    return {name: stored[name] for name in defects}


def mask_classes_of(masks: MaskValues, defects: Sequence[str]) -> tuple[int, ...]:
    """The class in a dataset's masks of each of these defects; 0 first, for none.

    Raises:
        DataError: where the masks tell classes apart and have none of that name.
    """
    if masks.names is None:
        return (0, *(1 for _ in defects))
    missing = [name for name in defects if name not in masks.names]
    if missing:
        raise DataError(
            f"the masks tell apart {', '.join(masks.names)}, and not {', '.join(map(repr, missing))}: name the values "
            "of the masks by mask_values"
        )
    return (0, *(1 + masks.names.index(name) for name in defects))


def _outward(box: Box) -> list[int]:
    """The smallest box of whole pixels around one."""
    x, y, width, height = box
    left, top = math.floor(x), math.floor(y)
    return [left, top, math.ceil(x + width) - left, math.ceil(y + height) - top]


def _is_whole(feature: Any) -> bool:
    """Whether a field of numbers, or of lists of them, holds whole ones."""
    while getattr(feature, "feature", None) is not None or isinstance(feature, list):
        feature = feature[0] if isinstance(feature, list) else feature.feature
    return str(getattr(feature, "dtype", "")).startswith(("int", "uint"))


def image_file(image: Image.Image, name: str) -> dict[str, Any]:
    """An image as an Image feature stores it, in a format that keeps every value.

    Args:
        image: of any mode.
        name: of the file, without its ending.
    """
    target = io.BytesIO()
    if image.mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"):
        image.save(target, "PNG", compress_level=1)  # sensor noise hardly compresses: a higher level gains little
        return {"bytes": target.getvalue(), "path": f"{name}.png"}
    image.save(target, "TIFF")
    return {"bytes": target.getvalue(), "path": f"{name}.tif"}
