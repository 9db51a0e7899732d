"""COCO's JSON of object detection: boxes, and masks as run-length codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from magical_hub.boxes import Box
from magical_hub.data.rows import LabelledObject
from magical_hub.export.names import names_beside
from magical_hub.export.samples import Samples, plain, save_image
from magical_hub.extras import extra
from magical_hub.files import write_text

KEYS = {
    *("id", "width", "height", "file_name", "license", "flickr_url", "coco_url", "date_captured"),
    *("image_id", "category_id", "segmentation", "area", "bbox", "iscrowd"),
}
"""The keys with a meaning in COCO's images and annotations."""


def check_coco(samples: Samples) -> None:
    """Refuse what COCO can't say, before anything is written.

    Raises:
        DataError: where a row does not say whether it has objects.
        MissingPackageError: where there are masks and pycocotools is not installed.
    """
    samples.check_objects("coco")
    if samples.columns.mask is not None:
        _codes()


def write_coco(samples: Samples, folder: Path) -> None:
    """Write images/ and annotations.json.

    A category's id is the number of its class in the dataset plus 1. Without a column of objects an object is a
    connected part of the mask, of the class that the mask's values name, or else that of the image. The mask of an
    object, as compressed run-length code, is that part; with a column of objects it is what the mask marks inside the
    box. The dataset's other columns are beside the keys of an image, and what else it says of an object is beside
    those of an annotation: under "original_NAME" where the name is COCO's.
    """
    ids = {name: number for number, name in enumerate(samples.defect_names, 1)}
    names = samples.names_beside(KEYS.__contains__)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for row in samples.to_write():
        name = f"{samples.stems[row.number]}.png"
        save_image(samples.image(row), folder / "images" / name)
        own = {names[column]: value for column, value in samples.more_of(row).items()}
        if samples.has_file_names:
            own.setdefault("original_name", samples.files[row.number])
        height, width = row.size
        images.append({**own, "id": row.number, "file_name": name, "width": width, "height": height})
        for item in samples.all_objects(row):
            more = names_beside(item.more, KEYS.__contains__)
            annotation = {
                **{more[name]: value for name, value in plain(item.more).items()},
                "id": len(annotations) + 1,
                "image_id": row.number,
                "category_id": ids[item.category],
                **_box(item.box),
                "iscrowd": 0,
            }
            annotations.append(annotation | _segmentation(item))
    whole = {
        "info": {"description": "made by magical_hub"},
        "images": images,
        "annotations": annotations,
        "categories": [{"id": number, "name": name, "supercategory": "defect"} for name, number in ids.items()],
    }
    write_text(folder / "annotations.json", json.dumps(whole, default=str))


def _box(box: Box) -> dict[str, Any]:
    """A box to a thousandth of a pixel, inside the image still, and its area."""
    left, top = round(box[0], 3), round(box[1], 3)
    width, height = (round(round(box[axis] + box[axis + 2], 3) - start, 3) for axis, start in ((0, left), (1, top)))
    return {"bbox": [left, top, width, height], "area": box[2] * box[3]}


def _segmentation(item: LabelledObject) -> dict[str, Any]:
    """The mask of an object as run-length code, and its area."""
    if item.mask is None:
        return {}
    own = item.mask()
    code = _codes().encode(np.asfortranarray(own.astype(np.uint8)))
    return {
        "segmentation": {"size": list(code["size"]), "counts": code["counts"].decode()},
        "area": int(own.sum()),
    }


def _codes() -> Any:
    with extra("coco"):
        from pycocotools import mask
    return mask
