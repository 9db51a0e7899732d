"""Pictures as a ZIP file, in the layout that a trainer of detectors reads."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from magical_hub.app.making import Made
from magical_hub.augmentation.rows import image_file
from magical_hub.conditions import LabelNames
from magical_hub.data.columns import objects_feature
from magical_hub.defects import DefectBank, Painted
from magical_hub.errors import DataError
from magical_hub.export import write_dataset
from magical_hub.export.labelled import Format
from magical_hub.pipeline import MagicalPipeline
from magical_hub.provenance import of_images, of_painted

FORMATS: dict[str, Format] = {"COCO": "coco", "YOLO": "yolo", "PNG and metadata.jsonl": "imagefolder"}
"""The formats by the names on the page, and by those of `write_dataset`; those with boxes come first."""
BOXES = ("COCO", "YOLO")


def pack(pipe: MagicalPipeline, made: Made, format_name: str, folder: Path) -> Path:
    """Write generated images and their labels, with the record of where they come from, into a ZIP file.

    Args:
        pipe: that made them.
        made: the pictures.
        format_name: a key of `FORMATS`.
        folder: where the file goes, under a name of its own.

    Raises:
        DataError, MissingPackageError: as `write_dataset`.
    """
    image = {"seeds": [picture.seed for picture in made.pictures], "truncation_psi": made.truncation_psi}
    label = "label" if pipe.generator.config.num_classes else None
    return _packed(
        _generated(pipe, made), "generated", format_name, folder, of_images(pipe, image), label_column=label
    )


def pack_painted(
    bank: DefectBank, painted: Painted, name: str, about: dict[str, Any], format_name: str, folder: Path
) -> Path:
    """Write an image with painted defects and its label into a ZIP file, as `pack` does.

    Args:
        bank: of the defects.
        painted: the image.
        name: of its file, without the ending.
        about: the request, for the record.
        format_name, folder: as of `pack`.

    Raises:
        DataError, MissingPackageError: as `write_dataset`; and where the pixels are colour of 16 bits.
    """
    import datasets

    if painted.image.ndim == 3 and painted.image.dtype != np.uint8:
        raise DataError("images in colour of 16 bits a channel cannot be packed: convert the image to 8")
    features = {
        "image": datasets.Image(),
        "objects": objects_feature(bank.classes),
        "mask": datasets.Image(),
    }
    row = {
        "image": image_file(Image.fromarray(painted.image), name),
        "objects": painted.objects,
        "mask": Image.fromarray(painted.mask),
    }
    dataset = datasets.Dataset.from_list([row], features=datasets.Features(features))
    values = dict(enumerate(bank.classes, 1))
    return _packed(
        dataset, "painted", format_name, folder, of_painted(bank, about), label_column=None, mask_values=values
    )


def _packed(dataset: Any, kind: str, format_name: str, folder: Path, record: dict[str, Any], **columns: Any) -> Path:
    place = Path(tempfile.mkdtemp(dir=folder))
    images, format = place / "images", FORMATS[format_name]
    write_dataset(dataset, images, format, record={**record, "format": format}, **columns)
    archive = shutil.make_archive(str(place / f"{kind}-{format}"), "zip", images)
    shutil.rmtree(images)
    return Path(archive)


def _generated(pipe: MagicalPipeline, made: Made) -> Any:
    import datasets

    config, known = pipe.generator.config, LabelNames.of(pipe.generator.config)
    features: dict[str, Any] = {"image": datasets.Image(), "seed": datasets.Value("int64")}
    if config.num_classes:
        features["label"] = datasets.ClassLabel(names=list(known.classes))
    if config.num_defects:
        features["objects"] = objects_feature(known.defects)
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
