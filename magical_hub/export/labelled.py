"""A labelled dataset in the layout of another program; a format a module."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from magical_hub.data.columns import find_columns
from magical_hub.errors import ConfigError
from magical_hub.export.anomalib import write_anomalib
from magical_hub.export.class_folders import write_class_folders
from magical_hub.export.coco import write_coco
from magical_hub.export.samples import Samples, folder_written_whole
from magical_hub.export.yolo import write_yolo

if TYPE_CHECKING:
    import datasets

Format = Literal["hf", "imagefolder", "coco", "yolo", "anomalib"]
WRITERS: dict[str, Callable[[Samples, Path], None]] = {
    "imagefolder": write_class_folders,
    "coco": write_coco,
    "yolo": write_yolo,
    "anomalib": write_anomalib,
}


def write_dataset(
    dataset: datasets.Dataset,
    folder: str | Path,
    format: Format = "imagefolder",
    *,
    image_column: str = "image",
    label_column: str | None = "label",
    objects_column: str | None = "auto",
    mask_column: str | None = "auto",
) -> None:
    """Write a labelled dataset into a folder, which appears whole or not at all.

    Args:
        dataset: its images are decoded one at a time.
        folder: new or empty.
        format: "hf" (`datasets.load_from_disk`), "imagefolder" (a folder a class and metadata.jsonl: what
            `load_dataset("imagefolder")` reads), "coco" (images/ and annotations.json), "yolo" (images/, labels/ and
            data.yaml) or "anomalib" (normal/, abnormal/ and masks/: what its Folder data module reads).
        image_column, label_column, objects_column, mask_column: what the columns hold; "auto" finds objects and masks.

    Raises:
        ConfigError: where there is no such format.
        DataError: where a column is missing, the format needs labels that a row lacks, or the folder isn't empty.
        MissingPackageError: of "coco" with masks, without the extra `coco`.
    """
    if format != "hf" and format not in WRITERS:
        raise ConfigError(f"there is no format {format!r}: give hf, {', '.join(WRITERS)}")
    columns = find_columns(dataset.features, image_column, label_column, objects_column, mask_column)
    with folder_written_whole(Path(folder)) as beside:
        if format == "hf":
            dataset.save_to_disk(beside)
        else:
            WRITERS[format](Samples(dataset, columns), beside)
