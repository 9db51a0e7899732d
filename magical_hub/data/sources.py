"""Where images come from: a folder, or a dataset (of the Hub or not, streamed or not); one record an image."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fsspec

from magical_hub.data.images import EXTENSIONS
from magical_hub.errors import DataError

if TYPE_CHECKING:
    import datasets

FIRST = 32
"""Records of a stream that are kept, encoded, until it is read in earnest: as many as `training.proposal` looks at."""


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

    count: int | None
    """None for a stream, which ends when it ends."""
    records: Callable[[], Iterator[Record]]
    class_names: list[str] | None
    fingerprint: str
    """Of names and sizes, or of the dataset; of a stream, its id, split and revision (in Python: its split, shards and
    features; only the digests of what was read say more). Other data has another one, and no image is read for it."""


@dataclass(frozen=True)
class _Columns:
    """Which columns of a dataset hold the images, their classes and their groups."""

    image: str
    label: str | None
    group: str | None


def open_source(
    data: str | Path | datasets.Dataset | datasets.IterableDataset,
    *,
    image_column: str = "image",
    label_column: str | None = None,
    group_column: str | None = None,
    group_regex: str | None = None,
    split: str = "train",
    streaming: bool = False,
    max_images: int | None = None,
) -> Source:
    """Find the images.

    Args:
        data: a folder of images at any depth, the id of a dataset on the Hub, or a `datasets.Dataset` or
            `datasets.IterableDataset`.
        image_column: column of the images in a dataset.
        label_column: column of the class in a dataset. With a folder, any name given here makes the name of the first
            folder below `data` an image's class.
        group_column: column of the group (a board, a lot) in a dataset.
        group_regex: pattern for a file's path below `data`; its first group, or the whole match, is the group's name.
        split: which split of a dataset of the Hub.
        streaming: read a dataset of the Hub image by image, without a copy of it on the disk.
        max_images: stop after the first so many.

    Raises:
        DataError: where nothing is found, or a column is missing; a stream's records, where it breaks off.
    """
    source = _open(data, _Columns(image_column, label_column, group_column), group_regex, split, streaming)
    if max_images is None:
        return source
    return replace(
        source,
        count=None if source.count is None else min(source.count, max_images),
        records=lambda: itertools.islice(source.records(), max_images),
        fingerprint=_hash(source.fingerprint, max_images),
    )


def _open(data: Any, columns: _Columns, group_regex: str | None, split: str, streaming: bool) -> Source:
    if not isinstance(data, (str, Path)):
        return _from_object(data, columns, streaming)
    folder = Path(data).expanduser()
    if folder.is_dir():
        if streaming:
            raise DataError("streaming is for datasets of the Hub, and data is a folder: leave it out")
        if columns.group is not None:
            raise DataError("group_column is for datasets, and data is a folder: give group_regex instead")
        return _from_folder(folder, columns.label is not None, group_regex)
    if folder.exists():
        raise DataError(f"{data} is a file: give the folder that holds the images")
    if not re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", str(data)):
        raise DataError(f"there is no folder {data}: give a folder of images, or the id of a dataset on the Hub")
    if streaming:
        return _from_stream(*_stream_from_hub(str(data), split), columns)
    return _from_dataset(_from_hub(str(data), split), columns)


def _from_object(data: Any, columns: _Columns, streaming: bool) -> Source:
    import datasets

    if isinstance(data, datasets.IterableDataset):
        return _from_stream(data, _hash(data.split, data.num_shards, data.features), columns)
    if not isinstance(data, datasets.Dataset):
        raise DataError(f"data is a {type(data).__name__}: give a folder, a dataset id or a datasets.Dataset")
    if streaming:
        raise DataError("streaming is for datasets of the Hub, and data is a datasets.Dataset: leave it out")
    return _from_dataset(data, columns)


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
    return Source(len(files), records, class_names, _hash(*sizes))


def _hash(*parts: Any) -> str:
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()


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
    except Exception as error:  # the loaders raise many kinds
        raise _cannot_be_loaded(dataset_id, error) from error


def _stream_from_hub(dataset_id: str, split: str) -> tuple[datasets.IterableDataset, str]:
    """What `load_dataset(..., streaming=True)` gives, and a fingerprint."""
    import datasets

    try:
        builder = datasets.load_dataset_builder(dataset_id)
        return builder.as_streaming_dataset(split=split), _hash(dataset_id, split, builder.hash)
    except Exception as error:  # as above
        raise _cannot_be_loaded(dataset_id, error) from error


def _cannot_be_loaded(dataset_id: str, error: Exception) -> DataError:
    return DataError(
        f"{dataset_id} is neither a folder here nor a dataset that can be loaded ({_reason(error)}): "
        "check the name, the split and the network"
    )


def _reason(error: Exception) -> str:
    """What a user needs of it: one line."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _from_dataset(dataset: datasets.Dataset, columns: _Columns) -> Source:
    wanted = _select(dataset, columns)
    if len(dataset) == 0:
        raise DataError("the dataset is empty: give one with images")
    class_names, number_of = _classes(wanted, columns.label)

    def records() -> Iterator[Record]:
        for row, example in enumerate(wanted):
            yield _record(row, example, columns, number_of)

    return Source(len(dataset), records, class_names, dataset._fingerprint)


def _from_stream(stream: datasets.IterableDataset, fingerprint: str, columns: _Columns) -> Source:
    import datasets

    if stream.features is None:
        raise DataError("the stream does not say what its columns hold: give it features, by its cast() for instance")
    wanted = _select(stream, columns)
    if columns.label is not None and not isinstance(stream.features[columns.label], datasets.ClassLabel):
        raise DataError(
            f"column {columns.label!r} of the stream is no ClassLabel, and its classes must be known before it ends: "
            "cast it to one, or load the dataset without streaming"
        )
    class_names, number_of = _classes(wanted, columns.label)

    def records() -> Iterator[Record]:
        examples, row = iter(wanted), 0
        while True:
            try:
                example = next(examples)
                image = example[columns.image]
                if image and image["bytes"] is None and "://" in image["path"]:  # elsewhere, or inside an archive
                    with fsspec.open(image["path"], "rb") as file:
                        image["bytes"] = file.read()
            except StopIteration:
                return
            except Exception as error:  # every file system has its own
                raise DataError(f"the stream broke off at row {row} ({_reason(error)}): try again") from error
            yield _record(row, example, columns, number_of)
            row += 1

    return Source(None, _LookedInto(records), class_names, fingerprint)


class _LookedInto:
    """The records of a stream, which a look at the first few does not fetch twice."""

    def __init__(self, start: Callable[[], Iterator[Record]]) -> None:
        self._start = start
        self._first: list[Record] = []
        self._rest: Iterator[Record] | None = None
        self._taken = 0

    def __call__(self) -> Iterator[Record]:
        if self._rest is None or self._taken > len(self._first):
            self._first, self._rest, self._taken = [], self._start(), 0
        yield from self._first
        for record in self._rest:
            self._taken += 1
            if self._taken <= FIRST:
                self._first.append(record)
            yield record


def _select(dataset: Any, columns: _Columns) -> Any:
    """The dataset with the columns that are read, its images not decoded."""
    import datasets

    wanted = [column for column in (columns.image, columns.label, columns.group) if column is not None]
    for column in wanted:
        if column not in dataset.column_names:
            raise DataError(f"the dataset has no column {column!r}: it has {', '.join(dataset.column_names)}")
    no_images = f"column {columns.image!r} holds no images: name the column that does"
    if isinstance(dataset, datasets.IterableDataset):
        if not isinstance(dataset.features[columns.image], datasets.Image):
            raise DataError(no_images)
        return dataset.decode(False).select_columns(wanted)  # a cast leaves the threads that decode ahead at work
    try:
        return dataset.select_columns(wanted).cast_column(columns.image, datasets.Image(decode=False))
    except (TypeError, ValueError, NotImplementedError) as error:
        raise DataError(no_images) from error


def _record(row: int, example: dict[str, Any], columns: _Columns, number_of: Callable[[Any, str], int]) -> Record:
    # A row without an image is one that can't be read: skipped with a warning, or an error where strict.
    image = example[columns.image] or {"bytes": b"", "path": None}
    name = f"row {row}" + (f" ({Path(image['path']).name})" if image["path"] else "")
    group = example[columns.group] if columns.group else None
    return Record(
        name,
        image["bytes"] if image["bytes"] is not None else Path(image["path"]),
        number_of(example[columns.label], name) if columns.label else None,
        None if group is None else str(group),
    )


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
