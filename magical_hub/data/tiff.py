"""Tiled TIFF files read in place: a window costs the tiles that it touches, and nothing is converted beforehand.

What is read so is what `data/images.py` would make of it, pixel for pixel, and so are the digests: the grey of 8 or 16
bits and the RGB of 8 bits of the first page, BigTIFF and any size included. Other tiled files (turned by an EXIF
orientation, with alpha, one plane per channel, compressed by what tifffile has no decoder for) are decoded whole.
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from magical_hub.data.canvas import CanvasStore, Place, StoreRequest, description, digest, join_tiles
from magical_hub.data.images import LARGEST_TILE, Intensity, Values, grey_or_rgb, to_canvas
from magical_hub.data.records import Record, Source
from magical_hub.errors import DataError, first_line
from magical_hub.files import ScatteredReads, write_text
from magical_hub.safety import MOST_BYTES_OF_IMAGES, read_json

logger = logging.getLogger(__name__)

SUFFIXES = (".tif", ".tiff")
AGAIN = "delete it, and it is made again"
KINDS = {(1, 1, 8): "L", (1, 1, 16): "L", (2, 3, 8): "RGB"}
"""The mode that comes of a photometric interpretation, samples and bits."""


@dataclass(frozen=True)
class TiledImage:
    """The tiles of a file, as its header describes them."""

    path: Path
    height: int
    width: int
    mode: str
    """"L" or "RGB", as it is after the conversions of data/images.py."""
    tile: tuple[int, int]
    _page: Any

    def read(
        self, file: ScatteredReads, channels: int, rows: slice, cols: slice, intensity: Intensity | None
    ) -> np.ndarray:
        """A rectangle: (channels, rows, cols) uint8."""
        across = -(-self.width // self.tile[1])

        def tile(row: int, col: int, place: Place) -> np.ndarray:
            pixels = self._decode(file, row * across + col)[place]
            image = grey_or_rgb(pixels, "a tile", intensity)
            return to_canvas(image, image.height, image.width, channels)

        return join_tiles(tile, self.tile, channels, rows, cols)

    def values(self, few: int | None = None) -> Values:
        """What its pixels hold, by all of its tiles or by a few from everywhere.

        Raises:
            DataError: where a tile cannot be read.
        """
        count = len(self._page.dataoffsets)
        numbers = range(count) if few is None else np.unique(np.linspace(0, count - 1, few).astype(int)).tolist()
        try:
            with contextlib.closing(ScatteredReads(self.path)) as file:
                return functools.reduce(Values.joined, (Values.of(self._decode(file, number)) for number in numbers))
        except Exception as error:  # decoders raise many kinds
            raise DataError(
                f"{self.path.name} cannot be read ({first_line(error)}): replace it or leave it out"
            ) from error

    def _decode(self, file: ScatteredReads, number: int) -> np.ndarray:
        page = self._page
        data = file.at(page.dataoffsets[number], page.databytecounts[number])
        if len(data) < page.databytecounts[number]:
            raise ValueError(f"tile {number} is cut off")
        pixels, _, _ = page.decode(data or None, number, jpegtables=page.jpegtables)
        if pixels is None:  # a tile that was never written
            return np.zeros((*self.tile, 3) if self.mode == "RGB" else self.tile, page.dtype)
        return pixels[0] if self.mode == "RGB" else pixels[0, ..., 0]


def tiled_image(source: Path | bytes) -> TiledImage | None:
    """The description in the header of a tiled TIFF; None for any other file, and for bytes."""
    if isinstance(source, bytes) or source.suffix.lower() not in SUFFIXES or not source.is_file():
        return None
    state = source.stat()
    return _tiled_image(source, state.st_size, state.st_mtime_ns)


@functools.lru_cache(maxsize=512)  # bounds the memory of many files; a header is read in a fraction of a tile's time
def _tiled_image(path: Path, *state: int) -> TiledImage | None:
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            page = file.pages[0].aspage()
            mode = KINDS.get((int(page.photometric), page.samplesperpixel, page.bitspersample))
            orientation = page.tags.get("Orientation")
            plain = (
                page.is_tiled
                and page.tilelength * page.tilewidth <= LARGEST_TILE
                and page.imagedepth == 1
                and int(page.sampleformat) == 1
                and int(page.planarconfig) == 1
                and (orientation is None or orientation.value == 1)
            )
            if mode is None or not plain:
                return None
            size = page.tilelength, page.tilewidth
            image = TiledImage(path, page.imagelength, page.imagewidth, mode, size, page)
            page.jpegtables, page.decode  # noqa: B018 - what tifffile reads or makes late, while the file is open
    except (OSError, ValueError, IndexError, KeyError, struct.error, tifffile.TiffFileError):
        return None  # decoding it whole says what is wrong, or that nothing is
    try:
        with contextlib.closing(ScatteredReads(path)) as reads:
            image._decode(reads, 0)
    except Exception as error:  # decoders raise many kinds
        logger.warning("the tiles of %s cannot be read (%s): it is decoded whole", path.name, first_line(error))
        return None
    return image


def fits_tiles(source: Source, size: tuple[int, int]) -> bool:
    """Whether all images of a source are tiled TIFF files of this height and width."""
    if source.count is None:
        return False  # a stream is read once
    for record in source.records():
        image = tiled_image(record.image) if record.problem is None else None
        if image is None or (image.height, image.width) != size:
            return False
    return True


class TiffStore(CanvasStore):
    """Tiled TIFF files behind an index that `index_tiles` wrote.

    Args:
        index: the file.

    Raises:
        DataError: where it is missing or damaged; when a window is read, where a TIFF file is.
    """

    def __init__(self, index: Path) -> None:
        try:
            about = read_json(index, index.parent, DataError, AGAIN, MOST_BYTES_OF_IMAGES)
            rows = about["images"]
            super().__init__(
                about, *([row[key] for row in rows] for key in ("name", "label", "group", "digest", "field"))
            )
            self._paths = [Path(row["path"]) for row in rows]
        except (OSError, ValueError, KeyError, TypeError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(f"{index} cannot be read ({error}): {AGAIN}") from error

    def _read(self, index: int, rows: slice, cols: slice) -> np.ndarray:
        return _rectangle(self._paths[index], self.names[index], self.channels, rows, cols, self.intensity)


def index_tiles(request: StoreRequest, path: Path) -> None:
    """Write where the files are, and the digest of each one's pixels: of an unchanged file the known one.

    Every other file is decoded once for it, a row of tiles at a time.

    Args:
        request: of a source that `fits_tiles` accepted, on a canvas of the files' own size.
        path: the index to write, or to bring up to date.

    Raises:
        DataError: where no image could be used, or, where the request is strict, at the first that could not.
    """
    known = {}
    if path.exists():
        known = {
            tuple(row["state"]): row["digest"]
            for row in read_json(path, path.parent, DataError, AGAIN, MOST_BYTES_OF_IMAGES)["images"]
        }
    images = list(request.each(lambda record: _row(record, request, known)))
    write_text(path, json.dumps({**request.about, "images": images}))


def _row(record: Record, request: StoreRequest, known: dict[Any, str]) -> dict[str, Any]:
    assert isinstance(record.image, Path)
    size = request.grid.height, request.grid.width
    state = record.image.stat()
    key = record.name, state.st_size, state.st_mtime_ns
    pixels_digest = known.get(key) or digest(
        _bands(record.image, record.name, size, request.channels, request.source.intensity)
    )
    about = description(record, pixels_digest, request.defect_map(record, size))
    return {**about, "path": str(record.image.resolve()), "state": key}


def _bands(
    path: Path, name: str, size: tuple[int, int], channels: int, intensity: Intensity | None
) -> Iterator[np.ndarray]:
    image = tiled_image(path)
    height = image.tile[0] if image else size[0]
    for top in range(0, size[0], height):
        yield _rectangle(path, name, channels, slice(top, min(top + height, size[0])), slice(0, size[1]), intensity)


def _rectangle(
    path: Path, name: str, channels: int, rows: slice, cols: slice, intensity: Intensity | None
) -> np.ndarray:
    image = tiled_image(path)
    if image is None or rows.stop > image.height or cols.stop > image.width:
        raise DataError(f"{name} is not the tiled TIFF that the run began with: put it back, or start a new run")
    try:
        with contextlib.closing(ScatteredReads(path)) as file:
            return image.read(file, channels, rows, cols, intensity)
    except Exception as error:  # decoders raise many kinds
        raise DataError(f"{name} cannot be read ({first_line(error)}): replace it or leave it out") from error
