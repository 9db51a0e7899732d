"""What tells the rows of a dataset from those of another, the files that they name included."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from magical_hub.data.records import hash_of

if TYPE_CHECKING:
    import datasets


def fingerprint_of(dataset: datasets.Dataset) -> str:
    """The fingerprint that `datasets` gives, and path, size and time of change of every image file that a row names.

    `datasets` hashes the paths alone, so that an image that was changed in place is the same data. To hash the
    contents, every file would have to be read. Of what is at a URL the path alone counts.
    """
    import datasets

    names = [name for name, feature in dataset.features.items() if isinstance(feature, datasets.Image)]
    return hash_of(dataset._fingerprint, *(state for name in names for state in _states(dataset, name)))


def _states(dataset: datasets.Dataset, column: str) -> Iterator[str]:
    """Of each file that a column of images names: path, size in bytes and time of change in nanoseconds."""
    import pyarrow.compute as pc

    for batch in dataset.select_columns([column]).with_format("arrow").iter(1000):
        for images in batch[column].chunks:
            named = images.filter(pc.struct_field(images, "bytes").is_null())
            for path in pc.struct_field(named, "path").to_pylist():
                if path and os.path.isfile(path):
                    state = os.stat(path)
                    yield f"{path} {state.st_size} {state.st_mtime_ns}"
