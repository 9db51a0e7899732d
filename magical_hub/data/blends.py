"""Procedural defects on good images: cut-and-paste, and Perlin-noise blends in the way of DRAEM.

The cheap rival of a generator, and a source of labelled defects where there are none. A blend keeps to one place, so
that one box holds it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from magical_hub.boxes import Box, box_of
from magical_hub.errors import DataError


class Blend(NamedTuple):
    """An image (C, H, W) uint8 with a defect, the defect's mask (H, W) bool and its box x, y, w, h in pixels."""

    image: np.ndarray
    mask: np.ndarray
    box: Box


def procedural_defect(image: np.ndarray, source: np.ndarray, rng: np.random.Generator) -> Blend:
    """One of `cut_and_paste` and `perlin_blend`, each as likely."""
    kinds = (cut_and_paste, perlin_blend)
    return kinds[rng.integers(len(kinds))](image, source, rng)


def cut_and_paste(image: np.ndarray, source: np.ndarray, rng: np.random.Generator) -> Blend:
    """A patch of `source` at another place of `image` (Li et al., "CutPaste", CVPR 2021), its tones altered.

    The patch takes 0.5 to 8 % of the image and is up to four times as long as wide.

    Args:
        image: the good image, (C, H, W) uint8, 8 pixels a side or more.
        source: what the patch is cut from, of the same shape; may be `image` itself.
        rng: all that is random comes from it.

    Raises:
        DataError: where the two are not of that kind.
    """
    _check(image, source)
    _, height, width = image.shape
    area, aspect = height * width * np.exp(rng.uniform(np.log(0.005), np.log(0.08))), np.exp(rng.uniform(-1.4, 1.4))
    rows = int(np.clip(round(np.sqrt(area * aspect)), 2, height))
    cols = int(np.clip(round(np.sqrt(area / aspect)), 2, width))
    from_rows, from_cols = _place(height, width, rows, cols, rng)
    to_rows, to_cols = _place(height, width, rows, cols, rng)
    patch = source[:, from_rows, from_cols].astype(np.float32)
    pasted = image.copy()
    pasted[:, to_rows, to_cols] = _retoned(patch, rng).round().astype(np.uint8)
    mask = np.zeros((height, width), bool)
    mask[to_rows, to_cols] = True
    return Blend(pasted, mask, box_of(mask))


def perlin_blend(image: np.ndarray, source: np.ndarray, rng: np.random.Generator) -> Blend:
    """Blots of Perlin noise through which another texture shows (Zavrtanik et al., "DRAEM", ICCV 2021, section 3.3).

    In DRAEM the noise fills the image and the texture is a foreign photograph. Here it fills a window of a tenth to a
    half of each side and fades to its rim, and the texture is `source`, shifted, turned and its tones altered.

    Args:
        image: the good image, (C, H, W) uint8, 8 pixels a side or more.
        source: the texture, of the same shape; may be `image` itself.
        rng: all that is random comes from it.

    Raises:
        DataError: where the two are not of that kind.
    """
    _check(image, source)
    _, height, width = image.shape
    rows, cols = (max(4, round(side * rng.uniform(0.1, 0.5))) for side in (height, width))
    there = _place(height, width, rows, cols, rng)
    cells_down, cells_across = 2 ** rng.integers(1, 4, size=2)
    noise = perlin_noise(rows, cols, int(cells_down), int(cells_across), rng)
    y, x = np.linspace(-1, 1, rows)[:, None], np.linspace(-1, 1, cols)
    noise += 1 - (y**2 + x**2)
    mask = np.zeros((height, width), bool)
    mask[there] = noise > np.quantile(noise, rng.uniform(0.5, 0.9))

    texture = np.roll(source, (rng.integers(height), rng.integers(width)), axis=(1, 2))
    texture = texture[:, :: rng.choice([-1, 1]), :: rng.choice([-1, 1])].astype(np.float32)
    opacity = rng.uniform(0.3, 1.0)
    shown = (1 - opacity) * image + opacity * _retoned(texture, rng)
    return Blend(np.where(mask, shown.round().astype(np.uint8), image), mask, box_of(mask))


def perlin_noise(height: int, width: int, rows: int, cols: int, rng: np.random.Generator) -> np.ndarray:
    """Gradient noise (Perlin, "Improving noise", SIGGRAPH 2002) on a lattice of `rows` x `cols` cells.

    Returns:
        (height, width) float64 in [-1, 1], 0 at the corners of the cells.
    """
    angles = rng.uniform(0, 2 * np.pi, (rows + 1, cols + 1))
    y, x = (np.arange(height) + 0.5) * rows / height, (np.arange(width) + 0.5) * cols / width
    row, col = y.astype(int), x.astype(int)
    y, x = (y - row)[:, None], (x - col)[None]
    corners = {}
    for down in (0, 1):
        for right in (0, 1):
            angle = angles[np.ix_(row + down, col + right)]
            corners[down, right] = np.sin(angle) * (y - down) + np.cos(angle) * (x - right)
    ease_y, ease_x = (t**3 * (t * (6 * t - 15) + 10) for t in (y, x))
    top = corners[0, 0] + ease_x * (corners[0, 1] - corners[0, 0])
    bottom = corners[1, 0] + ease_x * (corners[1, 1] - corners[1, 0])
    return np.sqrt(2) * (top + ease_y * (bottom - top))


def _place(height: int, width: int, rows: int, cols: int, rng: np.random.Generator) -> tuple[slice, slice]:
    """Somewhere in the image, a rectangle of `rows` x `cols` pixels."""
    top, left = rng.integers(height - rows + 1), rng.integers(width - cols + 1)
    return slice(top, top + rows), slice(left, left + cols)


def _retoned(texture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Contrast and brightness altered, and by enough for a patch of the same material to show."""
    middle = texture.mean()
    contrast = rng.uniform(0.7, 1.3)
    shift = rng.choice([-1, 1]) * rng.uniform(12, 70)
    # Away from the end of the scale, or nothing would change there.
    shift = -abs(shift) if middle > 200 else abs(shift) if middle < 55 else shift
    return ((texture - middle) * contrast + middle + shift).clip(0, 255)


def _check(image: np.ndarray, source: np.ndarray) -> None:
    if image.ndim != 3 or image.dtype != np.uint8 or image.shape != source.shape or source.dtype != np.uint8:
        raise DataError(
            f"an image {image.shape} {image.dtype} can't be blended with {source.shape} {source.dtype}: "
            "give two of one shape (C, H, W), uint8"
        )
    if min(image.shape[1:]) < 8:
        raise DataError(
            f"an image of {image.shape[1]} x {image.shape[2]} has no room for a defect: give 8 x 8 or more"
        )
