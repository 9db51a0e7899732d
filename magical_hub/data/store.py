"""The store of a run (an Arrow file of decoded images, or an index of tiled TIFF files), and surveys of a source."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from tqdm.auto import tqdm

from magical_hub.data.arrow import ArrowStore, build_arrow_store
from magical_hub.data.canvas import CanvasStore, StoreRequest
from magical_hub.data.images import Intensity, Values, grey_or_rgb, read_pixels
from magical_hub.data.records import Record, Source, hash_of
from magical_hub.data.tiff import TiffStore, fits_tiles, index_tiles, tiled_image
from magical_hub.errors import DataError
from magical_hub.grid import Grid

ARROW, TILES = "canvas.arrow", "tiles.json"


def prepare_store(
    source: Source,
    folder: Path,
    grid: Grid,
    channels: int,
    strict: bool = False,
    progress: bool = True,
    defect_share: float = 0.1,
) -> CanvasStore:
    """Make the store of a run, or find the one that is there.

    Where all images are tiled TIFF files of the canvas's own size they are read in place, and the folder holds
    an index of them (tiles.json); else it holds the decoded images (canvas.arrow). The pixels, and so the digests and
    the fingerprint, are the same either way.

    Args:
        folder: where the store is, or will be.
        source, grid, channels, strict, progress, defect_share: as of `StoreRequest`.

    Raises:
        DataError: where no image could be read, or, with `strict`, at the first that could not.
    """
    request = StoreRequest(source, grid, channels, strict, progress, defect_share)
    if (folder / TILES).exists():
        # Files may have moved. An index of other data is left as it is: callers compare the fingerprints.
        if TiffStore(folder / TILES).source_fingerprint == source.fingerprint:
            index_tiles(request, folder / TILES)
    elif not (folder / ARROW).exists():
        if fits_tiles(source, (grid.height, grid.width)):
            index_tiles(request, folder / TILES)
        else:
            build_arrow_store(request, folder / ARROW)
    return open_store(folder)


def open_store(folder: Path) -> CanvasStore:
    """The store that `prepare_store` made in a folder.

    Raises:
        DataError: where there is none, or it is damaged.
    """
    tiles = folder / TILES
    return TiffStore(tiles) if tiles.exists() else ArrowStore(folder / ARROW)


def remove_store(folder: Path) -> None:
    """Remove the store in a folder, where there is one; the images that it was made of stay."""
    for name in (ARROW, TILES):
        (folder / name).unlink(missing_ok=True)


class ImageInfo(NamedTuple):
    """Size, mode and values of an image."""

    size: tuple[int, int]
    """Height and width in pixels."""
    mode: str
    """After conversion: "L" or "RGB"."""
    image: Image.Image | None
    """Decoded; None for a tiled TIFF, of which only the header and a few tiles are read."""
    values: Values
    """The type and the range of its pixels."""


def inspect_image(record: Record, intensity: Intensity | None = None) -> ImageInfo:
    """Size, mode and values of an image; of a tiled TIFF from the header and a few tiles.

    Args:
        record: of the image.
        intensity: the values that become black and white.

    Raises:
        DataError: where it cannot be read.
    """
    record.check()
    if (tiled := tiled_image(record.image)) is not None:
        return ImageInfo((tiled.height, tiled.width), tiled.mode, None, tiled.values(few=4))
    pixels = read_pixels(record.image, record.name)
    image = grey_or_rgb(pixels, record.name, intensity)
    return ImageInfo((image.height, image.width), image.mode, image, Values.of(pixels))


def with_measured_intensity(source: Source) -> Source:
    """A source whose intensity range reaches from the least to the greatest value of all its images.

    Every image is decoded once for it. Images of 8 bits alone keep their whole range.

    Raises:
        DataError: for a stream, which is read once; where no image can be read; where all have one value.
    """
    if source.count is None:
        raise DataError("intensity_range 'auto' reads all images first, and a stream is read once: give two numbers")
    values = Values(np.dtype(np.uint8), np.inf, -np.inf)
    for record in tqdm(source.records(), total=source.count, desc="Measuring intensities", unit="img", delay=1):
        try:
            record.check()
            tiled = tiled_image(record.image)
            own = tiled.values() if tiled is not None else Values.of(read_pixels(record.image, record.name))
            values = values.joined(own)
        except DataError:
            continue  # named when the store is made
    if not values.high > values.low:
        raise DataError("the images hold one value alone, or cannot be read: give others")
    if values.dtype == np.uint8:
        return source
    intensity = Intensity(values.low, values.high)
    return replace(source, intensity=intensity, fingerprint=hash_of(source.fingerprint, intensity))
