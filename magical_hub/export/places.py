"""Where a dataset is written: a folder of this machine, or a place that fsspec reaches (s3://, gs://, hf:// ...)."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from magical_hub.errors import DataError, MissingPackageError, in_one_line
from magical_hub.files import expanded, folder_written_whole, only_maker
from magical_hub.safety import parse_json

MARK = "incomplete.json"
"""The file in a remote place that describes what is being written there; it is removed when all is there."""


def check_place(target: str | Path) -> None:
    """Refuse a place that holds something, or can't be reached, before any work is done for it.

    Raises:
        DataError: where it holds something else than the beginnings of a dataset, or doesn't answer.
        MissingPackageError: where fsspec needs a package for it.
    """
    if is_remote(target):
        fs, root = _file_system(str(target))
        with _as_data_error(target):
            found = fs.exists(root) and bool(fs.ls(root))
            if found and not fs.exists(f"{root}/{MARK}"):
                raise DataError(f"{target} holds something already: give a new or an empty place")
        return
    folder = expanded(target)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder} holds something already: give a new or an empty folder")


@contextmanager
def written_to(target: str | Path, request: dict[str, Any]) -> Iterator[Path]:
    """Give a folder on this machine to fill; when the block ends well, the place holds what the folder does.

    A folder appears whole or not at all. Remote files are written one by one, under a mark that is removed with the
    last; where the same was begun before, files that are there in their full size stay.

    Args:
        target: the place.
        request: what is written, in values of JSON: equal where it is the same.

    Raises:
        DataError: as `check_place`, and where something else was begun in a remote place.
        ConfigError: where another process is writing the same folder.
        MissingPackageError: as `check_place`.
    """
    check_place(target)
    if is_remote(target):
        with tempfile.TemporaryDirectory(prefix="magical-hub-") as name:
            yield Path(name)
            _upload(Path(name), str(target), request)
        return
    folder = expanded(target)
    with only_maker(folder):
        check_place(folder)  # another process may have written it meanwhile
        with folder_written_whole(folder) as beside:
            yield beside


def is_remote(target: str | Path) -> bool:
    """Whether it is a URL and no path."""
    return isinstance(target, str) and "://" in target


def _file_system(target: str) -> tuple[Any, str]:
    """The file system of a URL, and the path there."""
    from fsspec.core import url_to_fs

    try:
        fs, root = url_to_fs(target, use_listings_cache=False)
    except ImportError as error:
        raise MissingPackageError(f"{target} needs a package of its own: {error}") from error
    except ValueError as error:
        raise DataError(
            f"{target} is not a place that fsspec can write to ({error}): give a path, s3://..., gs://..."
        ) from error
    return fs, root.rstrip("/")


@contextmanager
def _as_data_error(target: str | Path) -> Iterator[None]:
    """Turn errors of a remote file system, which are of many kinds, into a DataError of one line."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        raise DataError(
            f"{target} can't be written to ({in_one_line(error)}): check its name, your rights there and the network; "
            "the same call continues where this one stopped"
        ) from error


def _upload(folder: Path, target: str, request: dict[str, Any]) -> None:
    fs, root = _file_system(target)
    files = {
        f"{root}/{path.relative_to(folder).as_posix()}": path for path in sorted(folder.rglob("*")) if path.is_file()
    }
    with _as_data_error(target):
        if fs.exists(f"{root}/{MARK}"):
            if parse_json(fs.cat_file(f"{root}/{MARK}")) != request:
                raise DataError(
                    f"{target} holds the beginnings of another dataset: delete them, or give another place"
                )
        else:
            fs.makedirs(root, exist_ok=True)
            fs.pipe_file(f"{root}/{MARK}", json.dumps(request).encode())
        there = fs.find(root, detail=True)
        for parent in {name.rpartition("/")[0] for name in files}:
            fs.makedirs(parent, exist_ok=True)
        for name, path in tqdm(files.items(), desc=f"Writing to {target}", unit="file"):
            if name not in there or there[name]["size"] != path.stat().st_size:
                fs.put_file(str(path), name)
        fs.rm_file(f"{root}/{MARK}")
