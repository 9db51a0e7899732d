"""Images in a `datasets.Dataset` or a stream, of the Hub or not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fsspec

from magical_hub.data.columns import object_fields, read_objects
from magical_hub.data.marks import Boxes, Marks, Mask
from magical_hub.data.records import Record, Source, hash_of
from magical_hub.errors import DataError, first_line

if TYPE_CHECKING:
    import datasets

FIRST = 32
"""Records of a stream that are kept, encoded, until it is read in earnest: as many as `training.survey` looks at."""


@dataclass(frozen=True)
class Columns:
    """Which columns of a dataset hold the images, their classes, their groups and their defects (boxes, or a mask)."""

    image: str
    label: str | None
    group: str | None
    objects: str | None
    mask: str | None


def from_object(data: Any, columns: Columns, streaming: bool) -> Source:
    """The records of a `datasets.Dataset` or a stream.

    Raises:
        DataError: where it is neither, or lacks what it is asked for.
    """
    import datasets

    if isinstance(data, datasets.IterableDataset):
        return _from_stream(data, hash_of(data.split, data.num_shards, data.features), columns)
    if not isinstance(data, datasets.Dataset):
        raise DataError(f"data is a {type(data).__name__}: give a folder, a dataset id or a datasets.Dataset")
    if streaming:
        raise DataError("streaming is for datasets of the Hub, and data is a datasets.Dataset: leave it out")
    return _from_dataset(data, columns)


def from_hub(dataset_id: str, split: str, streaming: bool, columns: Columns) -> Source:
    """The records of a dataset on the Hub.

    Raises:
        DataError: where it can't be loaded, or lacks what it is asked for.
    """
    import datasets

    try:
        if not streaming:
            table = datasets.load_dataset(dataset_id, split=split)
        else:
            builder = datasets.load_dataset_builder(dataset_id)
            table = builder.as_streaming_dataset(split=split)
    except Exception as error:  # the loaders raise many kinds
        raise _cannot_be_loaded(dataset_id, error) from error
    if streaming:
        return _from_stream(table, hash_of(dataset_id, split, builder.hash), columns)
    return _from_dataset(table, columns)


def from_labelled_folder(folder: Path, columns: Columns) -> Source:
    """The records of a folder whose metadata.jsonl (or .csv) says what is wrong with its images, and where.

    Raises:
        DataError: where it has none, or lacks what it is asked for.
    """
    import datasets

    try:
        table = datasets.load_dataset("imagefolder", data_dir=str(folder), split="train")
    except Exception as error:  # as above
        raise DataError(
            f"{folder} cannot be read as images with a metadata.jsonl ({first_line(error)}): mend it, or leave "
            "objects_column and mask_column out"
        ) from error
    return _from_dataset(table, columns)


def _cannot_be_loaded(dataset_id: str, error: Exception) -> DataError:
    return DataError(
        f"{dataset_id} is neither a folder here nor a dataset that can be loaded ({first_line(error)}): "
        "check the name, the split and the network"
    )


def _from_dataset(dataset: datasets.Dataset, columns: Columns) -> Source:
    wanted = _select(dataset, columns)
    if len(dataset) == 0:
        raise DataError("the dataset is empty: give one with images")
    reader = _Reader(wanted, columns)

    def records() -> Iterator[Record]:
        for row, example in enumerate(wanted):
            yield reader.record(row, example)

    return Source(len(dataset), records, reader.class_names, dataset._fingerprint, reader.defect_names)


def _from_stream(stream: datasets.IterableDataset, fingerprint: str, columns: Columns) -> Source:
    if stream.features is None:
        raise DataError("the stream does not say what its columns hold: give it features, by its cast() for instance")
    wanted = _select(stream, columns)
    reader = _Reader(wanted, columns)

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
                raise DataError(f"the stream broke off at row {row} ({first_line(error)}): try again") from error
            yield reader.record(row, example)
            row += 1

    return Source(None, _LookedInto(records), reader.class_names, fingerprint, reader.defect_names)


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


def _select(dataset: Any, columns: Columns) -> Any:
    """The dataset with the columns that are read, its images not decoded."""
    import datasets

    wanted = [column for column in vars(columns).values() if column is not None]
    pictures = [column for column in (columns.image, columns.mask) if column is not None]
    for column in wanted:
        if column not in dataset.column_names:
            raise DataError(f"the dataset has no column {column!r}: it has {', '.join(dataset.column_names)}")
    streams = isinstance(dataset, datasets.IterableDataset)
    selected = dataset.decode(False).select_columns(wanted) if streams else dataset.select_columns(wanted)
    for column in pictures:
        no_images = f"column {column!r} holds no images: name the column that does"
        if streams:  # a cast leaves the threads that decode ahead at work
            if not isinstance(dataset.features[column], datasets.Image):
                raise DataError(no_images)
            continue
        try:
            selected = selected.cast_column(column, datasets.Image(decode=False))
        except (TypeError, ValueError, NotImplementedError) as error:
            raise DataError(no_images) from error
    return selected


class _Reader:
    """Turns rows of a dataset into records, once the names of its classes are known.

    Args:
        dataset: with the columns that `_select` leaves.
        columns: what they hold.
    """

    def __init__(self, dataset: Any, columns: Columns) -> None:
        self.columns = columns
        self.class_names: list[str] | None = None
        self.defect_names: list[str] | None = None
        label, objects = columns.label, columns.objects
        if label is not None:
            feature = dataset.features[label]
            self._classes = _Names(dataset, label, feature, lambda: dataset.unique(label))
            self.class_names = self._classes.names
        if columns.mask is not None:
            self.defect_names = self.class_names or ["defect"]
        if objects is not None:
            fields = object_fields(dataset.features[objects])
            if fields is None:
                raise DataError(f"column {objects!r} holds no lists of bbox and category: name the column that does")
            self._categories = _Names(
                dataset,
                objects,
                fields["category"],
                lambda: [category for row in dataset[objects] for _, category in read_objects(row) or ()],
            )
            self.defect_names = self._categories.names

    def record(self, row: int, example: dict[str, Any]) -> Record:
        """Of row number `row`."""
        columns = self.columns
        # A row without an image is one that can't be read: skipped with a warning, or an error where strict.
        image = example[columns.image] or {"bytes": b"", "path": None}
        name = f"row {row}" + (f" ({Path(image['path']).name})" if image["path"] else "")
        group = example[columns.group] if columns.group else None
        label = self._classes.number(example[columns.label], name) if columns.label else None
        return Record(
            name,
            _file(image),
            label,
            None if group is None else str(group),
            self._marks(example, name, label or 0),
        )

    def _marks(self, example: dict[str, Any], name: str, label: int) -> Marks | None:
        if self.columns.mask is not None:
            mask = example[self.columns.mask]
            return Boxes([]) if mask is None else Mask(_file(mask), label)
        if self.columns.objects is None:
            return None
        objects = read_objects(example[self.columns.objects])
        if objects is None:
            raise DataError(f"{name} has null in {self.columns.objects!r}: give [] where there is no defect")
        return Boxes([(box, self._categories.number(category, name)) for box, category in objects])


def _file(image: dict[str, Any]) -> bytes | Path:
    return image["bytes"] if image["bytes"] is not None else Path(image["path"])


class _Names:
    """The names of the classes in a column, and their numbers.

    Args:
        dataset: that the column belongs to.
        column: its name.
        feature: of the classes in it.
        values: gives all values that occur, where the feature does not name them.
    """

    def __init__(self, dataset: Any, column: str, feature: Any, values: Callable[[], list[Any]]) -> None:
        import datasets

        self.column = column
        if isinstance(feature, datasets.ClassLabel):
            self.names = list(feature.names)
            self.numbers: dict[Any, int] = {number: number for number in range(len(self.names))}
            return
        if isinstance(dataset, datasets.IterableDataset):
            raise DataError(
                f"column {column!r} of the stream is no ClassLabel, and its classes must be known before it ends: "
                "cast it to one, or load the dataset without streaming"
            )
        try:
            known = sorted({value for value in values() if value is not None})
        except (TypeError, NotImplementedError) as error:
            raise DataError(f"column {column!r} holds no classes but lists or records: name one that does") from error
        self.names = [str(value) for value in known]
        self.numbers = {value: number for number, value in enumerate(known)}

    def number(self, value: Any, name: str) -> int:
        """Of a value.

        Args:
            value: in the column.
            name: what to call its row in an error.
        """
        if value not in self.numbers:
            raise DataError(f"{name} has the label {value!r} in {self.column!r}: give one of {', '.join(self.names)}")
        return self.numbers[value]
