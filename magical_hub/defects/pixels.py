"""Pixels of 8 and 16 bits, grey and RGB, as arrays (H, W) or (H, W, 3), and their grey values in 0..1."""

from __future__ import annotations

import cv2
import numpy as np
from PIL import Image

from magical_hub.errors import DataError

FULL = 65535
"""White in 16 bits, as defects are kept, placed and composed; images may have less: see `stretched`."""


def as_pixels(image: Image.Image | np.ndarray, name: str) -> np.ndarray:
    """The pixels of an image: (H, W) or (H, W, 3), uint8 or uint16.

    Raises:
        DataError: where it is of another kind.
    """
    pixels = np.asarray(image)
    if isinstance(image, Image.Image) and image.mode not in ("L", "RGB", "I;16"):
        raise DataError(f"{name} has the mode {image.mode}: convert it to L, RGB or I;16")
    if pixels.dtype not in (np.uint8, np.uint16) or not (
        pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 3)
    ):
        raise DataError(f"{name} has pixels of {pixels.shape} {pixels.dtype}: give 8 or 16 bits, (H, W) or (H, W, 3)")
    if 0 in pixels.shape:
        raise DataError(f"{name} has no pixels: its shape is {pixels.shape}")
    return pixels


def full_scale(pixels: np.ndarray) -> float:
    """The largest value of the type: 255 or 65535."""
    return 255.0 if pixels.dtype == np.uint8 else float(FULL)


def stretched(pixels: np.ndarray, white: int) -> np.ndarray:
    """Pixels of 16 bits whose values end at `white`, at those that end at FULL; pixels of 8 bits as they are."""
    if pixels.dtype == np.uint8 or white == FULL:
        return pixels
    return np.rint(np.minimum(pixels, white) * np.float64(FULL / white)).astype(np.uint16)


def restored(pixels: np.ndarray, white: int) -> np.ndarray:
    """The reverse of `stretched`, exact for the values that it gave."""
    if pixels.dtype == np.uint8 or white == FULL:
        return pixels
    return np.rint(pixels * np.float64(white / FULL)).astype(np.uint16)


def grey(pixels: np.ndarray) -> np.ndarray:
    """(H, W) float32 in 0..1, of pixels of 8 or 16 bits."""
    scale = np.float32(1 / full_scale(pixels))
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2GRAY)
    return pixels.astype(np.float32) * scale


def in_channels(pixels: np.ndarray, channels: int) -> np.ndarray:
    """Pixels in one or three channels: grey is repeated, RGB becomes luma (of the same type)."""
    if channels == 3:
        return pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)
    return pixels if pixels.ndim == 2 else cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2GRAY)
