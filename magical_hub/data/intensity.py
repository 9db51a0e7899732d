"""The range of intensities that the images of a data set really use."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from magical_hub.data.images import Intensity, Values, read_pixels
from magical_hub.data.records import Record, Source, hash_of
from magical_hub.data.tiff import tiled_image
from magical_hub.errors import DataError


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
            values = values.joined(_values_of(record))
        except DataError:
            continue  # named when the store is made
    if not values.high > values.low:
        raise DataError("the images hold one value alone, or cannot be read: give others")
    if values.dtype == np.uint8:
        return source
    intensity = Intensity(values.low, values.high)
    return replace(source, intensity=intensity, fingerprint=hash_of(source.fingerprint, intensity))


def _values_of(record: Record) -> Values:
    record.check()
    tiled = tiled_image(record.image) if isinstance(record.image, Path) else None
    return tiled.values() if tiled is not None else Values.of(read_pixels(record.image, record.name))
