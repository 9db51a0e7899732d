"""Images in a `datasets.Dataset` or a stream, of the Hub or not."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fsspec
from tqdm.auto import tqdm

from magical_hub.data.columns import object_fields, read_objects, row_name, stored_values, undecoded
from magical_hub.data.defect_maps import Boxes, Mask
from magical_hub.data.masks import survey_masks
from magical_hub.data.records import Record, Source, hash_of
from magical_hub.errors import DataError, first_line

if TYPE_CHECKING:
    import datasets

FIRST = 32
"""Records of a stream that are kept, encoded, until it is read from the start: as many as `training.survey` reads."""


@dataclass(frozen=True)
class Columns:
    """Which columns of a dataset hold the images, their classes, their groups and their defects (boxes, or a mask).

    Attributes:
        mask_values: names of the defect classes that values of masks stand for.
        group_regex: pattern for the path of an image's file, in place of a column of groups.
        files_below: folder below which rows may name files; those of the dataset itself may always be named.
        folder: of images, where the dataset is a table of one: images are called by their paths below it.
    """

    image: str = "image"
    label: str | None = None
    group: str | None = None
    objects: str | None = None
    mask: str | None = None
    mask_values: Mapping[int, str] | None = None
    group_regex: str | None = None
    files_below: Path | None = None
    folder: Path | None = None

    @property
    def names(self) -> list[str]:
        """The names of all columns that are read."""
        named = (self.image, self.label, self.group, self.objects, self.mask)
        return [*dict.fromkeys(name for name in named if name is not None)]


def from_object(data: Any, columns: Columns, streaming: bool = False) -> Source:
    """The records of a `datasets.Dataset` or a stream.

    Raises:
        DataError: where it is neither, or lacks what is read from it.
    """
    import datasets

    if isinstance(data, datasets.IterableDataset):
        return _from_stream(data, hash_of(data.split, data.num_shards, data.features), columns)
    if not isinstance(data, datasets.Dataset):
        raise DataError(f"data is a {type(data).__name__}: give a folder, a dataset id or a datasets.Dataset")
    if streaming:
        raise DataError("streaming is for datasets of the Hub, and data is a datasets.Dataset: leave it out")
    return _from_dataset(data, columns)


def from_hub_stream(dataset_id: str, split: str, columns: Columns) -> Source:
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
    return _from_stream(table, hash_of(dataset_id, split, builder.hash), columns)


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


def _from_dataset(dataset: datasets.Dataset, columns: Columns) -> Source:
    wanted = _select(dataset, columns)
    if len(dataset) == 0:
        raise DataError("the dataset is empty: give one with images")
    reader = _Reader(wanted, columns, own_folders(dataset, columns.files_below))

    def records() -> Iterator[Record]:
        for row, example in enumerate(wanted):
            yield reader.record(row, example)

    about = (columns.label, columns.objects, columns.mask, columns.mask_values)
    fingerprint = dataset._fingerprint if columns.folder is None else hash_of(dataset._fingerprint, *about)
    return Source(len(dataset), records, reader.class_names, fingerprint, reader.defect_names)


def _from_stream(stream: datasets.IterableDataset, fingerprint: str, columns: Columns) -> Source:
    if stream.features is None:
        raise DataError("the stream does not say what its columns hold: give it features, by its cast() for instance")
    wanted = _select(stream, columns)
    folders = [] if columns.files_below is None else [columns.files_below]
    reader = _Reader(wanted, columns, folders)

    def records() -> Iterator[Record]:
        examples, row = iter(wanted), 0
        while True:
            try:
                example = next(examples)
                for image in filter(None, (example[columns.image], example[columns.mask] if columns.mask else None)):
                    if image["bytes"] is None and "://" in image["path"] and _is_allowed(image["path"], folders):
                        with fsspec.open(image["path"], "rb") as file:  # elsewhere, or inside an archive
                            image["bytes"] = file.read()
            except StopIteration:
                return
            except Exception as error:  # every file system has its own
                raise DataError(f"the stream broke off at row {row} ({first_line(error)}): try again") from error
            yield reader.record(row, example)
            row += 1

    return Source(None, _Rereadable(records), reader.class_names, fingerprint, reader.defect_names)


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
                if not _is_allowed(path, folders):
                    raise _outside(f"column {name!r}", path)


def _outside(where: str, path: str) -> DataError:
    return DataError(
        f"{where} names the file {path!r}, which is outside the dataset: put it into the dataset's folder, or "
        "train with --files-below FOLDER (files_below in Python) if the files in that folder are yours to use"
    )


def _is_allowed(path: str, folders: list[Path] | None) -> bool:
    """Whether a row may name a file: of the Hub, in one of these folders (None: any), or in an archive there."""
    place = path.rpartition("::")[2]
    if place.startswith("hf://") or folders is None:
        return True
    return "://" not in place and _is_below(Path(place), folders)


def _is_below(path: Path, folders: list[Path]) -> bool:
    """Whether a file really is in one of these folders, links followed."""
    real = Path(os.path.realpath(path))
    return any(real.is_relative_to(os.path.realpath(folder)) for folder in folders)


def _select(dataset: Any, columns: Columns) -> Any:
    """The dataset with the columns that are read, its images not decoded."""
    import datasets

    wanted = columns.names
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
            selected = undecoded(selected, column)
        except (TypeError, ValueError, NotImplementedError) as error:
            raise DataError(no_images) from error
    return selected


class _Reader:
    """Turns rows of a dataset into records, once the names of its classes are known.

    Args:
        dataset: with the columns that `_select` leaves.
        columns: what they hold.
        folders: whose files rows may name; None for any.
    """

    def __init__(self, dataset: Any, columns: Columns, folders: list[Path] | None) -> None:
        self.columns, self._folders = columns, folders
        self.class_names: list[str] | None = None
        self.defect_names: list[str] | None = None
        label, objects = columns.label, columns.objects
        if label is not None:
            feature = dataset.features[label]
            self._classes = _Names(dataset, label, feature, lambda: dataset.unique(label))
            self.class_names = self._classes.names
        if columns.mask is not None:
            self._mask_values = survey_masks(self._masks(dataset, columns.mask), columns.mask_values)
            self.defect_names = [*(self._mask_values.names or self.class_names or ["defect"])]
        if objects is not None:
            fields = object_fields(dataset.features[objects])
            if fields is None:
                raise DataError(f"column {objects!r} holds no lists of bbox and category: name the column that does")
            self._categories = _Names(
                dataset,
                objects,
                fields["category"],
                lambda: [category for row in dataset[objects] for category in _categories(row)],
            )
            self.defect_names = self._categories.names

    def record(self, row: int, example: dict[str, Any]) -> Record:
        """The record of row number `row`."""
        columns = self.columns
        # A row without an image is one that can't be read: skipped with a warning, or an error where strict.
        image = example[columns.image] or {"bytes": b"", "path": None}
        name = self._name(row, image)
        label = self._classes.number(example[columns.label], name) if columns.label else None
        if columns.objects and example[columns.objects] is None:
            raise DataError(f"{name} has null in {columns.objects!r}: give [] where there is no defect")
        group = self._group(example, image, name)
        file = self._file(image, name)
        if columns.mask is not None:
            mask = example[columns.mask]
            defects = Boxes([]) if mask is None else Mask(self._file(mask, name), self._mask_values, label or 0)
            return Record(name, file, label, group, defects)
        try:
            return Record(name, file, label, group, self._boxes(example, name))
        except DataError as error:
            return Record(name, file, label, group, problem=str(error))

    def _name(self, row: int, image: dict[str, Any]) -> str:
        if image["path"] and self.columns.folder is not None:
            return Path(image["path"]).relative_to(self.columns.folder).as_posix()
        return row_name(row, image)

    def _group(self, example: dict[str, Any], image: dict[str, Any], name: str) -> str | None:
        if self.columns.group_regex is not None:
            return group_of_path(name if image["path"] else "", self.columns.group_regex)
        group = example[self.columns.group] if self.columns.group else None
        return None if group is None else str(group)

    def _boxes(self, example: dict[str, Any], name: str) -> Boxes | None:
        if self.columns.objects is None:
            return None
        objects = read_objects(example[self.columns.objects], name) or []
        return Boxes([(box, self._categories.number(category, name)) for box, category in objects])

    def _masks(self, dataset: Any, column: str) -> Iterator[tuple[bytes | Path, str]]:
        """The masks of all rows; of a stream those of the first few."""
        import datasets

        streamed = isinstance(dataset, datasets.IterableDataset)
        rows = dataset.take(FIRST) if streamed else dataset.select_columns([column])
        total = None if streamed else len(dataset)
        for row, example in enumerate(tqdm(rows, total=total, desc="Reading masks", unit="mask", delay=2)):
            if example[column] is not None:
                name = row_name(row, example[column])
                yield self._file(example[column], name), f"the mask of {name}"

    def _file(self, image: dict[str, Any], name: str) -> bytes | Path:
        if image["bytes"] is not None:
            return image["bytes"]
        if not _is_allowed(image["path"], self._folders):
            raise _outside(name, image["path"])
        return Path(image["path"])


def _categories(row: Any) -> list[Any]:
    """The categories of a row's objects, as far as it can be read: an error in it is reported when it is used."""
    try:
        return [category for _, category in read_objects(row, "") or ()]
    except DataError:
        return []


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
                f"column {column!r} of the stream is not a ClassLabel, and its classes must be known before it ends: "
                "cast it to one, or load the dataset without streaming"
            )
        if not isinstance(feature, datasets.Value):
            raise DataError(f"column {column!r} holds no classes but lists or records: name one that does")
        known = stored_values(feature, values(), column)
        self.names = list(known)
        self.numbers = {value: number for number, value in enumerate(known.values())}

    def number(self, value: Any, name: str) -> int:
        """The number of a value.

        Args:
            value: in the column.
            name: what to call its row in an error.
        """
        if value not in self.numbers:
            raise DataError(f"{name} has the label {value!r} in {self.column!r}: give one of {', '.join(self.names)}")
        return self.numbers[value]
