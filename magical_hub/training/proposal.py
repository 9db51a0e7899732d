"""Canvas, grid and channels for data where they were not given: chosen from a look at a few images."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterator
from dataclasses import replace

from magical_hub.data import Source, look
from magical_hub.errors import DataError, GridError
from magical_hub.grid import Grid
from magical_hub.training.config import TrainingConfig

LOOK_AT = 32
LARGEST = 512
"""Longer side of a canvas that nobody asked for: larger ones are trained on when they are asked for."""


def complete(config: TrainingConfig, source: Source) -> TrainingConfig:
    """The configuration with image_size, rows, cols and channels filled in.

    The canvas takes the median shape, its longer side at most 512 px, both sides multiples of 32. Sub-regions are of
    32 px, or of 64 px from 512 px on. Grey only where every image looked at is grey.

    Raises:
        DataError: where none of the first images can be read.
        GridError: where the grid does not divide the canvas, or the window does not fit the grid.
    """
    canvas, channels = config.canvas, config.channels
    if canvas is None or channels is None:
        images = list(itertools.islice(_readable(source), LOOK_AT))
        if not images:
            raise DataError("none of the images could be read: give png, jpg, bmp or tif files that open")
        height = statistics.median(size[0] for size, _ in images)
        width = statistics.median(size[1] for size, _ in images)
        scale = min(1.0, LARGEST / max(height, width))
        canvas = canvas or (max(32, round(height * scale / 32) * 32), max(32, round(width * scale / 32) * 32))
        channels = channels or (1 if all(mode == "L" for _, mode in images) else 3)
    cell = 64 if max(canvas) >= LARGEST else 32
    rows = config.rows or max(1, canvas[0] // cell)
    cols = config.cols or max(1, canvas[1] // cell)
    grid = Grid(rows, cols, *canvas)
    if not (config.window_rows <= rows and config.window_cols <= cols):
        raise GridError(
            f"a window of {config.window_rows} x {config.window_cols} does not fit a grid of {rows} x {cols}: "
            "lower window_rows and window_cols, or give more rows and cols"
        )
    return replace(config, image_size=(grid.height, grid.width), rows=rows, cols=cols, channels=channels)


def _readable(source: Source) -> Iterator[tuple[tuple[int, int], str]]:
    for record in source.records():
        try:
            yield look(record)
        except DataError:
            continue  # named when the store is made
