"""A labelled dataset in the layout of another program; one format per module."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from magical_hub.data.columns import Columns, check_dataset, find_columns
from magical_hub.data.fingerprints import fingerprint_of
from magical_hub.errors import ConfigError
from magical_hub.export.anomalib import check_anomalib, write_anomalib
from magical_hub.export.class_folders import check_class_folders, write_class_folders
from magical_hub.export.coco import check_coco, write_coco
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
"""Formats of the dataset as it is: what writes them."""
BY_SAMPLE: dict[str, tuple[Callable[[Samples], None], Callable[[Samples, Path], None]]] = {
    "imagefolder": (check_class_folders, write_class_folders),
    "coco": (check_coco, write_coco),
    "yolo": (lambda samples: samples.check_objects("yolo"), write_yolo),
    "anomalib": (check_anomalib, write_anomalib),
}
"""Formats of other programs: what refuses a dataset before anything is written, and what writes it."""


def write_dataset(
    dataset: datasets.Dataset,
    folder: str | Path,
    format: Format = "imagefolder",
    *,
    image_column: str = "image",
    label_column: str | None = "label",
    objects_column: str | None = "auto",
    mask_column: str | None = "auto",
    mask_values: Mapping[int, str] | None = None,
    record: dict[str, Any] | None = None,
) -> None:
    """Write a labelled dataset into a folder, which appears whole or not at all, or to a place that fsspec reaches.

    Args:
        dataset: its images are decoded one at a time.
        folder: new or empty; or a URL (s3://bucket/name, gs://..., hf://datasets/...), which is written by way of a
            temporary folder, and continued where the same call was interrupted before.
        format: "hf" (`datasets.load_from_disk`), "parquet" (data/train-*.parquet: what `load_dataset(folder)` reads,
            and the Hub), "imagefolder" (one folder per class and metadata.jsonl: `load_dataset("imagefolder")`),
            "coco" (images/ and annotations.json), "yolo" (images/, labels/ and data.yaml) or "anomalib" (normal/,
            abnormal/ and masks/: what its Folder data module reads). Images have the names of the files that they
            came in.
        image_column, label_column, objects_column, mask_column: what the columns hold; "auto" finds objects and masks.
            Of a dataset with masks and no objects "coco" and "yolo" have the connected parts of the masks.
        mask_values: names of the defect classes that values of the masks stand for; see data/masks.py.
        record: where it comes from; it becomes provenance.json.

    Raises:
        ConfigError: where there is no such format.
        DataError: where a column is missing, the format needs labels that a row lacks or can't hold its pixels, a box
            or a mask is invalid, the folder isn't empty, or the place can't be written to.
        MissingPackageError: of "coco" with masks, without the extra `coco`; of a URL, without the package for it.
    """
    check_dataset(dataset)
    columns = find_columns(dataset.features, image_column, label_column, objects_column, mask_column)
    samples = checked_samples(dataset, format, columns, mask_values)
    request = {"format": format, "columns": asdict(columns), "fingerprint": fingerprint_of(dataset)}
    if mask_values is not None:
        request["mask_values"] = {str(value): name for value, name in mask_values.items()}
    with written_to(folder, request) as beside:
        if samples is None:
            WHOLE[format](dataset, beside)
        else:
            _, write = BY_SAMPLE[format]
            write(samples, beside)
        if record is not None:
            (beside / FILE).write_text(json.dumps(record, indent=2))


def checked_samples(
    dataset: datasets.Dataset, format: str, columns: Columns, mask_values: Mapping[int, str] | None = None
) -> Samples | None:
    """What a format of another program is written from, once all that it needs was found; None of the other formats.

    Raises:
        ConfigError, DataError, MissingPackageError: as `write_dataset`.
    """
    if format not in WHOLE and format not in BY_SAMPLE:
        raise ConfigError(f"there is no format {format!r}: give {', '.join([*WHOLE, *BY_SAMPLE])}")
    if format in WHOLE:
        return None
    samples = Samples(dataset, columns, mask_values)
    samples.check()
    check, _ = BY_SAMPLE[format]
    check(samples)
    return samples
