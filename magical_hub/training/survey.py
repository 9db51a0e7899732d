"""A survey of a few images, and the canvas, grid, channels and steps that are chosen by it."""

from __future__ import annotations

import functools
import itertools
import math
import statistics
import time
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from functools import cached_property

import numpy as np
from PIL import Image
from tqdm.auto import tqdm

from magical_hub.data import ImageInfo, Source, inspect_image
from magical_hub.data.images import SIXTEEN_BITS, Values
from magical_hub.errors import DataError, GridError
from magical_hub.grid import Grid
from magical_hub.metrics.alignment import SIDE, alignment
from magical_hub.training.config import TrainingConfig

SURVEYED = 32
"""Images. Of a stream as many are kept."""
FEW_LEVELS = 64
"""Grey levels of 256 under which the range of intensities gives a warning."""
LARGEST = 512
"""Longer side of a canvas that is chosen, in pixels; larger ones must be given."""
FEWEST_STEPS, STEPS_OF_16, MOST_STEPS = 10_000, 20_000, 100_000
"""Steps with 16 sub-regions, and the bounds: twice as many for four times as many sub-regions (a rule of thumb)."""


class Survey:
    """What a few images are like, read when a property is first used.

    Args:
        source: what `open_source` found; of a known number of images some are taken from everywhere, of a stream the
            first.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.unreadable = 0
        """The number of images that could not be read."""
        self.seconds = 0.0
        """The seconds that reading and decoding an image took, on average."""
        self._small: list[np.ndarray] = []

    @cached_property
    def sizes(self) -> list[tuple[int, int]]:
        """Heights and widths."""
        return [one.size for one in self._infos]

    @cached_property
    def grey(self) -> bool:
        """Whether all are."""
        return all(one.mode == "L" for one in self._infos)

    @cached_property
    def alignment(self) -> float | None:
        """`metrics.alignment` of them; None for fewer than 8, and where they are too large to be decoded whole."""
        if len(self._infos) < 8 or len(self._small) < len(self._infos):
            return None
        return alignment(np.stack(self._small))

    @cached_property
    def depth(self) -> str:
        """The type and range of the pixels in words where they are not of 8 bits; else nothing."""
        if self._values.dtype == np.uint8:
            return ""
        kind = "16 bits" if self._values.dtype == np.uint16 else f"{self._values.dtype}"
        return f"{kind} a channel, values {self._values.low:g} to {self._values.high:g} in those looked at"

    @cached_property
    def counts(self) -> dict[str, int] | None:
        """How many images each class and each kind of defect has, by name; None of a stream, which is read once."""
        if self.source.count is None:
            return None
        counted: Counter[str] = Counter()
        classes, defects = self.source.class_names or [], self.source.defect_names or []
        records = tqdm(self.source.records(), total=self.source.count, desc="Counting", unit="img", delay=2)
        for record in records if classes or defects else ():
            if record.label is not None and classes:
                counted[f"class {classes[record.label]}"] += 1
            with suppress(DataError):  # which is named when the store is made
                found = record.defects.classes(record.name) if record.defects is not None else set()
                counted.update(f"defect {defects[number]}" for number in found)
                counted["no defect"] += record.defects is not None and not found
        names = [*(f"class {name}" for name in classes), *(f"defect {name}" for name in defects)]
        occurring = [name for name in names if counted[name] or name.startswith("class ")]
        return {name: counted[name] for name in occurring + (["no defect"] if defects else [])}

    @cached_property
    def warnings(self) -> list[str]:
        """Warnings where the range of intensities does not suit the images."""
        low, high = self._values.low, self._values.high
        if not self.depth:
            return []
        scale = self.source.intensity or SIXTEEN_BITS
        levels = 255 * (min(high, scale.high) - max(low, scale.low)) / (scale.high - scale.low)
        about = f"the images have {self.depth}, and the intensity range is {scale.low:g} to {scale.high:g}"
        if levels < FEW_LEVELS:
            return [
                f"{about}: that leaves {max(1, round(levels))} of 256 grey levels; give --intensity-range {low:g} "
                f"{high:g}, or auto to measure it on all images"
            ]
        if self.source.intensity is not None and (low < scale.low or high > scale.high):
            return [f"{about}: values outside it become black or white; give a wider one to keep them apart"]
        return []

    @cached_property
    def _values(self) -> Values:
        return functools.reduce(Values.joined, (one.values for one in self._infos))

    @cached_property
    def _infos(self) -> list[ImageInfo]:
        infos, started, tried, last = [], time.perf_counter(), 0, DataError("there is none")
        every = max(1, (self.source.count or 0) // SURVEYED)
        for record in itertools.islice(self.source.records(), 0, SURVEYED * every, every):
            tried += 1
            try:
                one = inspect_image(record, self.source.intensity)
            except DataError as error:
                self.unreadable += 1  # named when the store is made
                last = error
                continue
            if one.image is not None:
                small = one.image.convert("L").resize((SIDE, SIDE), Image.Resampling.LANCZOS, reducing_gap=3.0)
                self._small.append(np.asarray(small))
            infos.append(one._replace(image=None))
        self.seconds = (time.perf_counter() - started) / max(1, tried)
        if not infos:
            raise DataError(f"none of the images looked at can be used; the last one: {last}")
        return infos


def complete(config: TrainingConfig, survey: Survey) -> TrainingConfig:
    """The configuration with image_size, rows, cols, channels and max_steps filled in.

    The canvas takes the median shape, its longer side at most 512 px, both sides multiples of 32. Sub-regions are of
    32 px, or of 64 px from 512 px on. Grey only where every image looked at is grey.

    Raises:
        DataError: where none of the images looked at can be read.
        GridError: where the grid does not divide the canvas, or the window does not fit the grid.
    """
    canvas, channels = config.canvas, config.channels
    if canvas is None:
        height = statistics.median(size[0] for size in survey.sizes)
        width = statistics.median(size[1] for size in survey.sizes)
        scale = min(1.0, LARGEST / max(height, width))
        canvas = max(32, round(height * scale / 32) * 32), max(32, round(width * scale / 32) * 32)
    channels = channels or (1 if survey.grey else 3)
    cell = 64 if max(canvas) >= LARGEST else 32
    rows = config.rows or max(1, canvas[0] // cell)
    cols = config.cols or max(1, canvas[1] // cell)
    grid = Grid(rows, cols, *canvas)
    if not (config.window_rows <= rows and config.window_cols <= cols):
        raise GridError(
            f"a window of {config.window_rows} x {config.window_cols} does not fit a grid of {rows} x {cols}: "
            "lower window_rows and window_cols, or give more rows and cols"
        )
    steps = round(STEPS_OF_16 * math.sqrt(grid.num_locations / 16), -3)
    intensity = survey.source.intensity
    return replace(
        config,
        intensity_range=None if intensity is None else (intensity.low, intensity.high),
        image_size=(grid.height, grid.width),
        rows=rows,
        cols=cols,
        channels=channels,
        max_steps=config.max_steps or int(min(max(steps, FEWEST_STEPS), MOST_STEPS)),
    )
