"""Reading files from others: bounded, never run, never outside their folder."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any, NoReturn

from magical_hub.errors import CheckpointError, MagicalError, first_line

MOST_BYTES = 2**24
"""The most bytes of a JSON file; the frequencies of defects at each of 1,024 locations take millions."""
MOST_BYTES_OF_LINES = 2**28
"""The most bytes of a file of JSON lines."""
MOST_BYTES_OF_IMAGES = 2**30
"""The most bytes of a JSON file with an entry an image."""


def check_inside(path: Path, folder: Path) -> None:
    """Refuse a path that leaves a folder by `..`, or through a symbolic link.

    The client's cache is links from snapshots/COMMIT to blobs/ beside it: those are let through.

    Raises:
        CheckpointError: naming the path.
    """
    try:
        real, root = path.resolve(), folder.resolve()
    except (OSError, RuntimeError) as error:  # links that go in a circle
        raise CheckpointError(f"{path} is a link that leads nowhere: take another checkpoint") from error
    roots = [root, *(above.parent.parent / "blobs" for above in (root, *root.parents) if _is_snapshot(above))]
    if not any(real.is_relative_to(allowed) for allowed in roots):
        raise CheckpointError(f"{path} leads out of its folder: put the file itself there")


def _is_snapshot(folder: Path) -> bool:
    return folder.parent.name == "snapshots" and folder.parent.parent.name.startswith(("models--", "datasets--"))


def read_json(
    path: Path,
    folder: Path,
    error: type[MagicalError] = CheckpointError,
    advice: str = "take another checkpoint",
    most: int = MOST_BYTES,
) -> dict[str, Any]:
    """The object in a JSON file of a folder.

    Args:
        path: the file.
        folder: which it must be in, links followed.
        error: what is raised.
        advice: what the error says to do.
        most: bytes of the file.

    Raises:
        MagicalError: of that kind, where it is missing, leads out of the folder, is too large, or holds anything else.
    """
    try:
        check_inside(path, folder)
        if not path.is_file():  # nor a pipe, which would be waited for
            raise CheckpointError(f"{path} is missing")
        try:
            with path.open("rb") as file:
                # No more than there is: a buffer of that size is taken before anything is read.
                content = file.read(min(most, os.fstat(file.fileno()).st_size) + 1)
            if len(content) > most:
                raise CheckpointError(f"{path} has more than {most} bytes")
            value = parse_json(content)
        except (OSError, ValueError) as reason:
            if isinstance(reason, CheckpointError):
                raise
            raise CheckpointError(f"{path} is not JSON that can be read ({first_line(reason)})") from reason
        if not isinstance(value, dict):
            raise CheckpointError(f"{path} holds a {type(value).__name__} and no object")
    except CheckpointError as reason:
        raise error(f"{reason}: {advice}") from reason
    return value


def parse_json(content: bytes | str) -> Any:
    """What JSON says, where all its numbers are finite and all its text is text.

    Raises:
        ValueError: where it is none, is nested too deep, or holds halves of characters, NaN or infinite numbers.
    """
    try:
        text = content.decode("utf-8") if isinstance(content, bytes) else content
        value = json.loads(text, parse_constant=_no_number, parse_float=_finite)
        if "\\u" in text:  # which may name half of a character, that nothing can print or write
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    return value


def read_json_lines(path: Path, most: int = MOST_BYTES_OF_LINES) -> tuple[list[dict[str, Any]], int]:
    """The objects in a file of JSON lines that is only displayed, and how many lines could not be read.

    A line that a kill cut off, or that is damaged, is left out; of a huge file the last bytes are read.
    """
    if not path.is_file():
        return [], 0
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - most))
        lines = file.read(min(size, most)).splitlines()[int(size > most) :]
    values, damaged = [], 0
    for line in lines:
        try:
            value = parse_json(line)
        except ValueError:
            value = None
        if isinstance(value, dict):
            values.append(value)
        else:
            damaged += 1
    return values, damaged


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is not a number")


def _finite(word: str) -> float:
    number = float(word)
    return number if math.isfinite(number) else _no_number(word)
