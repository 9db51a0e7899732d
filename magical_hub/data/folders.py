"""A folder of images: which of its files are images, what they are called, and the table of its metadata.

No library guesses here: neither splits nor patterns come from the names of files.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from magical_hub.data.images import EXTENSIONS, open_image
from magical_hub.errors import DataError, first_line

if TYPE_CHECKING:
    import datasets
    import pyarrow as pa

logger = logging.getLogger(__name__)

METADATA = ("metadata.jsonl", "metadata.csv", "metadata.parquet")
"""Files that say more of the images beside them, as `datasets`' imagefolder has them."""
MASK_FOLDERS = {"mask", "masks", "ground_truth", "groundtruth", "gt"}
SPLITS = {"train", "training", "val", "valid", "validation", "test", "testing", "eval"}
"""Names of folders, in lower case, that stand for the splits of one data set."""
_FILE_NAME = "file_name"


def image_files(folder: Path) -> list[Path]:
    """The image files of a folder at any depth, in the order of their paths.

    Linked folders are read, each once. Left out are hidden files and folders, __MACOSX, the files that a metadata
    file names as something else than the image (masks: "mask_file_name"), and, with a warning, folders that are called
    after masks and hold them.

    Raises:
        DataError: where there are none, or the folder holds nothing but folders of splits, of which one is meant.
    """
    files = [path for path in _walk(folder) if path.suffix.lower() in EXTENSIONS]
    others = {path for metadata in metadata_files(folder) for path in _other_files(metadata)}
    files = [path for path in files if path not in others]
    for name in sorted({part for path in files for part in path.relative_to(folder).parts[:-1]} & _mask_names(files)):
        masks = [path for path in files if name in path.relative_to(folder).parts[:-1]]
        if _look_like_masks(masks):
            logger.warning(
                "%d files in folders called %s look like masks and are left out: name them in a metadata.jsonl "
                "(mask_file_name) to use them as masks, or rename the folder to use them as images",
                len(masks),
                name,
            )
            files = [path for path in files if path not in {*masks}]
    if not files:
        raise DataError(
            f"{folder} holds no images: put {', '.join(e[1:] for e in EXTENSIONS)} files into it, at any depth"
        )
    parts = sorted({class_of(path, folder) or "" for path in files})
    if len(parts) > 1 and _are_splits(parts):
        raise DataError(
            f"the folders {', '.join(parts)} of {folder} are called after splits and would all be read: give "
            f"one of them, for instance {folder / max(parts, key=lambda name: 'train' in name.lower())}"
        )
    return files


def metadata_files(folder: Path) -> list[Path]:
    """The metadata files of a folder at any depth."""
    return [path for path in _walk(folder) if path.name in METADATA]


def shown_name(path: Path, folder: Path) -> str:
    """A file's path below a folder in characters that can be printed and stored, whatever bytes its name has."""
    return path.relative_to(folder).as_posix().encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def class_of(path: Path, folder: Path) -> str | None:
    """The name of the first folder below `folder` on the way to a file; None for a file directly in it."""
    parts = Path(shown_name(path, folder)).parts
    return parts[0] if len(parts) > 1 else None


def check_classes(names: list[str], folder: Path) -> None:
    """Refuse folders of splits as names of classes.

    Raises:
        DataError: where all are called after splits.
    """
    if names and _are_splits(names):
        raise DataError(
            f"the folders {', '.join(names)} of {folder} are called after splits and not after classes: give one of "
            f"them, for instance {folder / names[0]}"
        )


def table_of(folder: Path) -> datasets.Dataset:
    """A folder as a dataset: one row per image, with the columns of its metadata files, or with its class.

    The column `image` holds the files by their paths, not decoded; a column `NAME_file_name` of the metadata becomes
    images in a column `NAME`. Where neither the metadata nor anything else says `label`, it is the name of the first
    folder below `folder`, if every image is in one.

    Raises:
        DataError: where there are no images, or the metadata cannot be read or names what is not there.
    """
    import datasets
    import pyarrow as pa

    tables = [_metadata_table(path, folder) for path in metadata_files(folder)]
    files = image_files(folder)
    if tables:
        table = _joined(tables, folder)
        paths = [Path(path) for path in table["image"].to_pylist()]
        named = set(paths)
        if len(named) < len(paths):
            twice = next(path for path in paths if paths.count(path) > 1)
            raise DataError(
                f"the metadata of {folder} have more than one row for {shown_name(twice, folder)}: give one "
                "row per image, with all of its defects in it"
            )
        missing = [path for path in files if Path(os.path.normpath(path)) not in named]
        if missing:
            logger.warning(
                "%d images of %s are left out, since no metadata file names them, %s among them",
                len(missing),
                folder,
                shown_name(missing[0], folder),
            )
    else:
        paths = [path for path in files if _is_text(path)]
        for path in files:
            if not _is_text(path):
                logger.warning("skipped: %s has a name that is not UTF-8: rename it", shown_name(path, folder))
        table = pa.table({"image": [str(path) for path in paths]})
    dataset = datasets.Dataset(table)
    for name in dataset.column_names:
        if name == "image" or (name.endswith(f"_{_FILE_NAME}") and tables):
            dataset = dataset.cast_column(name, datasets.Image())
            if name != "image":
                dataset = dataset.rename_column(name, name.removesuffix(f"_{_FILE_NAME}"))
    classes = [class_of(path, folder) for path in paths]
    if "label" not in dataset.column_names and paths and None not in classes:
        names = sorted({name for name in classes if name is not None})
        if not _are_splits(names):
            feature = datasets.ClassLabel(names=names)
            numbers = [names.index(name) for name in classes if name is not None]
            dataset = dataset.add_column("label", numbers, feature=feature)
    return dataset


def _are_splits(names: list[str]) -> bool:
    """Whether all folders of these names stand for splits."""
    return {name.lower() for name in names} <= SPLITS


def _walk(folder: Path) -> Iterator[Path]:
    """The files of a folder at any depth, linked folders included, each folder once and hidden ones never."""
    visited = {os.path.realpath(folder)}
    found = []
    for parent, folders, files in os.walk(folder, followlinks=True):
        kept = []
        for name in sorted(folders):
            real = os.path.realpath(os.path.join(parent, name))
            if not name.startswith(".") and name != "__MACOSX" and real not in visited:
                visited.add(real)
                kept.append(name)
        folders[:] = kept
        found += [Path(parent, name) for name in files if not name.startswith(".")]
    return iter(sorted(path for path in found if path.is_file()))


def _is_text(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def _mask_names(files: list[Path]) -> set[str]:
    return {part for path in files for part in path.parts if part.lower() in MASK_FOLDERS}


def _look_like_masks(files: list[Path]) -> bool:
    """Whether the first few hold little else than two grey levels."""
    for path in files[:4]:
        try:
            counts = np.bincount(np.asarray(open_image(path, path.name).convert("L")).reshape(-1), minlength=256)
        except DataError:
            return False
        if np.sort(counts)[-2:].sum() < 0.9 * counts.sum():
            return False
    return True


def _other_files(metadata: Path) -> Iterator[Path]:
    """The files that a metadata file names in columns beside that of the image."""
    table = _read(metadata)
    for name in table.column_names:
        if name.endswith(f"_{_FILE_NAME}"):
            yield from (Path(os.path.normpath(metadata.parent / str(v))) for v in table[name].to_pylist() if v)


def _metadata_table(metadata: Path, folder: Path) -> pa.Table:
    """The rows of a metadata file, with whole paths in place of file names; its `file_name` becomes `image`."""
    import pyarrow as pa

    table, shown = _read(metadata), shown_name(metadata, folder)
    if _FILE_NAME not in table.column_names:
        raise DataError(f"{shown} of {folder} has no column {_FILE_NAME}: give each row the file name of its image")
    if "image" in table.column_names:
        raise DataError(f"{shown} of {folder} has a column image beside {_FILE_NAME}: rename it")
    images = table[_FILE_NAME].to_pylist()
    for name in table.column_names:
        if name != _FILE_NAME and not name.endswith(f"_{_FILE_NAME}"):
            continue
        paths: list[str | None] = []
        for number, value in enumerate(table[name].to_pylist()):
            if value is None and name != _FILE_NAME:
                paths.append(None)
                continue
            path = os.path.normpath(metadata.parent / str(value))
            if not Path(path).is_relative_to(os.path.normpath(folder)) or not os.path.isfile(path):
                raise DataError(
                    f"{shown} of {folder} names {str(value)!r} in row {number}, which is not a file in "
                    "that folder: correct it"
                )
            if "mask" in name.lower() and os.path.normpath(metadata.parent / str(images[number])) == path:
                raise DataError(f"{shown} of {folder} names {str(value)!r} as image and as mask: correct row {number}")
            paths.append(path)
        column = table.column_names.index(name)
        table = table.set_column(column, "image" if name == _FILE_NAME else name, pa.array(paths, pa.string()))
    return table


def _read(metadata: Path) -> pa.Table:
    import pyarrow.parquet

    try:
        with metadata.open("rb") as file:
            if metadata.suffix == ".jsonl":
                return _json_table(file.read())
            if metadata.suffix == ".csv":
                return _csv_table(file)
            return pyarrow.parquet.read_table(file)
    except Exception as error:  # pyarrow raises many kinds
        raise DataError(
            f"{metadata} cannot be read ({first_line(error)}): every row must be complete and every column of one type"
        ) from error


def _json_table(content: bytes) -> pa.Table:
    """A table of JSON lines. Text stays text: PyArrow's own reader takes some of it for times, and joins what differs.

    Raises:
        ValueError: where a line holds no object, or nothing does.
    """
    import pyarrow as pa

    rows = []
    for number, line in enumerate(content.decode("utf-8-sig").split("\n"), start=1):
        if line.strip():
            try:
                rows.append(json.loads(line))
            except (ValueError, RecursionError) as error:
                raise ValueError(f"line {number}: {first_line(error)}") from error
            if not isinstance(rows[-1], dict):
                raise ValueError(f"line {number} is not an object")
    if not rows:
        raise ValueError("it is empty")
    names = dict.fromkeys(name for row in rows for name in row)
    return pa.table({name: pa.array([row.get(name) for row in rows]) for name in names})


def _csv_table(file: BinaryIO) -> pa.Table:
    """A table of CSV. A column holds numbers where their text is that of the file, and text otherwise: 007 stays 007.

    An empty cell is null.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import csv

    names = csv.open_csv(file).schema.names
    file.seek(0)
    as_text = csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=True, null_values=[""]
    )
    table = csv.read_csv(file, convert_options=as_text)
    for place, name in enumerate(names):
        for kind in (pa.int64(), pa.float64()):
            try:
                numbers = table.column(place).cast(kind)
            except pa.ArrowInvalid:
                continue
            if pc.all(pc.equal(numbers.cast(pa.string()), table.column(place))).as_py():
                table = table.set_column(place, name, numbers)
                break
    return table


def _joined(tables: list[pa.Table], folder: Path) -> pa.Table:
    import pyarrow as pa

    try:
        return pa.concat_tables(tables, promote_options="default")
    except pa.ArrowInvalid as error:
        raise DataError(
            f"the metadata files of {folder} have columns of different types ({first_line(error)}): make them alike"
        ) from error
