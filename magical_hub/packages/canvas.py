"""A supersampled drawing surface: shapes in scene units go in, an antialiased picture and its materials come out."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

RGB = tuple[int, int, int]

_SHADOW_SIZE = 128  # shadows are soft: drawn small, then enlarged


class Paint(NamedTuple):
    """A colour and how its material answers: granular texture, glare and low-frequency mottle, each 0 to 255."""

    rgb: RGB
    grain: int = 0
    gloss: int = 0
    mottle: int = 0

    def lit(self, factor: float) -> Paint:
        """The same material, brighter or darker by `factor`."""
        red, green, blue = self.rgb
        lit = (min(int(red * factor), 255), min(int(green * factor), 255), min(int(blue * factor), 255))
        return Paint(lit, self.grain, self.gloss, self.mottle)

    @property
    def material(self) -> RGB:
        """The answer of the material as the canvas stores it."""
        return (self.grain, self.gloss, self.mottle)


@dataclass(frozen=True)
class Pose:
    """The place of the package: a shift (shares of the image side) and a turn (radians)."""

    dx: float = 0.0
    dy: float = 0.0
    angle: float = 0.0


@dataclass(frozen=True)
class Mark:
    """One line of laser marking; `strength` in (0, 1] is its opacity."""

    text: str
    x: float
    y: float
    angle: float
    height: float
    strength: float


@lru_cache(maxsize=64)
def _font(pixels: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=pixels)


def rounded_rectangle(half_width: float, half_height: float, radius: float) -> np.ndarray:
    """Outline (24, 2) of a rectangle about the origin with rounded corners, clockwise on the screen."""
    turn = np.linspace(0, np.pi / 2, 6)
    signs = ((1, 1), (-1, 1), (-1, -1), (1, -1))
    corners = [
        np.stack([np.cos(turn + quarter * np.pi / 2), np.sin(turn + quarter * np.pi / 2)], axis=1) * radius
        + np.array([sx * (half_width - radius), sy * (half_height - radius)])
        for quarter, (sx, sy) in enumerate(signs)
    ]
    return np.concatenate(corners)


class Canvas:
    """Draws opaque shapes, masks and lettering at a multiple of the final resolution.

    Points are arrays (N, 2) in scene units.
    """

    def __init__(self, image_size: int) -> None:
        self.factor = 4 if image_size <= 256 else 2
        self.size = image_size * self.factor
        self.place(Pose())
        self._colour = Image.new("RGB", (self.size, self.size))
        self._material = Image.new("RGB", (self.size, self.size))
        self._pens = (ImageDraw.Draw(self._colour), ImageDraw.Draw(self._material))

    def place(self, pose: Pose) -> None:
        """Move everything drawn from now on by `pose`."""
        cos, sin = np.cos(pose.angle), np.sin(pose.angle)
        self._angle = pose.angle
        self._turn = np.array([[cos, sin], [-sin, cos]]) * self.size
        self._origin = np.array([pose.dx + 0.5, pose.dy + 0.5]) * self.size

    def polygon(self, points: np.ndarray, paint: Paint) -> None:
        """Fill a polygon."""
        flat = self._pixels(points).ravel().tolist()
        self._pens[0].polygon(flat, fill=paint.rgb)
        self._pens[1].polygon(flat, fill=paint.material)

    def disc(self, centre: tuple[float, float], radius: float, paint: Paint) -> None:
        """Fill a circle."""
        x, y = self._pixels(np.array([centre]))[0]
        reach = radius * self.size
        box = (x - reach, y - reach, x + reach, y + reach)
        self._pens[0].ellipse(box, fill=paint.rgb)
        self._pens[1].ellipse(box, fill=paint.material)

    def stamp(self, sprite: Image.Image, centre: tuple[float, float], material: RGB) -> None:
        """Put an RGBA sprite, sized in canvas pixels, about `centre`."""
        x, y = self._pixels(np.array([centre]))[0]
        corner = (round(x - sprite.width / 2), round(y - sprite.height / 2))
        self._colour.paste(sprite, corner, sprite)
        self._material.paste(material, (*corner, corner[0] + sprite.width, corner[1] + sprite.height), sprite)

    def text(self, mark: Mark, paint: Paint) -> None:
        """Letter one line of marking about its centre."""
        font = _font(max(round(mark.height * self.size), 4))
        left, top, right, bottom = font.getbbox(mark.text)
        mask = Image.new("L", (int(right - left) + 4, int(bottom - top) + 4))
        ImageDraw.Draw(mask).text((2 - left, 2 - top), mark.text, font=font, fill=round(255 * mark.strength))
        turn = -np.degrees(mark.angle + self._angle)
        mask = mask.rotate(turn, Image.Resampling.BICUBIC, expand=True)
        x, y = self._pixels(np.array([[mark.x, mark.y]]))[0]
        corner = (round(x - mask.width / 2), round(y - mask.height / 2))
        area = (*corner, corner[0] + mask.width, corner[1] + mask.height)
        self._colour.paste(paint.rgb, area, mask)
        self._material.paste(paint.material, area, mask)

    def polygon_mask(self, points: np.ndarray) -> Image.Image:
        """A mask of the canvas's size, 255 inside the polygon."""
        mask = Image.new("L", (self.size, self.size))
        ImageDraw.Draw(mask).polygon(self._pixels(points).ravel().tolist(), fill=255)
        return mask

    def stroke_mask(self, points: np.ndarray, widths: np.ndarray, pressures: np.ndarray) -> Image.Image:
        """A mask of a line through N points, whose N - 1 pieces have a width and a pressure in [0, 1] each."""
        mask = Image.new("L", (self.size, self.size))
        pen = ImageDraw.Draw(mask)
        pixels = self._pixels(points)
        for start, end, width, pressure in zip(pixels[:-1], pixels[1:], widths, pressures, strict=True):
            thick, fill = max(width * self.size, 1.0), round(255 * pressure)
            pen.line([*start, *end], fill=fill, width=round(thick))
            pen.ellipse((*(end - thick / 2), *(end + thick / 2)), fill=fill)
        return mask

    def fill(self, mask: Image.Image, paint: Paint, softness: float = 0.0) -> None:
        """Lay paint through a mask, its edge blurred by `softness` scene units."""
        if softness:
            mask = mask.filter(ImageFilter.BoxBlur(softness * self.size))
        self._colour.paste(paint.rgb, mask=mask)
        self._material.paste(paint.material, mask=mask)

    def shadow(self, shapes: list[np.ndarray], offset: np.ndarray, softness: float, darkness: float) -> None:
        """Darken what is drawn so far under shapes moved by `offset`; `darkness` in [0, 1]."""
        mask = Image.new("L", (_SHADOW_SIZE, _SHADOW_SIZE))
        pen = ImageDraw.Draw(mask)
        for shape in shapes:
            moved = self._pixels(shape + offset) * (_SHADOW_SIZE / self.size)
            pen.polygon(moved.ravel().tolist(), fill=round(255 * darkness))
        mask = mask.filter(ImageFilter.GaussianBlur(softness * _SHADOW_SIZE))
        self._colour.paste((0, 0, 0), mask=mask.resize(self._colour.size, Image.Resampling.BILINEAR))

    def reduced(self) -> tuple[Image.Image, Image.Image]:
        """The colours and the materials (grain, gloss, mottle) at the final resolution, antialiased."""
        return self._colour.reduce(self.factor), self._material.reduce(self.factor)

    def _pixels(self, points: np.ndarray) -> np.ndarray:
        return points @ self._turn + self._origin
