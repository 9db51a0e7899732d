"""Where images come from: a folder, a dataset of the Hub, or a `datasets.Dataset`; one record an image."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from magical_hub.data.images import EXTENSIONS
from magical_hub.errors import DataError

if TYPE_CHECKING:
    import datasets


@dataclass(frozen=True)
class Record:
    """An image that has not been decoded: its name, file or bytes, class number and group."""

    name: str
    image: Path | bytes
    label: int | None
    group: str | None


@dataclass(frozen=True)
class Source:
    """Records in a fixed order, and the names of their classes (None where no label was asked for)."""

    count: int
    records: Callable[[], Iterator[Record]]
    class_names: list[str] | None
    fingerprint: str
    """Of names and sizes, or of the dataset: other data has another one, and no image is read for it."""


def open_source(
    data: str | Path | datasets.Dataset,
    *,
    image_column: str = "image",
    label_column: str | None = None,
    group_column: str | None = None,
    group_regex: str | None = None,
    split: str = "train",
) -> Source:
    """Find the images.

    Args:
        data: a folder of images at any depth, the id of a dataset on the Hub, or a `datasets.Dataset`.
        image_column: column of the images in a dataset.
        label_column: column of the class in a dataset. With a folder, any name given here makes the name of the first
            folder below `data` an image's class.
        group_column: column of the group (a board, a lot) in a dataset.
        group_regex: pattern for a file's path below `data`; its first group, or the whole match, is the group's name.
        split: which split of a dataset of the Hub.

    Raises:
        DataError: where nothing is found, or a column is missing.
    """
    if not isinstance(data, (str, Path)):
        return _from_dataset(data, image_column, label_column, group_column)
    folder = Path(data).expanduser()
    if folder.is_dir():
        if group_column is not None:
            raise DataError("group_column is for datasets, and data is a folder: give group_regex instead")
        return _from_folder(folder, label_column is not None, group_regex)
    if folder.exists():
        raise DataError(f"{data} is a file: give the folder that holds the images")
    if not re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", str(data)):
        raise DataError(f"there is no folder {data}: give a folder of images, or the id of a dataset on the Hub")
    return _from_dataset(_from_hub(str(data), split), image_column, label_column, group_column)


def _from_folder(folder: Path, labelled: bool, group_regex: str | None) -> Source:
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in EXTENSIONS and path.is_file())
    if not files:
        raise DataError(
            f"{folder} holds no images: put {', '.join(e[1:] for e in EXTENSIONS)} files into it, at any depth"
        )
    relative = [path.relative_to(folder) for path in files]
    class_names = None
    if labelled:
        bare = next((path for path in relative if len(path.parts) == 1), None)
        if bare is not None:
            raise DataError(
                f"{bare} lies in no class folder of {folder}: move it into the folder named after its class"
            )
        class_names = sorted({path.parts[0] for path in relative})
    groups = [_group(path.as_posix(), group_regex) for path in relative]

    def records() -> Iterator[Record]:
        for path, below, group in zip(files, relative, groups, strict=True):
            label = class_names.index(below.parts[0]) if class_names is not None else None
            yield Record(below.as_posix(), path, label, group)

    sizes = [f"{below.as_posix()} {path.stat().st_size}" for path, below in zip(files, relative, strict=True)]
    return Source(len(files), records, class_names, hashlib.sha256("\n".join(sizes).encode()).hexdigest())


def _group(path: str, pattern: str | None) -> str | None:
    if pattern is None:
        return None
    try:
        match = re.search(pattern, path)
    except re.error as error:
        raise DataError(f"group_regex {pattern!r} is no regular expression ({error}): mend it") from error
    if match is None:
        raise DataError(f"group_regex {pattern!r} does not match {path}: every image needs a group")
    return match.group(1) if match.re.groups else match.group(0)


def _from_hub(dataset_id: str, split: str) -> datasets.Dataset:
    import datasets

    try:
        return datasets.load_dataset(dataset_id, split=split)
    except Exception as error:  # the loaders raise many kinds; what a user needs is one line
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(
            f"{dataset_id} is neither a folder here nor a dataset that can be loaded ({reason}): "
            "check the name, the split and the network"
        ) from error


def _from_dataset(dataset: Any, image_column: str, label_column: str | None, group_column: str | None) -> Source:
    import datasets

    if not isinstance(dataset, datasets.Dataset):
        raise DataError(f"data is a {type(dataset).__name__}: give a folder, a dataset id or a datasets.Dataset")
    for column in filter(None, (image_column, label_column, group_column)):
        if column not in dataset.column_names:
            raise DataError(f"the dataset has no column {column!r}: it has {', '.join(dataset.column_names)}")
    if len(dataset) == 0:
        raise DataError("the dataset is empty: give one with images")
    wanted = dataset.select_columns([c for c in (image_column, label_column, group_column) if c is not None])
    try:
        wanted = wanted.cast_column(image_column, datasets.Image(decode=False))
    except (TypeError, ValueError, NotImplementedError) as error:
        raise DataError(f"column {image_column!r} holds no images: name the column that does") from error
    class_names, number_of = _classes(wanted, label_column)

    def records() -> Iterator[Record]:
        for row, example in enumerate(wanted):
            # A row without an image is one that can't be read: skipped with a warning, or an error where strict.
            image = example[image_column] or {"bytes": b"", "path": None}
            name = f"row {row}" + (f" ({Path(image['path']).name})" if image["path"] else "")
            group = example[group_column] if group_column else None
            yield Record(
                name,
                image["bytes"] if image["bytes"] is not None else Path(image["path"]),
                number_of(example[label_column], name) if label_column else None,
                None if group is None else str(group),
            )

    return Source(len(dataset), records, class_names, dataset._fingerprint)


def _classes(dataset: Any, column: str | None) -> tuple[list[str] | None, Callable[[Any, str], int]]:
    """The names of the classes, and what turns a value of the column into its number."""
    import datasets

    if column is None:
        return None, lambda value, name: 0
    feature = dataset.features[column]
    if isinstance(feature, datasets.ClassLabel):
        names = list(feature.names)
        numbers = {number: number for number in range(len(names))}
    else:
        try:
            values = sorted(value for value in dataset.unique(column) if value is not None)
        except (TypeError, NotImplementedError) as error:
            raise DataError(f"column {column!r} holds no classes but lists or records: name one that does") from error
        names = [str(value) for value in values]
        numbers = {value: number for number, value in enumerate(values)}

    def number_of(value: Any, name: str) -> int:
        if value not in numbers:
            raise DataError(f"{name} has the label {value!r} in {column!r}: give one of {', '.join(names)}")
        return numbers[value]

    return names, number_of
