"""The grid over an image, and which of its sub-regions lies under a pixel."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from magical_hub.grid import Grid
from magical_hub.pictures import enlarged, enlarged_by

LINE, ASKED = (64, 160, 255), (255, 160, 0)


def with_grid(image: Image.Image, grid: Grid, field: np.ndarray | None = None) -> Image.Image:
    """An enlarged image under the lines of its grid; sub-regions that were asked for a defect have a frame."""
    shown = enlarged(image)
    factor = enlarged_by(image)
    draw = ImageDraw.Draw(shown, "RGBA")
    boxes = [tuple(int(side) * factor for side in box) for box in grid.boxes()]
    for left, top, right, bottom in boxes:
        draw.rectangle((left, top, right, bottom), outline=(*LINE, 150))
    if field is not None:
        for location in np.flatnonzero(field):
            left, top, right, bottom = boxes[location]
            draw.rectangle((left + 1, top + 1, right - 2, bottom - 2), outline=ASKED, width=3)
    return shown


def place_of(pixel: tuple[int, int], image: Image.Image, grid: Grid) -> tuple[int, int]:
    """Row and column of the sub-region under a pixel (x, y) of the enlarged image."""
    factor = enlarged_by(image)
    x, y = (min(max(0, int(its)) // factor, size - 1) for its, size in zip(pixel, image.size, strict=True))
    location, _ = grid.cover(y, x, 1, 1)
    return divmod(location, grid.cols)
