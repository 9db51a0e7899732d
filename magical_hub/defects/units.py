"""What is painted at once: one defect, or the defects of one image that stay together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from magical_hub.defects.examples import Example, Window
from magical_hub.defects.pixels import grey
from magical_hub.defects.settings import PaintSettings

NEAR = 3
"""Pixels around a defect whose surroundings count most for its place."""
WEIGHTS = 5, 2
"""How much the pixels that are near, and all others, count for a place."""
BAND = 4
"""Pixels around a defect with which it is compared to see whether it is visible."""
FAINTEST = 1 / 255
"""The least deviation that surroundings are taken to have."""


@dataclass(frozen=True)
class Unit:
    """Defects that are painted at once, on the smallest rectangle that holds them and their surroundings.

    Attributes:
        categories: numbers of the classes, one per defect.
        margins: (N, 4) float: what the annotated boxes leave around the masks: left, top, right, bottom, in pixels.
        row: number of the image that they come from.
        centre: of the rectangle, from the centre of the image, as shares of its height and width.
        image_size: height and width of the image that they come from.
        pixels, reference: (h, w) or (h, w, 3), uint8 or uint16.
        numbers: (h, w) uint16: 0 nothing, else 1 + the number of a defect.
        surroundings: (h, w) uint8: 1 where reference and pixels show the product without any defect.
        weights: (h, w) uint8: how much a pixel of the reference counts for the place.
        contrasts: (N,) float32, one per defect: see `contrasts_of`.
        scale: factor of size since they were cut out.
    """

    categories: tuple[int, ...]
    margins: np.ndarray
    row: int
    centre: tuple[float, float]
    image_size: tuple[int, int]
    pixels: np.ndarray
    reference: np.ndarray
    numbers: np.ndarray
    surroundings: np.ndarray
    weights: np.ndarray
    contrasts: np.ndarray
    scale: float = 1.0

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        height, width = self.numbers.shape
        return height, width


def units_of(examples: Sequence[Example], settings: PaintSettings) -> list[Unit]:
    """The examples as they are painted: each for itself, or joined as the settings say."""
    if not settings.keep_together:
        return [join([example]) for example in examples]
    rows: dict[int, list[Example]] = {}
    for example in examples:
        rows.setdefault(example.row, []).append(example)
    units = []
    for members in rows.values():
        for group in _near(members, settings.together_within):
            units.append(join(group))
    return units


def join(examples: Sequence[Example]) -> Unit:
    """Examples of one image on the smallest rectangle that holds their windows."""
    places = [example.place for example in examples]
    top, left = min(place.top for place in places), min(place.left for place in places)
    bottom = max(place.top + place.height for place in places)
    right = max(place.left + place.width for place in places)
    first = examples[0]
    shape = (bottom - top, right - left, *first.pixels.shape[2:])
    pixels, reference = np.zeros(shape, first.pixels.dtype), np.zeros(shape, first.pixels.dtype)
    numbers = np.zeros(shape[:2], np.uint16)
    known, others = np.zeros(shape[:2], bool), np.zeros(shape[:2], bool)
    for number, example in enumerate(examples, start=1):
        place = example.place
        there = place.within(Window(top, left, *shape[:2]))
        pixels[there] = example.pixels
        fresh = ~known[there] | example.mask  # another window may hold the reference of its own defect here
        reference[there][fresh] = example.reference[fresh]
        numbers[there][example.mask] = number
        known[there] = True
        others[there] |= example.others
    defects = (numbers > 0).astype(np.uint8)
    near = cv2.dilate(defects, np.ones((2 * NEAR + 1,) * 2, np.uint8)) > 0
    edge = cv2.dilate(np.maximum(defects, others.astype(np.uint8)), np.ones((5, 5), np.uint8)) > 0
    others &= numbers == 0
    weights = np.where(near, *WEIGHTS).astype(np.uint8) * (known & ~others)
    height, width = first.image_size
    surroundings = (known & ~edge).astype(np.uint8)
    return Unit(
        tuple(example.category for example in examples),
        np.array([example.margins for example in examples], np.float32),
        first.row,
        ((top + bottom) / 2 / height - 0.5, (left + right) / 2 / width - 0.5),
        first.image_size,
        pixels,
        reference,
        numbers,
        surroundings,
        weights,
        contrasts_of(grey(pixels), numbers, surroundings, len(examples)),
    )


def contrasts_of(
    values: np.ndarray, numbers: np.ndarray, surroundings: np.ndarray, count: int, scale: float = 1.0
) -> np.ndarray:
    """How far the defects stand out: (mean inside - mean around) / deviation around, in a band of a few pixels.

    Args:
        values: (h, w) float32: grey values in 0..1.
        numbers: (h, w): 0 nothing, else 1 + the number of a defect.
        surroundings: (h, w): above 0 where the product is without defects.
        count: of the defects.
        scale: of their size, by which the band becomes wider above 1.

    Returns:
        (count,) float32; 0 for a defect without pixels or without surroundings.
    """
    band = int(BAND * max(1.0, scale))
    around = cv2.dilate(numbers.astype(np.float32), np.ones((2 * band + 1,) * 2, np.uint8))
    around = np.where((numbers == 0) & (surroundings > 0), around, 0).astype(np.int32).ravel()
    places = np.flatnonzero(around)
    around, beside = around[places], values.ravel()[places]
    areas = np.maximum(np.bincount(around, minlength=count + 1), 1)
    means = np.bincount(around, beside, count + 1) / areas
    squares = np.bincount(around, beside * beside, count + 1) / areas
    deviations = np.sqrt(np.maximum(squares - means**2, FAINTEST**2))
    places = np.flatnonzero(numbers)
    inside = numbers.ravel()[places]
    marked = np.bincount(inside, minlength=count + 1)
    within = np.bincount(inside, values.ravel()[places], count + 1) / np.maximum(marked, 1)
    there = (marked > 0) & (means > 0)
    return np.where(there, (within - means) / deviations, 0)[1:].astype(np.float32)


def _near(members: list[Example], within: float | None) -> list[list[Example]]:
    """Groups of defects, none further than `within` from the next; None: all of them."""
    if within is None or len(members) == 1:
        return [members]
    count = len(members)
    bounds = []
    for example in members:
        rows, cols = np.nonzero(example.mask)
        top, left = example.place.top, example.place.left
        bounds.append((rows.min() + top, cols.min() + left, rows.max() + top, cols.max() + left))
    box = np.array(bounds, float)
    gaps = np.maximum(box[:, None, :2] - box[None, :, 2:], 0)
    gaps = np.maximum(gaps, gaps.transpose(1, 0, 2))
    close = np.hypot(gaps[..., 0], gaps[..., 1]) <= within
    group = np.arange(count)
    for _ in range(count):  # the smallest number of a group spreads over it
        group = np.where(close, group[None], count).min(axis=1)
    return [[members[i] for i in np.flatnonzero(group == number)] for number in np.unique(group)]
