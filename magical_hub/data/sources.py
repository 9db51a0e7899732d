"""Where images come from: a folder, or a dataset (of the Hub or not, streamed or not); one record an image."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from magical_hub.data.images import EXTENSIONS
from magical_hub.data.records import Record, Source, hash_of
from magical_hub.data.tables import Columns, from_hub, from_labelled_folder, from_object
from magical_hub.errors import DataError

if TYPE_CHECKING:
    import datasets


def open_source(
    data: str | Path | datasets.Dataset | datasets.IterableDataset,
    *,
    image_column: str = "image",
    label_column: str | None = None,
    group_column: str | None = None,
    group_regex: str | None = None,
    objects_column: str | None = None,
    mask_column: str | None = None,
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
        objects_column: column of the defects: lists of {"bbox": x, y, width, height in pixels, "category"}. A folder
            has it in its metadata.jsonl, as `datasets`' imagefolder reads it.
        mask_column: column of images of the same size as the images, black where nothing is wrong. The class of the
            defect is the image's. In a folder likewise.
        split: which split of a dataset of the Hub.
        streaming: read a dataset of the Hub image by image, without a copy of it on the disk.
        max_images: stop after the first so many.

    Raises:
        DataError: where nothing is found, or a column is missing; a stream's records, where it breaks off.
    """
    if objects_column is not None and mask_column is not None:
        raise DataError("objects_column and mask_column both say where defects are: give one of them")
    columns = Columns(image_column, label_column, group_column, objects_column, mask_column)
    source = _open(data, columns, group_regex, split, streaming)
    if max_images is None:
        return source
    return replace(
        source,
        count=None if source.count is None else min(source.count, max_images),
        records=lambda: itertools.islice(source.records(), max_images),
        fingerprint=hash_of(source.fingerprint, max_images),
    )


def _open(data: Any, columns: Columns, group_regex: str | None, split: str, streaming: bool) -> Source:
    if not isinstance(data, (str, Path)):
        return from_object(data, columns, streaming)
    folder = Path(data).expanduser()
    if folder.is_dir():
        if streaming:
            raise DataError("streaming is for datasets of the Hub, and data is a folder: leave it out")
        if columns.objects is not None or columns.mask is not None:
            if group_regex is not None:
                raise DataError("group_regex is for folders without metadata: give group_column instead")
            return from_labelled_folder(folder, columns)
        if columns.group is not None:
            raise DataError("group_column is for datasets, and data is a folder: give group_regex instead")
        return _from_folder(folder, columns.label is not None, group_regex)
    if folder.exists():
        raise DataError(f"{data} is a file: give the folder that holds the images")
    if not re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", str(data)):
        raise DataError(f"there is no folder {data}: give a folder of images, or the id of a dataset on the Hub")
    return from_hub(str(data), split, streaming, columns)


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
    return Source(len(files), records, class_names, hash_of(*sizes))


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
