"""A labelled dataset in the layout of another program; a format a module."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from magical_hub.data.columns import find_columns
from magical_hub.errors import ConfigError
from magical_hub.export.anomalib import write_anomalib
from magical_hub.export.class_folders import write_class_folders
from magical_hub.export.coco import write_coco
from magical_hub.export.parquet import write_parquet
from magical_hub.export.places import written_to
from magical_hub.export.samples import Samples
from magical_hub.export.yolo import write_yolo
from magical_hub.provenance import FILE

if TYPE_CHECKING:
    import datasets

Format = Literal["hf", "parquet", "imagefolder", "coco", "yolo", "anomalib"]
WHOLE: dict[str, Callable[[datasets.Dataset, Path], None]] = {
    "hf": lambda dataset, folder: dataset.save_to_disk(folder),
    "parquet": write_parquet,
}
"""Formats of the dataset as it is,"""
BY_SAMPLE: dict[str, Callable[[Samples, Path], None]] = {
    "imagefolder": write_class_folders,
    "coco": write_coco,
    "yolo": write_yolo,
    "anomalib": write_anomalib,
}
"""and those of other programs."""


def write_dataset(
    dataset: datasets.Dataset,
    folder: str | Path,
    format: Format = "imagefolder",
    *,
    image_column: str = "image",
    label_column: str | None = "label",
    objects_column: str | None = "auto",
    mask_column: str | None = "auto",
    record: dict[str, Any] | None = None,
) -> None:
    """Write a labelled dataset into a folder, which appears whole or not at all, or to a place that fsspec reaches.

    Args:
        dataset: its images are decoded one at a time.
        folder: new or empty; or a URL (s3://bucket/name, gs://..., hf://datasets/...), which is written by way of a
            temporary folder, and gone on with where the same call was cut off before.
        format: "hf" (`datasets.load_from_disk`), "parquet" (data/train-*.parquet: what `load_dataset(folder)` reads,
            and the Hub), "imagefolder" (a folder a class and metadata.jsonl: `load_dataset("imagefolder")`), "coco"
            (images/ and annotations.json), "yolo" (images/, labels/ and data.yaml) or "anomalib" (normal/, abnormal/
            and masks/: what its Folder data module reads).
        image_column, label_column, objects_column, mask_column: what the columns hold; "auto" finds objects and masks.
        record: where it comes from; it becomes provenance.json.

    Raises:
        ConfigError: where there is no such format.
        DataError: where a column is missing, the format needs labels that a row lacks, the folder isn't empty, or the
            place can't be written to.
        MissingPackageError: of "coco" with masks, without the extra `coco`; of a URL, without the package for it.
    """
    if format not in WHOLE and format not in BY_SAMPLE:
        raise ConfigError(f"there is no format {format!r}: give {', '.join([*WHOLE, *BY_SAMPLE])}")
    columns = find_columns(dataset.features, image_column, label_column, objects_column, mask_column)
    request = {"format": format, "columns": asdict(columns), "fingerprint": dataset._fingerprint}
    with written_to(folder, request) as beside:
        if format in WHOLE:
            WHOLE[format](dataset, beside)
        else:
            BY_SAMPLE[format](Samples(dataset, columns), beside)
        if record is not None:
            (beside / FILE).write_text(json.dumps(record, indent=2))
