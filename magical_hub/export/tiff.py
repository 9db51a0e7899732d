"""A tiled BigTIFF with the levels of a pyramid, written in the memory of a row of tiles.

Tiles are deflated by differences, which every reader supports. Each level is spooled to a file without a name as it
comes of the one before, so that all levels cost one pass over the generator, and a killed writer leaves none
behind. The spools are read from front to back and not mapped: the pages of a mapped file count as memory.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import numpy as np

from magical_hub.export.raster import Raster, halved, progress, tiles
from magical_hub.files import written_whole


def write_tiff(path: Path, raster: Raster, record: dict[str, Any]) -> None:
    """Write an image as a tiled pyramid, whole or not at all.

    Args:
        path: the file.
        raster: the image.
        record: where it comes from; it is the file's ImageDescription, as JSON.
    """
    from tifffile import TiffWriter

    channels, (height, _) = raster.channels, raster.tile
    options: dict[str, Any] = {
        "dtype": np.uint8,
        "tile": raster.tile,
        "photometric": "minisblack" if channels == 1 else "rgb",
        "compression": "zlib",
        "compressionargs": {"level": 3},  # a tenth larger than by level 9, in a fraction of the time
        "predictor": True,
        "maxworkers": os.cpu_count(),
        "metadata": None,
    }
    with written_whole(path) as beside, ExitStack() as stack:
        spools = [stack.enter_context(tempfile.TemporaryFile(dir=path.parent)) for _ in raster.levels[1:]]
        tiff = stack.enter_context(TiffWriter(beside, bigtiff=True))
        for number, (rows, cols) in enumerate(raster.levels):
            bands = _spooled(spools[number - 1], raster, cols) if number else _made(raster, path)
            stack.callback(bands.close)  # should writing fail, the bar ends before the error is printed
            below = spools[number] if number < len(spools) else None
            first = {"subifds": len(spools), "description": json.dumps(record), "software": "magical_hub"}
            tiff.write(
                _cut(bands, raster.tile, below),
                shape=(rows, cols, channels) if channels > 1 else (rows, cols),
                buffersize=height * cols * channels,
                **(first if number == 0 else {"subfiletype": 1}),
                **options,
            )


def _made(raster: Raster, path: Path) -> Generator[np.ndarray]:
    """The bands of the image: (rows, W, C)."""
    with progress(raster, path) as bar:
        row: list[np.ndarray] = []
        for piece in raster.pieces():
            row.append(raster.make(piece))
            bar.update(piece[2] * piece[3])
            if piece[1] + piece[3] == raster.levels[0][1]:
                yield np.concatenate(row, axis=1)
                row = []


def _spooled(spool: IO[bytes], raster: Raster, cols: int) -> Generator[np.ndarray]:
    """The bands of a level that was spooled before."""
    spool.seek(0)
    while data := spool.read(raster.band * cols * raster.channels):
        yield np.frombuffer(data, np.uint8).reshape(-1, cols, raster.channels)


def _cut(bands: Iterator[np.ndarray], tile: tuple[int, int], below: IO[bytes] | None) -> Iterator[np.ndarray]:
    """The tiles of a level; half of each of its bands goes to the spool of the level below."""
    for band in bands:
        if below is not None:
            below.write(halved(band).data)
        for part in tiles(band, tile):
            yield part if part.shape[2] > 1 else part[..., 0]
