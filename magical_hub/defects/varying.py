"""An example is varied before it is painted; its mask, reference and box go along."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np

from magical_hub.defects.settings import PaintSettings
from magical_hub.defects.units import Unit


@dataclass(frozen=True)
class Variation:
    """One way to vary an example: mirrored, then turned by quarters, then the rest in one resampling.

    Attributes:
        left_right, up_down: whether it is mirrored.
        quarters: by how many it is turned, counter-clockwise.
        scale: factor of size.
        angle: in degrees, by which it is turned counter-clockwise.
        elastic: largest displacement of the warp, in pixels of the example.
        noise: seed of the warp.
    """

    left_right: bool
    up_down: bool
    quarters: int
    scale: float
    angle: float
    elastic: float
    noise: int

    @classmethod
    def drawn(cls, settings: PaintSettings, rng: np.random.Generator) -> Variation:
        """One that the settings allow."""
        flips = rng.random(2) < 0.5
        quarters = int(rng.integers(4))
        scale = float(np.exp(rng.uniform(*np.log(settings.scale))))
        angle = float(rng.uniform(-1, 1)) * settings.turn
        left_right, up_down = (bool(flip) and settings.mirrors for flip in flips)
        noise = int(rng.integers(2**63)) if settings.elastic else 0
        return cls(
            left_right, up_down, quarters if settings.quarter_turns else 0, scale, angle, settings.elastic, noise
        )


def varied(unit: Unit, variation: Variation) -> Unit:
    """The unit mirrored, turned, scaled and warped; its box, mask and reference go along."""
    unit = _oriented(unit, variation.left_right, variation.up_down, variation.quarters)
    if variation.scale != 1 or variation.angle or variation.elastic:
        unit = _warped(unit, variation)
    return unit


def _oriented(unit: Unit, left_right: bool, up_down: bool, quarters: int) -> Unit:
    """Mirrored, and then turned counter-clockwise by so many quarters."""
    if not (left_right or up_down or quarters):
        return unit
    y, x = unit.centre
    height, width = unit.image_size
    order = [0, 1, 2, 3]  # left, top, right, bottom
    if left_right:
        x, order = -x, [order[2], order[1], order[0], order[3]]
    if up_down:
        y, order = -y, [order[0], order[3], order[2], order[1]]
    for _ in range(quarters):
        y, x = -x, y
        height, width = width, height
        order = order[1:] + order[:1]  # what was the top is the left, the right the top ...
    # A quarter turn is a mirror and an exchange of the axes; `np.rot90` takes longer than all else here.
    rows = slice(None, None, -1 if up_down != (quarters in (2, 3)) else 1)
    cols = slice(None, None, -1 if left_right != (quarters in (1, 2)) else 1)
    arrays: dict[str, Any] = {}
    for name in ARRAYS:
        array = getattr(unit, name)[rows, cols]
        arrays[name] = np.ascontiguousarray(array.swapaxes(0, 1) if quarters % 2 else array)
    return replace(unit, centre=(y, x), image_size=(height, width), margins=unit.margins[:, order], **arrays)


def _warped(unit: Unit, variation: Variation) -> Unit:
    """Scaled and turned about its centre and displaced by smooth noise, in one resampling."""
    height, width = unit.size
    scale, elastic = variation.scale, variation.elastic
    radians = np.deg2rad(variation.angle)
    cos, sin = np.cos(radians) * scale, np.sin(radians) * scale
    new_height = int(np.ceil(abs(cos) * height + abs(sin) * width))
    new_width = int(np.ceil(abs(sin) * height + abs(cos) * width))
    y, x = np.mgrid[:new_height, :new_width].astype(np.float32)
    y, x = y - (new_height - 1) / 2, x - (new_width - 1) / 2
    cos, sin = np.cos(radians) / scale, np.sin(radians) / scale
    source_y = (cos * y + sin * x + (height - 1) / 2).astype(np.float32)
    source_x = (cos * x - sin * y + (width - 1) / 2).astype(np.float32)
    if elastic:
        cells = max(2, round(max(height, width) / 32) + 1)
        noise = np.random.default_rng(variation.noise).uniform(-elastic, elastic, (2, cells, cells)).astype(np.float32)
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
    margins = np.roll(unit.margins, -round(variation.angle / 90), axis=1)  # to the sides that they are nearest to now
    return replace(unit, margins=margins * np.float32(scale), scale=unit.scale * scale, **smooth, **labels)


ARRAYS = ("pixels", "reference", "numbers", "surroundings", "weights")
"""Those of a unit."""
