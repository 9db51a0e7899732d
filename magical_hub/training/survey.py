"""A look at a few of the images: what a proposal and an estimate go by before anything is decoded in earnest."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from functools import cached_property

import numpy as np
from PIL import Image

from magical_hub.data import Look, Record, Source, look
from magical_hub.errors import DataError
from magical_hub.metrics.alignment import SIDE, alignment

LOOK_AT = 32
"""Images. A stream keeps as many at hand."""


class Survey:
    """What a few images are like, looked at when it is first asked for.

    Args:
        source: what `open_source` found; of a known number of images some are taken from everywhere, of a stream the
            first.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.unreadable = 0
        """Of those looked at."""
        self.seconds = 0.0
        """That reading and decoding one took, on average."""
        self._small: list[np.ndarray] = []

    @cached_property
    def sizes(self) -> list[tuple[int, int]]:
        """Heights and widths."""
        return [one.size for one in self._looks]

    @cached_property
    def grey(self) -> bool:
        """Whether all are."""
        return all(one.mode == "L" for one in self._looks)

    @cached_property
    def alignment(self) -> float | None:
        """`metrics.alignment` of them; None for fewer than 8, and where they are too large to be decoded whole."""
        if len(self._looks) < 8 or len(self._small) < len(self._looks):
            return None
        return alignment(np.stack(self._small))

    @cached_property
    def _looks(self) -> list[Look]:
        looks, started, tried = [], time.perf_counter(), 0
        for record in self._records():
            tried += 1
            try:
                one = look(record)
            except DataError:
                self.unreadable += 1  # named when the store is made
                continue
            if one.image is not None:
                small = one.image.convert("L").resize((SIDE, SIDE), Image.Resampling.LANCZOS, reducing_gap=3.0)
                self._small.append(np.asarray(small))
            looks.append(one._replace(image=None))
        self.seconds = (time.perf_counter() - started) / max(1, tried)
        if not looks:
            raise DataError("none of the images could be read: give png, jpg, bmp or tif files that open")
        return looks

    def _records(self) -> Iterator[Record]:
        count = self.source.count
        every = 1 if count is None else max(1, count // LOOK_AT)
        return itertools.islice(self.source.records(), 0, LOOK_AT * every, every)
