"""Defects on one image: drawn, varied, placed, composed, and labelled by what changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import cv2
import numpy as np
from PIL import Image

from magical_hub.boxes import Box, box_of
from magical_hub.data.images import without_copies
from magical_hub.defects.composing import composed
from magical_hub.defects.pixels import as_pixels, full_scale, grey, in_channels, restored, stretched
from magical_hub.defects.placing import Target, place_anywhere, place_freely, place_near
from magical_hub.defects.settings import FACTORS, PaintSettings
from magical_hub.defects.units import Unit, contrasts_of
from magical_hub.defects.varying import Variation, varied
from magical_hub.errors import AugmentationError, DataError

TRIES = 8
"""Examples that are tried for one defect."""
ALMOST = 1.1
"""The factor of size below which a defect that fits into its box is left as large as it is."""
FAINT, CLEAR = 0.25, 1.0
"""Contrasts (see `contrasts_of`) below which nothing is visible, and from which on everything is."""


@dataclass
class Painted:
    """An image with defects.

    Attributes:
        image: of the type and mode of the target.
        objects: one dictionary per defect: `bbox` (x, y, w, h in pixels) and `category`, the name of its class.
        mask: (H, W) uint8: 0 where nothing changed, else 1 + the number of the class.
        changed: (H, W) bool: the pixels that differ from the target; all of them are in the mask.
        dropped: how many defects were left out, by reason.
    """

    image: Any
    objects: list[dict[str, Any]]
    mask: np.ndarray
    changed: np.ndarray
    dropped: Counter[str] = field(default_factory=Counter)


class Canvas:
    """One target while defects are put onto it.

    Args:
        image: the target.
        reference: the same place without defects, where the target has one: places are looked for in it.
        classes: names of the classes.
        settings: how defects are put onto it.
        in_colour: whether some of the defects are; an image whose channels are equal keeps three for them.
        white: the greatest value of images of 16 bits.
    """

    def __init__(
        self,
        image: Any,
        reference: Any,
        classes: Sequence[str],
        settings: PaintSettings,
        in_colour: bool,
        white: int,
    ) -> None:
        self._given = image
        pixels = as_pixels(image, "the image")
        self._channels = 1 if pixels.ndim == 2 else 3
        self._pixels, self._white = pixels if in_colour else without_copies(pixels), white
        self._before = stretched(self._pixels, white)
        self._after = self._before.copy()
        self.size: tuple[int, int] = (self._before.shape[0], self._before.shape[1])
        looks = self._before if reference is None else stretched(as_pixels(reference, "the reference"), white)
        if looks.shape[:2] != self.size:
            raise DataError(
                f"the reference is {looks.shape[0]} x {looks.shape[1]} and the image {self.size[0]} x {self.size[1]}: "
                "give one of the same size"
            )
        self._target = Target(grey(looks))
        self._classes, self._settings = classes, settings
        self._adapts = settings.composition != "difference"  # to the brightness of a place
        self._mask = np.zeros(self.size, np.uint8)
        self.objects: list[dict[str, Any]] = []
        self._taken = np.zeros((0, 4), int)
        self.dropped: Counter[str] = Counter()

    def paint(self, units: Sequence[Unit], rng: np.random.Generator) -> bool:
        """Put one of these units, the first of several tries that matches somewhere; False where none does."""
        reason = "no place"
        for closeness in np.linspace(0.5, 1.0, TRIES):  # the closest places first
            unit = varied(units[int(rng.integers(len(units)))], Variation.drawn(self._settings, rng))
            if not unit.numbers.any():
                continue
            place = self._place(unit, float(closeness), rng)
            if place is None:
                continue
            if self.put(unit, place, rng):
                return True
            reason = "not visible"
        self.dropped[reason] += 1
        return False

    def _place(self, unit: Unit, closeness: float, rng: np.random.Generator) -> tuple[int, int] | None:
        settings = self._settings
        if settings.max_shift is not None:
            return place_near(self._target, unit, grey(unit.reference), settings.max_shift, rng)
        if settings.fit is None:
            return place_freely(self.size, unit, self._taken, rng)
        fit = closeness * settings.fit
        return place_anywhere(self._target, unit, grey(unit.reference), self._taken, fit, self._adapts, rng)

    def paint_into(self, units: Sequence[Unit], bbox: Box, rng: np.random.Generator) -> bool:
        """Put one of these defects into a box, as large as it fits; False where none can be seen there.

        Raises:
            AugmentationError: where no factor of size that is allowed makes one of them fit.
        """
        needed = []
        for number in rng.permutation(len(units)):
            variation, factor = self._fitting(units[int(number)], bbox, rng)
            needed.append(factor)
            if not FACTORS[0] <= factor <= FACTORS[1]:
                continue
            unit = varied(units[int(number)], replace(variation, scale=1.0 if 1 <= factor < ALMOST else factor))
            height, width, middle = self._bounds(unit)
            place = round(bbox[1] + bbox[3] / 2 - middle[0]), round(bbox[0] + bbox[2] / 2 - middle[1])
            if height and width and self.put(unit, place, rng):
                return True
            self.dropped["not visible"] += 1
        if not any(FACTORS[0] <= factor <= FACTORS[1] for factor in needed):
            closest = min(needed, key=lambda factor: abs(np.log(max(factor, 1e-9))))
            raise AugmentationError(
                f"the box {tuple(round(side, 1) for side in bbox)} has another size than the defects of its class, "
                f"which would be scaled by {closest:.2g}: give a bbox for which {FACTORS[0]:g} to {FACTORS[1]:g} "
                "is enough"
            )
        return False

    def _fitting(self, unit: Unit, bbox: Box, rng: np.random.Generator) -> tuple[Variation, float]:
        """A variation at its own size, lying or upright as the box is, and the factor by which it then fits."""
        drawn = replace(Variation.drawn(self._settings, rng), scale=1.0)
        found = []
        for more in (0, 1) if self._settings.quarter_turns else (0,):
            variation = replace(drawn, quarters=drawn.quarters + more)
            height, width, _ = self._bounds(varied(unit, variation))
            found.append((variation, min(bbox[3] / height, bbox[2] / width) if height and width else 0.0))
        return max(found, key=lambda one: one[1])

    def _bounds(self, unit: Unit) -> tuple[float, float, tuple[float, float]]:
        """Height, width and middle of the box of a unit of one defect, margins included; 0 where nothing is left."""
        if not unit.numbers.any():
            return 0.0, 0.0, (0.0, 0.0)
        x, y, w, h = box_of(unit.numbers > 0)
        left, top, right, bottom = (float(margin) for margin in self._margins(unit)[0])
        return h + top + bottom, w + left + right, (y + (h + bottom - top) / 2, x + (w + right - left) / 2)

    def put(self, unit: Unit, place: tuple[int, int], rng: np.random.Generator) -> bool:
        """Compose a unit at a place; what cannot be seen there is left out. False where nothing is left."""
        settings = self._settings
        strength = float(rng.uniform(*settings.strength))
        top, left = place
        height, width = unit.size
        rows = slice(max(0, top), min(self.size[0], top + height))
        cols = slice(max(0, left), min(self.size[1], left + width))
        if rows.start >= rows.stop or cols.start >= cols.stop:
            return False
        inside = slice(rows.start - top, rows.stop - top), slice(cols.start - left, cols.stop - left)
        numbers = unit.numbers[inside]
        before = self._after[rows, cols]
        after = composed(before, unit, inside, settings, strength)
        keep = self._visible(unit, inside, before, after, strength)
        keep[1:] &= ~np.isin(np.arange(1, len(keep)), numbers[self._mask[rows, cols] > 0])
        if not keep.any():
            return False
        kept = keep[numbers]
        differs = before != after
        differs = (differs if differs.ndim == 2 else differs.any(axis=2)) & kept
        label = kept & (cv2.morphologyEx(differs.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8)) > 0)
        self._after[rows, cols][differs] = after[differs]
        categories = np.array([0, *(category + 1 for category in unit.categories)], np.uint8)
        self._mask[rows, cols][label] = categories[numbers[label]]
        margins = self._margins(unit)
        for number in np.flatnonzero(keep):
            there = np.nonzero(label & (numbers == number))
            box = _box(there, (rows.start, cols.start), margins[number - 1], self.size)
            self.objects.append({"bbox": box, "category": self._classes[unit.categories[number - 1]]})
            x, y, w, h = box
            self._taken = np.vstack([self._taken, [[int(y), int(x), int(np.ceil(y + h)), int(np.ceil(x + w))]]])
        return True

    def finish(self) -> Painted:
        """The image and its labels."""
        after = np.where(self._before != self._after, restored(self._after, self._white), self._pixels)
        differs = self._pixels != after
        differs = differs if differs.ndim == 2 else differs.any(axis=2)
        after = in_channels(after, self._channels)
        image = Image.fromarray(after) if isinstance(self._given, Image.Image) else after
        return Painted(image, self.objects, self._mask, differs, self.dropped)

    def _visible(
        self, unit: Unit, inside: tuple[slice, slice], before: np.ndarray, after: np.ndarray, strength: float
    ) -> np.ndarray:
        """Which defects of a unit can be seen: (1 + N,) bool, the first False."""
        count = len(unit.categories) + 1
        marked = np.flatnonzero(unit.numbers)
        numbers = unit.numbers.ravel()[marked]
        before_after = _apart(unit.pixels, unit.reference, marked) / full_scale(unit.pixels)
        expected = np.bincount(numbers, before_after, count) * strength
        whole = np.bincount(numbers, minlength=count)
        clipped = unit.numbers[inside]
        marked = np.flatnonzero(clipped)
        numbers = clipped.ravel()[marked]
        change = _apart(after, before, marked) / full_scale(before)
        share = np.bincount(numbers, minlength=count) / np.maximum(whole, 1)
        keep = (share >= 0.5) & (np.bincount(numbers, change > 0, count) >= 3)
        if self._adapts:
            contrasts = contrasts_of(grey(after), clipped, unit.surroundings[inside], count - 1, unit.scale)
            own = np.maximum(np.abs(unit.contrasts) * self._settings.visible, FAINT).clip(max=CLEAR)
            keep[1:] &= np.where(unit.contrasts == 0, True, contrasts * np.sign(unit.contrasts) >= own * strength)
        else:
            keep &= np.bincount(numbers, change, count) >= self._settings.visible * expected * share
        keep[0] = False
        return keep

    def _margins(self, unit: Unit) -> np.ndarray:
        return unit.margins if self._settings.boxes == "annotated" else np.zeros_like(unit.margins)


def _apart(a: np.ndarray, b: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Mean absolute difference over channels at places (flat numbers of pixels)."""
    shape = (-1,) if a.ndim == 2 else (-1, 3)
    apart = np.abs(a.reshape(shape)[places].astype(np.float32) - b.reshape(shape)[places].astype(np.float32))
    return apart if a.ndim == 2 else apart.mean(axis=1)


def _box(there: tuple[np.ndarray, ...], offset: tuple[int, int], margins: np.ndarray, size: tuple[int, int]) -> Box:
    """The box around pixels, with margins, inside the image."""
    left, top, right, bottom = (float(value) for value in margins)
    y0, x0 = max(0.0, there[0].min() + offset[0] - top), max(0.0, there[1].min() + offset[1] - left)
    y1 = min(float(size[0]), there[0].max() + 1 + offset[0] + bottom)
    x1 = min(float(size[1]), there[1].max() + 1 + offset[1] + right)
    return float(x0), float(y0), float(x1 - x0), float(y1 - y0)
