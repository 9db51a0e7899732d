"""Images changed in the form that they have: Pillow's of any mode, or arrays of 8 or 16 bits or floats."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from magical_hub.augmentation.image_spec import WIDE_TYPES, in_mode
from magical_hub.augmentation.patches import Patch
from magical_hub.defects.painting import Painted
from magical_hub.errors import ConfigError

ROUNDING = 0.5 / 65535
"""What floats may leave 0..1 by."""


def replaced(image: Any, by: Image.Image) -> Any:
    """The image `by` in the form of `image`: Pillow's, or an array (H, W[, C])."""
    if isinstance(image, Image.Image):
        _check_size(image.size, by.size)
        if {by.mode, image.mode} & WIDE_TYPES.keys():
            _check_mode(image.mode, by.mode)
        return in_mode(by, image.mode)
    pixels = _pixels(image)
    new = np.asarray(by.convert("RGB") if by.mode == "P" else by)  # colours, and not their numbers
    _check_size(pixels.shape[1::-1], by.size)
    if new.dtype != pixels.dtype:
        new = new.astype(np.float64) * (_top(pixels) / _top(new))
    return _typed(_with_channels(new, pixels), pixels.dtype)


def added(image: Any, patch: Patch, size: tuple[int, int], mode: str) -> Any:
    """An image with a patch, which is in pixels of images of that size and mode."""
    if isinstance(image, Image.Image) and not {image.mode, mode} <= {"L", "RGB"}:
        _check_mode(image.mode, mode)
    pixels = np.asarray(image) if isinstance(image, Image.Image) else _pixels(image)
    _check_size(pixels.shape[1::-1], size)
    levels = 65535 if mode.startswith("I") else 255
    same = isinstance(image, Image.Image) or pixels.dtype == np.dtype(WIDE_TYPES.get(mode, np.uint8))
    top = levels if same else _top(pixels)
    delta = np.zeros((*pixels.shape[:2], *patch.delta.shape[2:]))
    rows, cols = patch.mask.shape
    delta[patch.top : patch.top + rows, patch.left : patch.left + cols] = patch.delta
    delta *= top / levels
    # Signed pixels have no darkest value: those of the image bound them.
    low, high = (pixels.min(), max(top, pixels.max())) if pixels.dtype.kind == "i" else (0, top)
    changed = (pixels + _with_channels(delta, pixels)).clip(low, high)
    if isinstance(image, Image.Image):
        return Image.fromarray(changed.round().astype(pixels.dtype))
    return _typed(changed, pixels.dtype)


def painted(image: Any, paint: Callable[[Any], Painted]) -> tuple[Any, Painted]:
    """An image in the form that was given with defects painted on it, and what was painted.

    Args:
        image: Pillow's, or an array (H, W[, C]); floats from 0 to 1.
        paint: paints on an image of Pillow's or an array of 8 or 16 bits.
    """
    if isinstance(image, Image.Image):
        result = paint(image)
        return result.image, result
    pixels = _pixels(image)
    floats = pixels.dtype.kind == "f" and _top(pixels) == 1
    flat = pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels
    result = paint(np.rint(flat.clip(0, 1) * 65535).astype(np.uint16) if floats else flat)
    new = pixels.copy()
    values = result.image[result.changed]
    new[result.changed] = (values / 65535 if floats else values).reshape(new[result.changed].shape)
    return new, result


def check_scale(image: Any, white: float) -> None:
    """Refuse floats beside images of 16 bits that end at `white`: 1 may stand for that, or for 65535.

    Raises:
        ConfigError: saying so.
    """
    if isinstance(image, np.ndarray) and image.dtype.kind == "f" and white != 65535:
        raise ConfigError(
            f"an image holds floats, and images of the dataset end at {white:g} of 65535: whether 1 stands for the "
            "one or the other is not known; call this transform before images become floats"
        )


def _pixels(image: Any) -> np.ndarray:
    if not isinstance(image, np.ndarray):
        raise ConfigError(f"an image is a {type(image).__name__}: give Pillow's or an array")
    return image


def _typed(pixels: np.ndarray, dtype: np.dtype) -> np.ndarray:
    return (pixels.round() if np.issubdtype(dtype, np.integer) else pixels).astype(dtype)


def _with_channels(values: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Values (H, W) or (H, W, 3) with as many channels as pixels have."""
    if pixels.ndim == 2:
        return values if values.ndim == 2 else values.mean(2)
    if values.ndim == 2:
        values = values[..., None]
    return values.mean(2, keepdims=True) if pixels.shape[2] == 1 else np.broadcast_to(values, pixels.shape)


def _top(pixels: np.ndarray) -> float:
    """The value of white.

    Raises:
        ConfigError: where that is not known: of other types than 8 and 16 bits, and of floats that are not in 0..1
            (rounding errors of less than half a level of 16 bits apart).
    """
    if pixels.dtype in (np.uint8, np.uint16):
        return float(np.iinfo(pixels.dtype).max)
    if pixels.dtype == bool:
        return 1.0
    if pixels.dtype.kind != "f":
        raise ConfigError(f"an image holds {pixels.dtype} values: give 8 or 16 bits (uint8, uint16) or floats in 0..1")
    low, high = float(pixels.min(initial=0)), float(pixels.max(initial=0))
    if not (low > -ROUNDING and high < 1 + ROUNDING):
        raise ConfigError(
            f"an image holds floats from {low:.4g} to {high:.4g}, and must hold them from 0 to 1: call this transform "
            "before Normalize, or divide images by their greatest value"
        )
    return 1.0


def _check_mode(mode: str, wanted: str) -> None:
    if mode != wanted:
        raise ConfigError(f"an image has the mode {mode} and those of the pool {wanted}: give images of one mode")


def _check_size(size: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    if tuple(size) != tuple(wanted):
        raise ConfigError(
            f"an image is {size[0]} x {size[1]} and the pool {wanted[0]} x {wanted[1]} pixels: resize after this "
            "transform and not before"
        )
