"""An example is varied before it is painted; its mask and reference go along."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np

from magical_hub.defects.settings import PaintSettings
from magical_hub.defects.units import Unit


def varied(unit: Unit, settings: PaintSettings, rng: np.random.Generator, factor: float | None = None) -> Unit:
    """The unit mirrored, turned, scaled and warped by as much as the settings allow.

    Args:
        unit: what is varied.
        settings: how far.
        rng: all that is random comes from it, by the same number of draws whatever the settings are.
        factor: of size, instead of one that is drawn.
    """
    flips = rng.random(2) < 0.5
    quarters = int(rng.integers(4))
    scale = float(np.exp(rng.uniform(*np.log(settings.scale))))
    angle = float(rng.uniform(-1, 1)) * settings.turn
    if settings.mirrors:
        unit = _mirrored(unit, bool(flips[0]), bool(flips[1]))
    if settings.quarter_turns:
        unit = _turned(unit, quarters)
    scale = scale if factor is None else factor
    if scale != 1 or angle or settings.elastic:
        unit = _warped(unit, scale, angle, settings.elastic, rng)
    return unit


def _mirrored(unit: Unit, left_right: bool, up_down: bool) -> Unit:
    if not left_right and not up_down:
        return unit
    order = (slice(None, None, -1 if up_down else 1), slice(None, None, -1 if left_right else 1))
    y, x = unit.centre
    margins = unit.margins
    if left_right:
        x, margins = -x, margins[:, [2, 1, 0, 3]]
    if up_down:
        y, margins = -y, margins[:, [0, 3, 2, 1]]
    arrays: dict[str, Any] = {name: np.ascontiguousarray(getattr(unit, name)[order]) for name in ARRAYS}
    return replace(unit, centre=(y, x), margins=margins, **arrays)


def _turned(unit: Unit, quarters: int) -> Unit:
    """Turned counter-clockwise by so many quarters."""
    if quarters == 0:
        return unit
    y, x = unit.centre
    margins = unit.margins
    height, width = unit.image_size
    for _ in range(quarters):
        y, x = -x, y
        height, width = width, height
        margins = margins[:, [1, 2, 3, 0]]  # what was the top is the left, the right the top ...
    arrays: dict[str, Any] = {name: np.ascontiguousarray(np.rot90(getattr(unit, name), quarters)) for name in ARRAYS}
    return replace(unit, centre=(y, x), image_size=(height, width), margins=margins, **arrays)


def _warped(unit: Unit, scale: float, angle: float, elastic: float, rng: np.random.Generator) -> Unit:
    """Scaled and turned about its centre and displaced by smooth noise, in one resampling."""
    height, width = unit.size
    radians = np.deg2rad(angle)
    cos, sin = np.cos(radians) * scale, np.sin(radians) * scale
    new_height = int(np.ceil(abs(cos) * height + abs(sin) * width))
    new_width = int(np.ceil(abs(sin) * height + abs(cos) * width))
    y, x = np.mgrid[:new_height, :new_width].astype(np.float32)
    y, x = y - (new_height - 1) / 2, x - (new_width - 1) / 2
    cos, sin = np.cos(radians) / scale, np.sin(radians) / scale
    source_y = (cos * y + sin * x + (height - 1) / 2).astype(np.float32)
    source_x = (cos * x - sin * y + (width - 1) / 2).astype(np.float32)
    if elastic:
        cells = max(2, round(max(new_height, new_width) / 32) + 1)
        noise = rng.uniform(-elastic, elastic, (2, cells, cells)).astype(np.float32)
        source_y += cv2.resize(noise[0], (new_width, new_height), interpolation=cv2.INTER_CUBIC)
        source_x += cv2.resize(noise[1], (new_width, new_height), interpolation=cv2.INTER_CUBIC)

    def resampled(array: np.ndarray, how: int, border: int) -> np.ndarray:
        return cv2.remap(array, source_x, source_y, how, borderMode=border)

    smooth: dict[str, Any] = {
        name: resampled(getattr(unit, name), cv2.INTER_LINEAR, cv2.BORDER_REPLICATE)
        for name in ("pixels", "reference")
    }
    labels: dict[str, Any] = {
        name: resampled(getattr(unit, name), cv2.INTER_NEAREST, cv2.BORDER_CONSTANT)
        for name in ("numbers", "surroundings", "weights")
    }
    return replace(unit, margins=unit.margins * np.float32(scale), **smooth, **labels)


ARRAYS = ("pixels", "reference", "numbers", "surroundings", "weights")
"""Those of a unit."""
