"""Canvas, grid, channels and steps where they were not given: chosen from a look at a few images."""

from __future__ import annotations

import math
import statistics
from dataclasses import replace

from magical_hub.errors import GridError
from magical_hub.grid import Grid
from magical_hub.training.config import TrainingConfig
from magical_hub.training.survey import Survey

LARGEST = 512
"""Longer side of a canvas that nobody asked for: larger ones are trained on when they are asked for."""
FEWEST_STEPS, STEPS_OF_16, MOST_STEPS = 10_000, 20_000, 100_000
"""Steps with 16 sub-regions, and the bounds: twice as many for four times as many sub-regions (a rule of thumb)."""


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
