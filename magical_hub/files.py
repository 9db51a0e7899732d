"""Files written beside and renamed, so whole under their name or not there; and files read here and there."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from magical_hub.errors import ConfigError


def expanded(path: str | os.PathLike[str]) -> Path:
    """A path as a shell reads it: ~ is the home folder. Every path that a user gives goes through it.

    Raises:
        ConfigError: where it names the home folder of a user that this machine does not know.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ConfigError(
            f"{path} names a home folder that this machine does not know: give the whole path"
        ) from error


@contextmanager
def only_writer(path: Path) -> Iterator[None]:
    """Keep other processes from writing to a file or folder meanwhile. A process's lock goes with it, however it ends.

    Raises:
        ConfigError: where another one is writing to it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path / ".lock" if path.is_dir() else path.with_name(f".{path.name}.lock"))
    try:
        lock.acquire(blocking=False)
    except Timeout as error:
        raise ConfigError(f"{path} is being written by another process: wait for it, or give another path") from error
    try:
        yield
    finally:
        with suppress(OSError):  # Windows removes no open file; an empty one stays there
            os.unlink(lock.lock_file)
        lock.release()


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give a place beside `path` to write to; it takes the name when the block ends well, and goes when it doesn't."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".incomplete")
    try:
        yield beside
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with written_whole(path) as beside:
        beside.write_text(text)


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
