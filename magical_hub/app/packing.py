"""Pictures as a ZIP file, in the layout that a trainer of detectors reads."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from magical_hub.app.making import Made
from magical_hub.conditions import LabelNames
from magical_hub.export import write_dataset
from magical_hub.export.labelled import Format
from magical_hub.pipeline import MagicalPipeline
from magical_hub.provenance import of_images

FORMATS: dict[str, Format] = {"COCO": "coco", "YOLO": "yolo", "PNG and metadata.jsonl": "imagefolder"}
"""What the page offers, and what `write_dataset` calls it. Those for boxes come first."""
BOXES = ("COCO", "YOLO")


def pack(pipe: MagicalPipeline, made: Made, format_name: str, folder: Path) -> Path:
    """Write images and their labels, with the record of where they come from, into a ZIP file.

    Args:
        pipe: that made them.
        made: the pictures.
        format_name: a key of `FORMATS`.
        folder: where the file goes, under a name of its own.

    Raises:
        DataError, MissingPackageError: as `write_dataset`.
    """
    place = Path(tempfile.mkdtemp(dir=folder))
    images = place / "images"
    image = {"seeds": [picture.seed for picture in made.pictures], "truncation_psi": made.truncation_psi}
    write_dataset(
        _dataset(pipe, made),
        images,
        FORMATS[format_name],
        label_column="label" if pipe.generator.config.num_classes else None,
        record={**of_images(pipe, image), "format": FORMATS[format_name]},
    )
    archive = shutil.make_archive(str(place / f"generated-{FORMATS[format_name]}"), "zip", images)
    shutil.rmtree(images)
    return Path(archive)


def _dataset(pipe: MagicalPipeline, made: Made) -> Any:
    import datasets

    config, known = pipe.generator.config, LabelNames.of(pipe.generator.config)
    features: dict[str, Any] = {"image": datasets.Image(), "seed": datasets.Value("int64")}
    if config.num_classes:
        features["label"] = datasets.ClassLabel(names=list(known.classes))
    if config.num_defects:
        category = datasets.ClassLabel(names=list(known.defects))
        features["objects"] = [{"bbox": datasets.Sequence(datasets.Value("float32"), 4), "category": category}]
        features["mask"] = datasets.Image()
    rows = []
    for picture in made.pictures:
        row: dict[str, Any] = {"image": picture.image, "seed": picture.seed}
        if config.num_classes:
            row["label"] = picture.label
        if picture.mask is not None:
            row["objects"] = picture.objects
            row["mask"] = Image.fromarray(np.where(picture.mask > 0, np.uint8(255), np.uint8(0)))
        rows.append(row)
    return datasets.Dataset.from_list(rows, features=datasets.Features(features))
