"""Images in a `datasets.Dataset` or a stream, of the Hub or not."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from magical_hub.data.allowed import own_folders
from magical_hub.data.columns import Columns, find_columns, undecoded
from magical_hub.data.defect_maps import Boxes, Mask
from magical_hub.data.records import Record, Source, hash_of
from magical_hub.data.rows import FIRST, LabelledRow, LabelledRows
from magical_hub.errors import DataError, first_line

if TYPE_CHECKING:
    import datasets


@dataclass(frozen=True)
class Wanted:
    """What is read of a dataset.

    Attributes:
        columns: that are read.
        mask_values: names of the defect classes that values of masks stand for.
        group_regex: pattern for the path of an image's file, in place of a column of groups.
        files_below: folder below which rows may name files; those of the dataset itself may always be named.
        folder: of images, where the dataset is a table of one: images are called by their paths below it.
    """

    columns: Columns
    mask_values: Mapping[int, str] | None = None
    group_regex: str | None = None
    files_below: Path | None = None
    folder: Path | None = None


def from_object(data: Any, wanted: Wanted, streaming: bool = False) -> Source:
    """The records of a `datasets.Dataset` or a stream.

    Raises:
        DataError: where it is neither, or lacks what is read from it.
    """
    import datasets

    if isinstance(data, datasets.IterableDataset):
        return _from_stream(data, hash_of(data.split, data.num_shards, data.features), wanted)
    if not isinstance(data, datasets.Dataset):
        raise DataError(f"data is a {type(data).__name__}: give a folder, a dataset id or a datasets.Dataset")
    if streaming:
        raise DataError("streaming is for datasets of the Hub, and data is a datasets.Dataset: leave it out")
    return _from_dataset(data, wanted)


def from_hub_stream(dataset_id: str, split: str, wanted: Wanted) -> Source:
    """The records of a dataset on the Hub, read image by image.

    Raises:
        DataError: where it can't be loaded, or lacks what is read from it.
    """
    import datasets

    try:
        with offline_without_hub():
            builder = datasets.load_dataset_builder(dataset_id)
        table = builder.as_streaming_dataset(split=split)
    except Exception as error:  # the loaders raise many kinds
        raise cannot_be_loaded(dataset_id, error) from error
    return _from_stream(table, hash_of(dataset_id, split, builder.hash), wanted)


@contextmanager
def offline_without_hub() -> Iterator[None]:
    """Within it `datasets` looks in its cache alone where the Hub has no address: it would retry for half a minute."""
    import datasets

    from magical_hub.checkpoint import hub_has_address

    before = datasets.config.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = before or not hub_has_address()
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE = before


def cannot_be_loaded(dataset_id: str, error: Exception) -> DataError:
    """The error for a dataset that is neither here nor can be loaded from the Hub."""
    return DataError(
        f"{dataset_id} is neither a folder here nor a dataset that can be loaded ({first_line(error)}): "
        "check the name, the split and the network"
    )


def _from_dataset(dataset: datasets.Dataset, wanted: Wanted) -> Source:
    rows, columns = _rows(dataset, wanted, own_folders(dataset, wanted.files_below)), wanted.columns
    fingerprint = dataset._fingerprint
    if wanted.folder is not None:
        fingerprint = hash_of(fingerprint, columns.label, columns.objects, columns.mask, wanted.mask_values)
    return _source(rows, wanted, len(dataset), rows.__iter__, fingerprint)


def _from_stream(stream: datasets.IterableDataset, fingerprint: str, wanted: Wanted) -> Source:
    folders = [] if wanted.files_below is None else [wanted.files_below]
    rows = _rows(stream, wanted, folders)

    def read() -> Iterator[LabelledRow]:
        examples, number = iter(rows.dataset), 0
        while True:
            try:
                values = next(examples)
            except StopIteration:
                return
            except Exception as error:  # every file system has its own
                raise DataError(f"the stream broke off at row {number} ({first_line(error)}): try again") from error
            yield LabelledRow(rows, number, values)
            number += 1

    source = _source(rows, wanted, None, read, fingerprint)
    return replace(source, records=_Rereadable(source.records))


class _Rereadable:
    """The records of a stream, of which the first few are kept, so that they are not fetched twice."""

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


def _rows(dataset: Any, wanted: Wanted, folders: list[Path] | None) -> LabelledRows:
    """The rows, with the columns that are read alone."""
    import datasets

    columns = wanted.columns
    streamed = isinstance(dataset, datasets.IterableDataset)
    if not streamed:
        with suppress(TypeError, ValueError, NotImplementedError):  # a column that holds no images is named below
            # Paths, or bytes and paths, are images too.
            dataset = undecoded(dataset, *(name for name in columns.images if name in dataset.column_names))
    find_columns(dataset.features, *astuple(columns))
    # `LabelledRows` selects the columns of a stream: before decoding is switched off, that would leave it on.
    chosen = dataset if streamed else dataset.select_columns(columns.names)
    return LabelledRows(chosen, columns, wanted.mask_values, folders=folders)


def _source(
    rows: LabelledRows, wanted: Wanted, count: int | None, read: Callable[[], Iterator[LabelledRow]], fingerprint: str
) -> Source:
    """The source of rows that `read` gives."""
    columns = wanted.columns
    class_names = None if columns.label is None else list(rows.labels.values())
    defect_names = None if columns.objects is None and columns.mask is None else rows.defect_names

    def records() -> Iterator[Record]:
        for row in read():
            yield _record(row, rows, wanted, class_names or [], defect_names or [])

    return Source(count, records, class_names, fingerprint, defect_names)


def _record(
    row: LabelledRow, rows: LabelledRows, wanted: Wanted, class_names: list[str], defect_names: list[str]
) -> Record:
    name, columns, label = row.name, wanted.columns, None
    if wanted.folder is not None:
        name = Path(row.values[columns.image]["path"]).relative_to(wanted.folder).as_posix()
    if columns.label is not None:
        if row.label is None:
            raise DataError(f"{name} has no class in {columns.label!r}: give it one of {', '.join(class_names)}")
        label = class_names.index(row.label)
    if columns.objects is not None and row.values[columns.objects] is None:
        raise DataError(f"{name} has null in {columns.objects!r}: give [] where there is no defect")
    group = None if columns.group is None else row.values[columns.group]
    if wanted.group_regex is not None:
        group = group_of_path(name, wanted.group_regex)
    # A row without an image is one that can't be read: skipped with a warning, or an error where strict.
    record = Record(name, (row.stored("image") or (b"", name))[0], label, None if group is None else str(group))
    if rows.masks is not None:
        mask, number = row.stored("mask"), None if row.is_called_normal else label or 0
        if mask is None and not row.is_called_normal:
            raise DataError(f"{name} has no mask in {columns.mask!r}: give it an empty one where it has no defect")
        return replace(record, defects=Boxes([]) if mask is None else Mask(mask[0], rows.masks, number))
    if columns.objects is None:
        return record
    try:
        objects = [(box, defect_names.index(row.category(stored))) for box, stored in row.stored_objects or ()]
    except DataError as error:
        return replace(record, problem=str(error))
    return replace(record, defects=Boxes(objects))


def group_of_path(path: str, pattern: str) -> str:
    """The group that a pattern finds in the path of a file: its first group, or the whole match.

    Raises:
        DataError: where the pattern is none, or doesn't match.
    """
    try:
        match = re.search(pattern, path)
    except re.error as error:
        raise DataError(f"group_regex {pattern!r} is not a regular expression ({error}): correct it") from error
    if match is None:
        raise DataError(f"group_regex {pattern!r} does not match {path}: every image needs a group")
    group = match.group(1) if match.re.groups else match.group(0)
    if not group:
        raise DataError(f"group_regex {pattern!r} finds an empty group in {path}: every image needs a group")
    return group
