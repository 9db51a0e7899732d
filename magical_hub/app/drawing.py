"""What is drawn over images for people: the grid, and the boxes and masks of defects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from magical_hub.grid import Grid

SHOWN = 512
"""Pixels that the longer side of an image is enlarged to, about: by a whole factor, so that pixels stay pixels."""
LINE, ASKED = (64, 160, 255), (255, 160, 0)
COLOURS = ((255, 90, 90), (90, 220, 90), (90, 160, 255), (255, 200, 40), (220, 110, 255), (60, 220, 220))
"""Of the defect classes, in turn."""


def enlarged(image: Image.Image) -> Image.Image:
    """As RGB, so large that lines over it hide little."""
    factor = enlarged_by(image)
    size = image.width * factor, image.height * factor
    return image.convert("RGB").resize(size, Image.Resampling.NEAREST)


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


def with_marks(
    image: Image.Image, objects: Sequence[dict[str, Any]], mask: np.ndarray | None, names: Sequence[str]
) -> Image.Image:
    """An enlarged image with the box of each defect, its name, and its mask as a veil.

    Args:
        image: as it was generated.
        objects: as in its annotation.
        mask: (H, W) uint8, the number of the defect; 0 where there is none.
        names: of the defects, the first one's number being 1.
    """
    shown = enlarged(image)
    factor = enlarged_by(image)
    if mask is not None:
        for number in np.unique(mask[mask > 0]):
            veil = Image.fromarray(np.where(mask == number, np.uint8(90), np.uint8(0)))
            veil = veil.resize(shown.size, Image.Resampling.NEAREST)
            shown.paste(Image.new("RGB", shown.size, _colour(int(number) - 1)), mask=veil)
    draw, font = ImageDraw.Draw(shown), ImageFont.load_default(size=max(14, SHOWN // 32))
    for thing in objects:
        left, top, width, height = (side * factor for side in thing["bbox"])
        colour = _colour(list(names).index(thing["category"]))
        draw.rectangle((left, top, left + width, top + height), outline=colour, width=2)
        text = draw.textbbox((0, 0), thing["category"], font=font)
        x = max(0.0, min(left, shown.width - text[2] - 4))
        y = top - text[3] - 4 if top > text[3] + 4 else min(top + height, shown.height - text[3] - 4)
        draw.rectangle((x, y, x + text[2] + 4, y + text[3] + 4), fill="black")
        draw.text((x + 2, y + 2), thing["category"], fill=colour, font=font)
    return shown


def place_of(pixel: tuple[int, int], image: Image.Image, grid: Grid) -> tuple[int, int]:
    """Row and column of the sub-region under a pixel (x, y) of the enlarged image."""
    factor = enlarged_by(image)
    x, y = (min(max(0, int(its)) // factor, size - 1) for its, size in zip(pixel, image.size, strict=True))
    location, _ = grid.cover(y, x, 1, 1)
    return divmod(location, grid.cols)


def enlarged_by(image: Image.Image) -> int:
    """The factor of `enlarged`."""
    return max(1, round(SHOWN / max(image.size)))


def _colour(number: int) -> tuple[int, int, int]:
    return COLOURS[number % len(COLOURS)]
