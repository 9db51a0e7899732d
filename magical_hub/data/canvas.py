"""The images of a run on their canvas, as training reads them: a window at a time, never a whole image for it."""

from __future__ import annotations

import hashlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from tqdm.auto import tqdm

from magical_hub.data.images import Intensity
from magical_hub.data.records import Record, Source
from magical_hub.errors import DataError
from magical_hub.grid import Grid, Window

logger = logging.getLogger(__name__)

T = TypeVar("T")


class CanvasStore(ABC):
    """N images of (C, H, W) uint8, with their class numbers, defect maps, groups, names and content hashes.

    Args:
        about: channels, image_size, class_names, source_fingerprint and intensity_range; defect_names and grid (rows
            and columns of sub-regions) where the source has defects.
        names: what to call each image.
        labels: the number of each one's class, 0 without classes.
        groups: each one's group.
        digests: the `digest` of each one's pixels.
        defect_maps: of each one (see defect_maps.py), row by row; empty without defects.

    Raises:
        DataError: where a defect is called "none".

    Attributes:
        defects: (N, R, K) int64, 0 or 1 + the number of a name in `defect_names`; None without defects.
        defect_names: of the classes that occur.
        intensity: the values that became black and white; None: the whole range of images of 8 and 16 bits.
    """

    def __init__(
        self,
        about: dict[str, Any],
        names: list[str],
        labels: Iterable[int],
        groups: list[str],
        digests: list[str],
        defect_maps: Sequence[Sequence[int]] | np.ndarray,
    ) -> None:
        self.channels: int = about["channels"]
        self.height, self.width = about["image_size"]
        self.class_names: list[str] | None = about["class_names"]
        self.source_fingerprint: str = about["source_fingerprint"]
        self.intensity = Intensity.of(about.get("intensity_range"))  # which earlier versions did not have
        self.names, self.groups, self.digests = names, groups, digests
        self.labels = np.array(labels, dtype=np.int64)
        self.defects: np.ndarray | None = None
        self.defect_names: list[str] | None = None
        if about["defect_names"] is not None:
            whole = np.array(defect_maps, dtype=np.int64).reshape(len(names), *about["grid"])
            occurring = np.unique(np.append(whole, 0))  # a column's names may hold more, one for "none" among them
            self.defects = np.searchsorted(occurring, whole)
            self.defect_names = [about["defect_names"][number - 1] for number in occurring[1:]]
            if "none" in self.defect_names:
                raise DataError("a defect is called 'none', which is how no defect is requested: rename it")

    def __len__(self) -> int:
        return len(self.names)

    @property
    def fingerprint(self) -> str:
        """Hash of what training reads: pixels, classes, defects and their order. Another dataset has another one."""
        about = f"{self.channels} {self.height} {self.width} {self.class_names} {self.labels.tolist()}"
        if self.defects is not None:
            about += f" {self.defect_names} {self.defects.tolist()}"
        return hashlib.sha256("\n".join([about, *self.digests]).encode()).hexdigest()

    def images(self, indices: np.ndarray) -> np.ndarray:
        """Whole images: (B,) -> (B, C, H, W) uint8."""
        whole = slice(0, self.height), slice(0, self.width)
        return np.stack([self._read(int(index), *whole) for index in indices])

    def crop(self, grid: Grid, indices: np.ndarray, locations: np.ndarray, window: Window = (1, 1)) -> np.ndarray:
        """A sub-region or window an image, read without touching the rest of the image.

        Args:
            grid: the grid of the canvas.
            indices: (B,) which images.
            locations: (B,) where in each.
            window: rows and columns of sub-regions.

        Returns:
            (B, C, h * window rows, w * window columns) uint8.
        """
        spans = (grid.span(int(location), window) for location in locations)
        return np.stack([self._read(int(index), *span) for index, span in zip(indices, spans, strict=True)])

    @abstractmethod
    def _read(self, index: int, rows: slice, cols: slice) -> np.ndarray:
        """A rectangle of an image: (C, rows, cols) uint8."""


Place = tuple[slice, slice]


def join_tiles(
    tile: Callable[[int, int, Place], np.ndarray], size: tuple[int, int], channels: int, rows: slice, cols: slice
) -> np.ndarray:
    """A rectangle of an image that is kept in tiles: (C, rows, cols) uint8.

    Args:
        tile: from a tile's row and column, and the part of it that is wanted, to (C, part's rows, part's columns).
        size: height and width of a tile.
        channels: C.
        rows: pixel rows of the rectangle.
        cols: pixel columns of the rectangle.
    """
    joined = np.empty((channels, rows.stop - rows.start, cols.stop - cols.start), np.uint8)
    for row, from_row, to_row in _overlaps(rows, size[0]):
        for col, from_col, to_col in _overlaps(cols, size[1]):
            joined[:, to_row, to_col] = tile(row, col, (from_row, from_col))
    return joined


def _overlaps(span: slice, size: int) -> Iterable[tuple[int, slice, slice]]:
    """The parts of a span: number of the tile, where in the tile, where in the span."""
    for number in range(span.start // size, (span.stop - 1) // size + 1):
        start, stop = max(span.start, number * size), min(span.stop, (number + 1) * size)
        yield number, slice(start - number * size, stop - number * size), slice(start - span.start, stop - span.start)


def digest(bands: Iterable[np.ndarray]) -> str:
    """SHA-256 of an image's pixels row by row, the channels of a pixel side by side.

    Args:
        bands: (C, any number of rows, W) uint8 each, from the top down: so that no image need be whole in memory.
    """
    sha = hashlib.sha256()
    for band in bands:
        sha.update(np.ascontiguousarray(band.transpose(1, 2, 0)).data)
    return sha.hexdigest()


def set_sha256(digests: Iterable[str]) -> str:
    """SHA-256 of a set of images, in whatever order, by their `digest`s."""
    return hashlib.sha256("\n".join(sorted(set(digests))).encode()).hexdigest()


@dataclass(frozen=True)
class StoreRequest:
    """The images that the store of a run is made of, and how.

    Attributes:
        source: what `open_source` found.
        grid: the canvas, to which images of another size are resized, and its sub-regions.
        channels: 1 or 3.
        strict: stop at the first image that cannot be used, instead of skipping or stretching it with a warning that
            names it.
        progress: show a bar.
        defect_share: share of a sub-region that a defect must cover for the sub-region to carry it.
    """

    source: Source
    grid: Grid
    channels: int
    strict: bool = False
    progress: bool = True
    defect_share: float = 0.1

    @property
    def about(self) -> dict[str, Any]:
        """The description of the images as a whole: see `CanvasStore`."""
        source, grid = self.source, self.grid
        return {
            "image_size": [grid.height, grid.width],
            "channels": self.channels,
            "class_names": source.class_names,
            "defect_names": source.defect_names,
            "grid": [grid.rows, grid.cols],
            "source_fingerprint": source.fingerprint,
            "intensity_range": None if source.intensity is None else [source.intensity.low, source.intensity.high],
        }

    def each(self, read: Callable[[Record], T]) -> Iterator[T]:
        """What `read` makes of each image, one at a time, under a bar.

        Raises:
            DataError: where no image could be used, or, with `strict`, at the first that could not.
        """
        used = False
        records = self.source.records()
        for record in tqdm(
            records, total=self.source.count, desc="Reading images", unit="img", disable=not self.progress
        ):
            try:
                record.check()
                made = read(record)
            except DataError as error:
                if self.strict:
                    raise
                logger.warning("skipped: %s", error)
                continue
            used = True
            yield made
            del made  # before the next is read
        if not used:
            raise DataError("none of the images could be read: see the warnings above")

    def defect_map(self, record: Record, size: tuple[int, int]) -> list[int]:
        """The defect map of an image of this height and width, row by row; empty where its source has no defects."""
        if record.defects is None:
            return []
        defect_map = record.defects.defect_map(size, self.grid, self.defect_share, record.name)
        return [int(number) for number in defect_map.flat]


def description(record: Record, digest: str, defect_map: list[int]) -> dict[str, Any]:
    """What a store says of an image: see `CanvasStore`.

    An image without a group is a group of its own; equal images are one, so that no split parts them.
    """
    return {
        "name": record.name,
        "label": 0 if record.label is None else record.label,
        "group": record.group or digest,
        "digest": digest,
        "field": defect_map,
    }
