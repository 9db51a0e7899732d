"""Files and folders that appear whole under their name or not at all, one writer at a time, never through a link.

What is being written has a random name beside its own, `.NAME.RANDOM.incomplete`, made exclusively: no link can be put
there beforehand, and nothing of the user's has such a name. What a kill left of it is removed by the next writer,
which holds the lock.
"""

from __future__ import annotations

import io
import os
import re
import secrets
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from magical_hub.errors import ConfigError, DataError

LEFT = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{16}\.incomplete", re.DOTALL)
"""The names of what is being written, or was when its writer was killed."""
LONGEST_NAME = 180
"""Characters of a name that its temporary name repeats; file systems allow 255 bytes."""


def expanded(path: str | os.PathLike[str]) -> Path:
    """A path as a shell reads it: ~ is the home folder. Every path that a user gives goes through it.

    Raises:
        ConfigError: where it is none, is empty or a URL, or names the home folder of a user that this machine does
            not know.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise ConfigError(f"a path is {path!r}: give the name of a folder or a file")
    if not os.fspath(path):  # of a variable of the shell that is not set; pathlib takes it for the folder of now
        raise ConfigError("a path is empty: give the name of a folder or a file")
    if "://" in os.fspath(path):  # pathlib makes a folder called s3: of it
        raise ConfigError(f"{path} is an address, where a path of this machine belongs: give one")
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ConfigError(
            f"{path} names a home folder that this machine does not know: give the whole path"
        ) from error


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Make a folder where it is missing, and keep other processes from writing into it within the block.

    A process's lock goes with it, however it ends; what a dead writer left half-written is removed.

    Raises:
        ConfigError: where it is a file, or another process is writing into it.
    """
    made = not folder.exists()
    if not folder.is_dir() and os.path.lexists(folder):
        raise ConfigError(f"{folder} exists, and is not a folder: give another name")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with _locked(folder / ".lock", folder):
            remove_leftovers(folder)
            yield
    finally:
        if made:
            with suppress(OSError):  # not empty, as a rule; an error before anything was written leaves no trace
                folder.rmdir()


@contextmanager
def only_maker(path: Path, patience: float = 0.0) -> Iterator[None]:
    """Keep other processes from writing a file, or a folder that appears whole, within the block.

    Args:
        path: the file or folder.
        patience: seconds to wait for another process.

    Raises:
        ConfigError: where another process is still making it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path.with_name(f".{path.name[:LONGEST_NAME]}.lock"), path, patience):
        remove_leftovers(path.parent, path.name)
        yield


@contextmanager
def _locked(file: Path, path: Path, patience: float = 0.0) -> Iterator[None]:
    # Another attempt or two: a holder that just ends removes its lock file under the next one's feet.
    lock = FileLock(file, timeout=max(patience, 0.2), poll_interval=0.05)
    try:
        lock.acquire()
    except Timeout as error:
        raise ConfigError(f"{path} is being written by another process: wait for it, or give another path") from error
    except OSError as error:
        if not file.is_symlink():
            raise
        raise ConfigError(f"{file} is a link, where a lock belongs: delete it") from error
    try:
        yield
    finally:
        with suppress(OSError):  # Windows removes no open file; an empty one stays there
            os.unlink(lock.lock_file)
        lock.release()


def remove_leftovers(folder: Path, name: str | None = None) -> None:
    """Remove what killed writers left half-written in a folder; of a file or folder of one name, or of all.

    Only its lock's holder may call it.
    """
    if not folder.is_dir():
        return
    for entry in list(folder.iterdir()):
        found = LEFT.fullmatch(entry.name)
        if found is None or (name is not None and found["name"] != name[:LONGEST_NAME]) or entry.is_symlink():
            continue
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink(missing_ok=True)


def check_plain(path: Path) -> None:
    """Refuse a file or folder that is, or holds, anything but files and folders: what others sent may hold links.

    Raises:
        DataError: naming the first link, pipe or device.
    """
    places = [path]
    while places:
        place = places.pop()
        if place.is_symlink():
            raise DataError(f"{place} is a symbolic link, through which nothing is read or written: put what it names")
        if place.is_dir():
            places.extend(place.iterdir())
        elif place.exists() and not place.is_file():
            raise DataError(f"{place} is neither a file nor a folder: delete it")


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name[:LONGEST_NAME]}.{secrets.token_hex(8)}.incomplete")


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give a new file beside `path` to write to; it takes the name when the block ends well, and goes when it doesn't.

    A link of that name is replaced, and what it leads to is left alone.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = _beside(path)
    os.close(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o666))
    try:
        yield beside
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with written_whole(path) as beside:
        beside.write_text(text, encoding="utf-8")


def append_bytes(path: Path, content: bytes) -> None:
    """Write to the end of a file, which is made where it is missing; never through a link."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    with open(os.open(path, flags, 0o666), "ab") as file:
        file.write(content)


def append_text(path: Path, text: str) -> None:
    """Write text to the end of a file, as `append_bytes` does."""
    append_bytes(path, text.encode("utf-8"))


@contextmanager
def folder_beside(path: Path) -> Iterator[Path]:
    """Give a new empty folder beside `path`; what is left of it when the block ends goes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = _beside(path)
    beside.mkdir()
    try:
        yield beside
    finally:
        shutil.rmtree(beside, ignore_errors=True)


@contextmanager
def folder_written_whole(folder: Path) -> Iterator[Path]:
    """Give a new folder beside `folder` to fill; it takes the name when the block ends well, and goes when it doesn't.

    Raises:
        OSError: where `folder` holds something by then.
    """
    folder = folder.resolve()  # a link of the user's own, to another disk
    with folder_beside(folder) as beside:
        yield beside
        if folder.exists():
            folder.rmdir()
        beside.rename(folder)


def remove_folder(folder: Path) -> None:
    """Remove a folder: the name goes first, so that a kill leaves no half of it there."""
    doomed = _beside(folder)
    os.replace(folder, doomed)
    shutil.rmtree(doomed)


class ScatteredReads:
    """A file that is read at any place, by any thread.

    Not mapped: the pages that a process touched in a mapped file count as its memory, and a fault reads far around.

    Args:
        path: the file; it stays open as long as this object.
    """

    def __init__(self, path: Path) -> None:
        self._file = io.FileIO(path)
        self._lock = threading.Lock()
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self._file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)

    def at(self, offset: int, count: int) -> bytes:
        """The `count` bytes from `offset` on; fewer where the file ends before."""
        if hasattr(os, "pread"):
            return os.pread(self._file.fileno(), count, offset)
        with self._lock:
            self._file.seek(offset)
            return self._file.read(count)

    def close(self) -> None:
        """Give the file back."""
        self._file.close()
