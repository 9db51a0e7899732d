"""Sources of images: one record per image, not decoded."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from magical_hub.data.defect_maps import DefectAnnotation
from magical_hub.data.images import Intensity
from magical_hub.errors import DataError


@dataclass(frozen=True)
class Record:
    """An image that has not been decoded: its name, file or bytes, class number and group."""

    name: str
    image: Path | bytes
    label: int | None
    group: str | None
    defects: DefectAnnotation | None = None
    """The defects; None where the source has no boxes and no masks."""
    problem: str | None = None
    """Why the image cannot be used, where the source says so: it is skipped by name."""

    def check(self) -> None:
        """Raise the problem as a DataError, where there is one."""
        if self.problem is not None:
            raise DataError(self.problem)


@dataclass(frozen=True)
class Source:
    """Records in a fixed order, and the names of their classes (None without a label column)."""

    count: int | None
    """The number of images; None for a stream, where it is not known."""
    records: Callable[[], Iterator[Record]]
    class_names: list[str] | None
    fingerprint: str
    """The hash of names and sizes, or that of the dataset; of a stream, of its id, split and revision (in
    Python: its split, shards and features). Other data has another one, and no image is read for it."""
    defect_names: list[str] | None = None
    """The names of the defect classes, where records have defects."""
    intensity: Intensity | None = None
    """The values that become black and white on the canvas; None: the whole range of images of 8 and 16 bits."""


def hash_of(*parts: Any) -> str:
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()
