"""Which files the rows of a dataset may name: a dataset of others must not read whatever this machine holds."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from magical_hub.errors import DataError

if TYPE_CHECKING:
    import datasets


def own_folders(dataset: datasets.Dataset, files_below: Path | None) -> list[Path] | None:
    """The folders whose files the rows of a dataset may name; None for a folder's, which the program found itself.

    Those are the folder of the dataset's own table, the caches of `datasets` and of the Hub, and `files_below`. Rows
    that `load_dataset("imagefolder")` wrote into the cache of this machine name the files of the given folder.

    Args:
        dataset: from anywhere.
        files_below: what the user allows beside.
    """
    import datasets
    from huggingface_hub.constants import HF_HUB_CACHE

    cache = Path(datasets.config.HF_DATASETS_CACHE)
    tables = [Path(file["filename"]).parent for file in dataset.cache_files]
    if tables and dataset.info.builder_name == "imagefolder" and all(_is_below(table, [cache]) for table in tables):
        return None
    return [*tables, cache, Path(datasets.config.EXTRACTED_DATASETS_PATH), Path(HF_HUB_CACHE)] + (
        [] if files_below is None else [files_below]
    )


def check_files(dataset: datasets.Dataset, files_below: Path | None = None) -> None:
    """Refuse a dataset of others whose rows name files outside it; no file is opened for it.

    Raises:
        DataError: naming the first such file.
    """
    import datasets
    import pyarrow.compute as pc

    folders = own_folders(dataset, files_below)
    for name, feature in dataset.features.items():
        if not isinstance(feature, datasets.Image):
            continue
        for chunk in dataset.data.column(name).chunks:
            paths, held = pc.struct_field(chunk, "path"), pc.is_valid(pc.struct_field(chunk, "bytes"))
            for path in paths.filter(pc.invert(held)).drop_null().to_pylist():
                if not is_allowed(path, folders):
                    raise outside(f"column {name!r}", path)


def outside(where: str, path: str) -> DataError:
    """The error for a row that names a file which it may not."""
    return DataError(
        f"{where} names the file {path!r}, which is outside the dataset: put it into the dataset's folder, or "
        "train with --files-below FOLDER (files_below in Python) if the files in that folder are yours to use"
    )


def is_allowed(path: str, folders: list[Path] | None) -> bool:
    """Whether a row may name a file: of the Hub, in one of these folders (None: any), or in an archive there."""
    place = path.rpartition("::")[2]
    if place.startswith("hf://") or folders is None:
        return True
    return "://" not in place and _is_below(Path(place), folders)


def _is_below(path: Path, folders: list[Path]) -> bool:
    """Whether a file really is in one of these folders, links followed."""
    real = Path(os.path.realpath(path))
    return any(real.is_relative_to(os.path.realpath(folder)) for folder in folders)
