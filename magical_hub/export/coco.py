"""COCO's JSON of object detection: boxes, and masks as run-length codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from magical_hub.export.samples import Sample, Samples, save_image
from magical_hub.metrics.optional import MissingPackageError


def write_coco(samples: Samples, folder: Path) -> None:
    """Write images/00000.png and so on, and annotations.json.

    A category's id is the number of its class in the dataset plus 1. An object has its share of the mask, the part in
    its box, as compressed run-length code; images, where the dataset says it, which were made and from which seed.

    Raises:
        DataError: where a row does not say whether it has objects.
        MissingPackageError: where there are masks and pycocotools is not installed.
    """
    samples.check_boxes("coco")
    ids = {name: number for number, name in enumerate(samples.categories, 1)}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, sample in enumerate(samples):
        name = f"{sample.stem}.png"
        save_image(sample.image, folder / "images" / name)
        size = {"width": sample.image.width, "height": sample.image.height}
        images.append({"id": number, "file_name": name, **size, **sample.more})
        for box, category in sample.objects or ():
            annotation = {
                "id": len(annotations) + 1,
                "image_id": number,
                "category_id": ids[category],
                "bbox": [round(side, 3) for side in box],
                "area": box[2] * box[3],
                "iscrowd": 0,
            }
            annotations.append(annotation | _segmentation(sample, box))
    whole = {
        "info": {"description": "made by magical_hub"},
        "images": images,
        "annotations": annotations,
        "categories": [{"id": number, "name": name, "supercategory": "defect"} for name, number in ids.items()],
    }
    (folder / "annotations.json").write_text(json.dumps(whole, default=str))


def _segmentation(sample: Sample, box: tuple[float, ...]) -> dict[str, Any]:
    """The mask inside a box as run-length code, and its area."""
    if sample.mask is None:
        return {}
    try:
        from pycocotools import mask as rle
    except ModuleNotFoundError as error:
        raise MissingPackageError("pycocotools is not installed: pip install 'magical-hub[coco]'") from error
    left, top, width, height = box
    rows, cols = (slice(int(start), int(np.ceil(start + size))) for start, size in ((top, height), (left, width)))
    own = np.zeros(sample.mask.shape[:2], np.uint8)
    own[rows, cols] = sample.mask[rows, cols] > 0
    code = rle.encode(np.asfortranarray(own))
    return {
        "segmentation": {"size": list(code["size"]), "counts": code["counts"].decode()},
        "area": int(own.sum()),
    }
