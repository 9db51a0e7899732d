"""A defect becomes part of a target: nothing outside its soft mask changes."""

from __future__ import annotations

import cv2
import numpy as np

from magical_hub.defects.pixels import full_scale, in_channels
from magical_hub.defects.settings import PaintSettings
from magical_hub.defects.units import Unit

FIELD = 64
"""Pixels of the longer side of the field of brightness by which a defect is adapted to its target."""
REACHES = ((1.0, 1.5), (0.02, 6.0))
"""Weights and standard deviations (in pixels of the field) by which surroundings count: near ones above all."""
POWER = 4
"""Of the mean by which surroundings are compared: the bright side of an edge counts, not what is dark beyond it."""
DARKEST = 0.02
"""Of full scale: what is added before brightnesses are divided."""


def composed(
    target: np.ndarray, unit: Unit, inside: tuple[slice, slice], settings: PaintSettings, strength: float
) -> np.ndarray:
    """The target with the defects of a unit.

    Args:
        target: (h, w) or (h, w, 3), uint8 or uint16: the part of the image under the unit.
        unit: the defects.
        inside: the rows and columns of the unit that are in the image.
        settings: composition and feather.
        strength: factor of the change.

    Returns:
        As `target`; equal to it wherever the unit has no defect.
    """
    numbers = unit.numbers[inside]
    where = numbers > 0
    channels = 1 if target.ndim == 2 else 3
    alpha = _soft(unit.numbers, settings.feather)[inside][where] * np.float32(strength)
    pixels = _values(unit.pixels[inside], channels)
    scale = np.float32(full_scale(target))
    before = target[where].astype(np.float32) / scale
    if channels == 3:
        alpha = alpha[:, None]
    if settings.composition == "copied":
        after = before + alpha * (pixels[where] - before)
    elif settings.composition == "matched":
        gain = _gain(target.astype(np.float32) / scale, pixels, unit.surroundings[inside])[where]
        after = before + alpha * (pixels[where] * gain - before)
    else:
        reference = _values(unit.reference[inside], channels)[where]
        if settings.composition == "difference":
            after = before + alpha * (pixels[where] - reference)
        else:
            ratio = (pixels[where] + DARKEST) / (reference + DARKEST)
            after = (before + DARKEST) * ratio**alpha - DARKEST
    painted = target.copy()
    painted[where] = np.rint(after * scale).clip(0, scale).astype(target.dtype)
    return painted


def _values(pixels: np.ndarray, channels: int) -> np.ndarray:
    """Pixels in one or three channels: float32 in 0..1."""
    return in_channels(pixels, channels).astype(np.float32) * np.float32(1 / full_scale(pixels))


def _soft(numbers: np.ndarray, feather: float) -> np.ndarray:
    """The soft mask: 1 inside and along thin lines, falling over `feather` pixels to the edge of the mask."""
    mask = (numbers > 0).astype(np.uint8)
    if not feather:
        return mask.astype(np.float32)
    depth = cv2.distanceTransform(mask, cv2.DIST_L2, 3)
    deepest = np.full(int(numbers.max(initial=0)) + 1, 1e-6, np.float32)
    np.maximum.at(deepest, numbers[mask > 0], depth[mask > 0])
    return (depth / np.minimum(deepest, np.float32(feather + 1))[numbers]).clip(0, 1)


def _gain(target: np.ndarray, pixels: np.ndarray, surroundings: np.ndarray) -> np.ndarray:
    """A smooth field by which the surroundings of the example become as bright as those of the target."""
    height, width = surroundings.shape
    total = float(surroundings.sum())
    if total < 1:
        return np.ones_like(pixels)
    surroundings = surroundings.astype(np.float32)
    factor = max(1.0, max(height, width) / FIELD)
    size = max(1, round(width / factor)), max(1, round(height / factor))
    share = surroundings if target.ndim == 2 else surroundings[..., None]
    fields = []
    for image in (target, pixels):
        weighted = share * image**POWER
        mean = weighted.sum(axis=(0, 1)) / total
        small = cv2.resize(weighted, size, interpolation=cv2.INTER_AREA)
        smooth = sum(np.float32(weight) * cv2.GaussianBlur(small, (0, 0), sigma) for weight, sigma in REACHES)
        fields.append(smooth + np.float32(0.001) * mean.astype(np.float32))  # which counts where none is near
    gain = ((fields[0] + 1e-6) / (fields[1] + 1e-6)) ** np.float32(1 / POWER)
    return cv2.resize(gain.clip(0.5, 2.0), (width, height), interpolation=cv2.INTER_LINEAR)
