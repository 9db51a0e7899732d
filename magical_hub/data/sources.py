"""Where images come from: a folder, or a dataset (of the Hub or not, streamed or not); one record per image."""

from __future__ import annotations

import itertools
import logging
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from magical_hub.data.allowed import check_files
from magical_hub.data.columns import Columns
from magical_hub.data.folders import check_classes, class_of, image_files, metadata_files, shown_name, table_of
from magical_hub.data.images import Intensity, read_pixels
from magical_hub.data.records import Record, Source, hash_of
from magical_hub.data.tables import (
    Wanted,
    cannot_be_loaded,
    from_hub_stream,
    from_object,
    group_of_path,
    offline_without_hub,
)
from magical_hub.data.tiff import tiled_image
from magical_hub.errors import DataError, check_number, first_line
from magical_hub.files import expanded

if TYPE_CHECKING:
    import datasets

logger = logging.getLogger(__name__)


def open_source(
    data: str | Path | datasets.Dataset | datasets.IterableDataset,
    *,
    image_column: str = "image",
    label_column: str | None = None,
    group_column: str | None = None,
    group_regex: str | None = None,
    objects_column: str | None = None,
    mask_column: str | None = None,
    mask_values: Mapping[int, str] | None = None,
    split: str = "train",
    streaming: bool = False,
    max_images: int | None = None,
    files_below: str | Path | None = None,
    intensity: Intensity | None = None,
) -> Source:
    """Find the images.

    Args:
        data: a folder of images at any depth, one that `save_to_disk` wrote, the id of a dataset on the Hub, or a
            `datasets.Dataset` or `datasets.IterableDataset`.
        image_column: column of the images in a dataset.
        label_column: column of the class in a dataset. With a folder whose metadata.jsonl has no such column, any name
            given here makes the name of the first folder below `data` an image's class.
        group_column: column of the group (a board, a lot) in a dataset.
        group_regex: pattern for a file's path below `data`; its first group, or the whole match, is the group's name.
        objects_column: column of the defects: lists of {"bbox": x, y, width, height in pixels, "category"}. A folder
            has it in its metadata.jsonl, as `datasets`' imagefolder reads it.
        mask_column: column of images of the same size as the images, 0 where nothing is wrong; data/masks.py says what
            other values mean. In a folder likewise.
        mask_values: names of the defect classes that values of the masks stand for.
        split: which split of a dataset.
        streaming: read a dataset of the Hub image by image, without a copy of it on the disk.
        max_images: stop after the first so many.
        files_below: folder below which the rows of a dataset may name files. Those of the dataset itself they may name
            without.
        intensity: the values that become black and white; None: the whole range of images of 8 and 16 bits.

    Raises:
        DataError: where nothing is found, or a column is missing; a stream's records, where it breaks off.
    """
    if objects_column is not None and mask_column is not None:
        raise DataError("objects_column and mask_column both say where defects are: give one of them")
    if mask_values is not None and mask_column is None:
        raise DataError("mask_values name what masks mark: give mask_column, or leave them out")
    if group_column is not None and group_regex is not None:
        raise DataError("group_column and group_regex both say what belongs together: give one of them")
    if mask_column is not None and mask_column == image_column:
        raise DataError(f"image_column and mask_column are both {mask_column!r}: name two columns")
    if max_images is not None:
        check_number("max_images", max_images, at_least=1, whole=True, error=DataError)
    below = None if files_below is None else expanded(files_below)
    columns = Columns(image_column, label_column, objects_column, mask_column, group=group_column)
    source = _open(data, Wanted(columns, mask_values, group_regex, below), split, streaming)
    if intensity is not None:
        source = replace(source, intensity=intensity, fingerprint=hash_of(source.fingerprint, intensity))
    if max_images is None:
        return source
    return replace(
        source,
        count=None if source.count is None else min(source.count, max_images),
        records=lambda: itertools.islice(source.records(), max_images),
        fingerprint=hash_of(source.fingerprint, max_images),
    )


def open_dataset(
    data: str | Path | datasets.Dataset, split: str = "train", files_below: str | Path | None = None
) -> datasets.Dataset:
    """One split of a dataset, from wherever it is: the one opener of all commands that need rows.

    Args:
        data: a folder of images (one folder per class, or with metadata.jsonl), one that `save_to_disk` wrote, one of
            Parquet files, the id of a dataset on the Hub, or a `datasets.Dataset`, which comes back as it is.
        split: of it; a folder of images has "train" alone.
        files_below: folder below which the rows of a saved dataset may name files, beside its own.

    Raises:
        DataError: where it can't be read, or has no such split.
    """
    import datasets

    if isinstance(data, datasets.Dataset):
        return data
    folder = existing_folder(data)
    if folder is None:
        try:
            with offline_without_hub():
                found = datasets.load_dataset(str(data), split=split)
        except Exception as error:  # the loaders raise many kinds
            raise cannot_be_loaded(str(data), error) from error
    else:
        found = _saved(folder, split)
    if found is not None:
        check_files(found, None if files_below is None else expanded(files_below))
        return found
    assert folder is not None
    _check_split(split, f"{folder} is a folder of images")
    return table_of(folder)


def existing_folder(data: str | Path) -> Path | None:
    """The folder that a name stands for; None for the id of a dataset on the Hub.

    Raises:
        DataError: where it is neither.
    """
    folder = expanded(data)
    if folder.is_dir():
        return folder
    if folder.exists():
        raise DataError(f"{data} is a file: give the folder that holds the images")
    owner = str(data).partition("/")[0]
    if not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", str(data)) or Path(owner).is_dir():
        raise DataError(
            f"there is no folder {data}: give a folder of images, or the id of a dataset on the Hub (OWNER/NAME)"
        )
    return None


def _saved(folder: Path, split: str) -> datasets.Dataset | None:
    """The dataset that `save_to_disk` wrote into a folder, or that of its Parquet files; None without either."""
    import datasets

    try:
        if (folder / "state.json").is_file():
            saved = datasets.load_from_disk(str(folder))
            if str(saved.split) != split:
                _check_split(split, f"{folder} is one saved split")
            return saved
        if (folder / "dataset_dict.json").is_file():
            found = datasets.load_from_disk(str(folder))
            if split not in found:
                raise DataError(f"{folder} has no split {split!r}: it has {', '.join(found)}")
            return found[split]
        parts = sorted(path for path in (folder / "data").glob("*.parquet"))
        if parts:
            parts = [path for path in parts if path.name.startswith(f"{split}-")]
            if not parts:
                raise DataError(f"{folder / 'data'} has no Parquet files of a split {split!r}: name another")
            return datasets.concatenate_datasets([datasets.Dataset.from_parquet(_escaped(path)) for path in parts])
    except DataError:
        raise
    except Exception as error:  # as above
        raise DataError(f"{folder} cannot be read as a saved dataset ({first_line(error)}): save it again") from error
    return None


def _check_split(split: str, what: str) -> None:
    """Refuse the name of a split where there are none: all images would be read, those of other splits among them."""
    if split != "train":
        raise DataError(f"{what}, which has no split {split!r}: give that split itself, and leave its name out")


def _escaped(path: Path) -> str:
    """A path that the patterns of `datasets` take for itself."""
    return re.sub(r"([*?[\]])", r"[\1]", str(path))


def _open(data: Any, wanted: Wanted, split: str, streaming: bool) -> Source:
    if not isinstance(data, (str, Path)):
        _check_split(split, f"data is a {type(data).__name__}")
        return _from_table(data, wanted, streaming)
    folder = existing_folder(data)
    if folder is None:
        if streaming:
            return from_hub_stream(str(data), split, wanted)
        return _from_table(open_dataset(data, split, wanted.files_below), wanted, streaming)
    if streaming:
        raise DataError("streaming is for datasets of the Hub, and data is a folder: leave it out")
    saved = _saved(folder, split)
    if saved is not None:
        return _from_table(saved, wanted, streaming)
    _check_split(split, f"{folder} is a folder of images")
    columns = wanted.columns
    if columns.objects is None and columns.mask is None and columns.group is None and not metadata_files(folder):
        return _from_folder(folder, columns.label, wanted.group_regex)
    return _from_labelled_folder(folder, wanted)


def _from_table(data: Any, wanted: Wanted, streaming: bool) -> Source:
    if wanted.group_regex is not None:
        raise DataError("group_regex is for folders, and data is a dataset: give group_column instead")
    return from_object(data, wanted, streaming)


def _from_labelled_folder(folder: Path, wanted: Wanted) -> Source:
    """The source of a folder whose metadata describes defects or groups."""
    table, columns = table_of(folder), wanted.columns
    if not metadata_files(folder):
        column = columns.objects or columns.mask or columns.group
        raise DataError(
            f"{folder} has no metadata.jsonl, and so no column {column!r}: write one beside the images, with a line "
            "for each: its file_name and what the column holds (of masks: mask_file_name)"
        )
    if columns.label is not None and columns.label not in table.column_names:  # the folder's name is the class then
        if "label" not in table.column_names:
            raise DataError(
                f"the metadata of {folder} has no column {columns.label!r}, and not every image lies in a class "
                "folder: name a column"
            )
        columns = replace(columns, label="label")
    below = Path(os.path.normpath(folder))
    return from_object(table, replace(wanted, columns=columns, files_below=below, folder=below))


def _from_folder(folder: Path, label: str | None, regex: str | None) -> Source:
    files = image_files(folder)
    names = [shown_name(path, folder) for path in files]
    class_names: list[str] | None = None
    labels: list[int | None] = [None] * len(files)
    if label is not None:
        found = [class_of(path, folder) for path in files]
        if None in found:
            raise DataError(
                f"{names[found.index(None)]} lies in no class folder of {folder}: move it into the folder named after "
                "its class"
            )
        class_names = _classes_with_images(files, found, folder)
        numbers = {name: number for number, name in enumerate(class_names)}
        labels = [numbers.get(name or "") for name in found]
    groups = [None if regex is None else group_of_path(name, regex) for name in names]

    def records() -> Iterator[Record]:
        for path, name, own, group in zip(files, names, labels, groups, strict=True):
            yield Record(name, path, own, group)

    sizes = [f"{name} {path.stat().st_size}" for path, name in zip(files, names, strict=True)]
    return Source(len(files), records, class_names, hash_of(*sizes))


def _classes_with_images(files: list[Path], classes: list[str | None], folder: Path) -> list[str]:
    """The names of the classes of which at least one image can be read."""
    names = []
    for name in sorted({name for name in classes if name is not None}):
        for path, class_name in zip(files, classes, strict=True):
            if class_name == name and _opens(path):
                names.append(name)
                break
        else:
            logger.warning("none of the files in %s can be read: there is no class %s", folder / name, name)
    if not names:
        raise DataError(f"none of the images of {folder} can be read: give files that open")
    check_classes(names, folder)
    return names


def _opens(path: Path) -> bool:
    if tiled_image(path) is not None:
        return True
    try:
        read_pixels(path, path.name)
    except DataError:
        return False
    return True
