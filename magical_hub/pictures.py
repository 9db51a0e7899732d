"""Pictures for people: sheets of many images, and images with their labels or their grid drawn on them."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from magical_hub.files import written_whole
from magical_hub.grid import Grid
from magical_hub.texts import plain

SHOWN = 512
"""Pixels that the longer side of an image is enlarged to, about: by a whole factor, so that pixels stay pixels."""
COLOURS = ((255, 90, 90), (90, 220, 90), (90, 160, 255), (255, 200, 40), (220, 110, 255), (60, 220, 220))
"""The colours of the first defect classes; `colour_of` has those of all."""
LINE, FRAME = (64, 160, 255), (255, 160, 0)
"""Colours of the lines of a grid, and of the frame of a sub-region."""


def picture_grid(images: np.ndarray, columns: int) -> np.ndarray:
    """Images (N, C, H, W) uint8 row by row on one sheet, (H, W) grey or (H, W, 3); the last row may be short."""
    count, channels, height, width = images.shape
    rows = -(-count // columns)
    sheet = np.zeros((rows * columns, channels, height, width), np.uint8)
    sheet[:count] = images
    sheet = sheet.reshape(rows, columns, channels, height, width).transpose(0, 3, 1, 4, 2)
    pixels = sheet.reshape(rows * height, columns * width, channels)
    return pixels[..., 0] if channels == 1 else pixels


def save_picture_grid(images: np.ndarray, path: Path, columns: int, classes: Mapping[int, str] | None = None) -> None:
    """Write a `picture_grid` as a PNG, whole or not at all.

    Args:
        images: (N, C, H, W) uint8.
        path: of the file.
        columns: of the sheet.
        classes: numbers of classes, from 0 on, and their names: a legend of their colours is below the images.
    """
    sheet = Image.fromarray(picture_grid(images, columns))
    if classes:
        sheet = _with_legend(sheet, classes)
    with written_whole(path) as beside:
        sheet.save(beside, format="PNG")


def _with_legend(sheet: Image.Image, classes: Mapping[int, str]) -> Image.Image:
    """A sheet above a strip that says which class has which colour, in as many lines as that takes."""
    height = min(24, max(14, sheet.width // 40))
    font = ImageFont.load_default(size=height)
    measure = ImageDraw.Draw(sheet)
    line, room = round(1.6 * height), round(0.4 * height)
    places, x, y = [], room, 0
    for number, name in classes.items():
        text = plain(name, 60)
        width = height + 3 * room + round(measure.textlength(text, font=font))
        if x > room and x + width > sheet.width:
            x, y = room, y + line
        places.append((x, y, number, text))
        x += width + room
    whole = Image.new("RGB", (sheet.width, sheet.height + y + line))
    whole.paste(sheet.convert("RGB"))
    draw = ImageDraw.Draw(whole)
    for x, y, number, text in places:
        middle = sheet.height + y + line // 2
        half = height // 2
        draw.rectangle((x, middle - half, x + 2 * half, middle + half), fill=colour_of(number))
        draw.text((x + 2 * half + room, middle), text, fill="white", font=font, anchor="lm")
    return whole


def enlarged(image: Image.Image) -> Image.Image:
    """The image as RGB, so large that lines over it hide little."""
    factor = enlarged_by(image)
    size = image.width * factor, image.height * factor
    return image.convert("RGB").resize(size, Image.Resampling.NEAREST)


def enlarged_by(image: Image.Image) -> int:
    """The factor of `enlarged`."""
    return max(1, round(SHOWN / max(image.size)))


def with_labels(
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
            shown.paste(Image.new("RGB", shown.size, colour_of(int(number) - 1)), mask=veil)
    draw, font = ImageDraw.Draw(shown), ImageFont.load_default(size=max(14, SHOWN // 32))
    for item in objects:
        left, top, width, height = (side * factor for side in item["bbox"])
        colour = colour_of(list(names).index(item["category"]))
        draw.rectangle((left, top, left + width, top + height), outline=colour, width=2)
        text = draw.textbbox((0, 0), item["category"], font=font)
        x = max(0.0, min(left, shown.width - text[2] - 4))
        y = top - text[3] - 4 if top > text[3] + 4 else min(top + height, shown.height - text[3] - 4)
        draw.rectangle((x, y, x + text[2] + 4, y + text[3] + 4), fill="black")
        draw.text((x + 2, y + 2), item["category"], fill=colour, font=font)
    return shown


def with_grid(image: Image.Image, grid: Grid, defect_map: np.ndarray | None = None) -> Image.Image:
    """An enlarged image under the lines of its grid; sub-regions with a defect in the map (R, K) have a frame."""
    shown, factor = enlarged(image), enlarged_by(image)
    draw = ImageDraw.Draw(shown, "RGBA")
    boxes = [tuple(int(side) * factor for side in box) for box in grid.boxes()]
    for box in boxes:
        draw.rectangle(box, outline=(*LINE, 150))
    for location in np.flatnonzero(defect_map) if defect_map is not None else ():
        left, top, right, bottom = boxes[location]
        draw.rectangle((left + 1, top + 1, right - 2, bottom - 2), outline=FRAME, width=3)
    return shown


def colour_of(number: int) -> tuple[int, int, int]:
    """Red, green and blue of class number `number`, from 0 on; no two of the first hundred are equal."""
    if number < len(COLOURS):
        return COLOURS[number]
    turns = number * 0.618034  # of the golden ratio: each hue is far from those before it
    red, green, blue = colorsys.hsv_to_rgb(turns % 1, (0.45, 0.9)[number % 2], (1.0, 0.75)[number // 2 % 2])
    return round(255 * red), round(255 * green), round(255 * blue)
