"""A training set with synthetic rows, from a name to a folder in the layout of another program."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from magical_hub.augmentation.augmenting import augment
from magical_hub.augmentation.preparing import Settings
from magical_hub.devices import move
from magical_hub.errors import DataError, first_line
from magical_hub.export.labelled import Format, write_dataset
from magical_hub.export.places import check_place, is_remote
from magical_hub.files import expanded
from magical_hub.pipeline import MagicalPipeline
from magical_hub.provenance import of_images

if TYPE_CHECKING:
    import datasets


@dataclass(frozen=True)
class Written:
    """What `write_augmented` made: images of either kind, how many were made and dropped why, and its record."""

    output_dir: str
    format: str
    real: int
    synthetic: int
    counts: dict[str, int]
    record: dict[str, Any]


def write_augmented(
    data: str,
    checkpoint: str,
    output_dir: str | Path,
    settings: Settings,
    format: Format = "hf",
    split: str = "train",
    device: str = "cpu",
) -> Written:
    """Augment a dataset and write it, real and synthetic images together; provenance.json says where they come from.

    Args:
        data: a folder that `datasets.load_dataset("imagefolder")` reads (a folder a class, or metadata.jsonl), one
            that `save_to_disk` wrote, or the id of a dataset on the Hub.
        checkpoint: RUN, an id on the Hub, or a bundled checkpoint's name.
        output_dir: new or empty, or a URL for fsspec, as of `write_dataset`.
        settings: what is made.
        format: "hf", "parquet", "imagefolder", "coco", "yolo" or "anomalib".
        split: the split to augment; no other is written.
        device: cpu, cuda, mps ...

    Raises:
        DataError: where the data can't be read, or lack what the format needs.
        ConfigError, CheckpointError, AugmentationError: as `augment_dataset` and `MagicalPipeline.from_pretrained`.
    """
    check_place(output_dir)  # before the work, not after it
    dataset = load(data, split)
    pipe = MagicalPipeline.from_pretrained(checkpoint)
    move(device, pipe)
    if format in ("coco", "yolo") and not pipe.generator.config.num_defects:
        raise DataError(f"{checkpoint} knows no defects: its images have no boxes for {format}; take another format")
    made = augment(dataset, pipe, settings)
    image = {"seed": settings.seed, "num_images": settings.num_images, "balance": settings.balance}
    record = {**of_images(pipe, image), "made": "dataset", "format": format, "real": len(dataset)}
    write_dataset(
        made.dataset,
        output_dir,
        format,
        image_column=settings.image_column,
        label_column=settings.label_column,
        objects_column=settings.objects_column,
        mask_column=settings.mask_column,
        record=record,
    )
    place = str(output_dir if is_remote(output_dir) else expanded(output_dir))
    return Written(place, format, len(dataset), settings.num_images, made.counts, record)


def load(data: str, split: str) -> datasets.Dataset:
    """One split of a dataset, from the disk or the Hub.

    Raises:
        DataError: where it can't be read, or has no such split.
    """
    import datasets

    folder = expanded(data)
    if not folder.is_dir() and not re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", data):
        raise DataError(f"there is no folder {data}: give a folder of images, or the id of a dataset on the Hub")
    try:
        if (folder / "state.json").is_file():
            return datasets.load_from_disk(str(folder))
        if (folder / "dataset_dict.json").is_file():
            found = datasets.load_from_disk(str(folder))
        elif folder.is_dir():
            found = datasets.load_dataset("imagefolder", data_dir=str(folder))
        else:
            found = datasets.load_dataset(data)
    except Exception as error:  # the loaders raise many kinds
        reason = first_line(error)
        raise DataError(
            f"{data} is neither a folder of images here nor a dataset that can be loaded ({reason}): "
            "check the name and the network"
        ) from error
    if split not in found:
        raise DataError(f"{data} has no split {split!r}: it has {', '.join(found)}")
    return found[split]
