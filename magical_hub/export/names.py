"""Names in what is written: of files, safe and each different; of a data set's own columns, beside a format's keys."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

MOST_BYTES = 120
"""The most bytes of a stem: file systems take 255 for a whole name, and programs lengthen names."""
_UNSAFE = re.compile(r'[<>:"|?*\x00-\x1f\x7f]')
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
"""Names that Windows reserves for devices."""


def file_stems(names: Sequence[str | None]) -> list[str]:
    """A stem for the file of each image: that of the file that it came in, where that is known; else its number.

    Stems are safe on every file system, and differ by more than upper and lower case: of two that do not, the later
    gets a number behind it.

    Args:
        names: of the files that the images came in, with or without folders; None where it is not known.
    """
    wanted = [None if name is None else safe_stem(name) for name in names]
    order = sorted(range(len(names)), key=lambda number: wanted[number] is None)  # stable: named ones first
    stems, taken, next_number = [""] * len(names), set[str](), Counter[str]()
    for number in order:
        base = stem = wanted[number] or f"{number:05d}"
        while stem.casefold() in taken:
            next_number[base] += 1
            stem = f"{base}-{next_number[base] + 1}"
        taken.add(stem.casefold())
        stems[number] = stem
    return stems


def base_name(path: str) -> str:
    """The name of a file without its folders, whichever system's path it is, in characters that can be stored."""
    name = re.split(r"[/\\]", path)[-1]
    return name.encode("utf-8", "backslashreplace").decode()


def safe_stem(path: str) -> str | None:
    """A file's name without folders, ending, and whatever a file system or a shell minds; None where that is all."""
    stem = unicodedata.normalize("NFC", re.split(r"[/\\]", path)[-1])
    stem = stem.rpartition(".")[0] or stem
    stem = "".join("_" if unicodedata.category(letter)[0] == "C" else letter for letter in _UNSAFE.sub("_", stem))
    stem = stem.lstrip(".").strip()
    stem = "_" + stem.lstrip("_-") if stem.startswith(("__", "-")) else stem  # readers skip __x; shells take -x
    stem = "_" + stem if _RESERVED.fullmatch(stem) else stem
    stem = stem.encode()[:MOST_BYTES].decode(errors="ignore").rstrip(". ")
    return stem or None


def names_beside(columns: Iterable[str], is_key: Callable[[str], bool]) -> dict[str, str]:
    """What a data set's own columns are called beside the keys of a format: as they are, or "original_NAME".

    In a name that is changed "file_name" becomes "name", since readers take what ends so for a file.

    Args:
        columns: their names.
        is_key: whether a name means something to the format.
    """
    names = list(columns)
    taken = {name for name in names if not is_key(name)}
    renamed = {}
    for name in names:
        new = name
        while is_key(new) or (new != name and new in taken):
            new = "original_" + re.sub(r"file_name(s?)$", r"name\1", new)
        taken.add(new)
        renamed[name] = new
    return renamed
