"""Where a defect may be painted: where the target looks as the reference under the example does."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import cv2
import numpy as np

from magical_hub.defects.references import centred_squares, part_of, plain_squares
from magical_hub.defects.units import Unit

ALIKE = 1.25
"""Of the smallest difference to the surroundings near the old place: what is below it matches as well."""
DETAIL = 6
"""Pixels that the shorter side of an example keeps where places are looked for in the whole image."""
EDGE = 0.03
"""Of the sides of an image: what comes so near to an edge ends there."""
TRIES = 4
"""Places that are looked at closely."""
_SECOND_DIFFERENCES = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)


class Target:
    """An image in which places are looked for: its grey values, and reductions of them that are kept.

    Args:
        grey: (H, W) float32 in 0..1.
    """

    def __init__(self, grey: np.ndarray) -> None:
        self.grey = grey
        self.size = grey.shape
        self.variance = max(float(grey.var()), 1e-6)
        self._reduced: dict[int, np.ndarray] = {1: grey}

    @cached_property
    def noise(self) -> float:
        """See `noise_of`."""
        return noise_of(self.grey)

    def reduced(self, factor: int) -> np.ndarray:
        """The grey values with 1 / factor of the pixels a side."""
        if factor not in self._reduced:
            self._reduced[factor] = reduce(self.grey, factor)
        return self._reduced[factor]


def noise_of(grey: np.ndarray) -> float:
    """The standard deviation of white noise, from differences that edges leave at 0 (Immerkaer, 1996).

    The median of their sizes takes the place of the mean, which few edges would raise.

    Args:
        grey: (H, W) float32.
    """
    apart = np.abs(cv2.filter2D(grey, cv2.CV_32F, _SECOND_DIFFERENCES)[1:-1:2, 1:-1:2])
    return float(np.median(apart)) / (0.6745 * 6) if apart.size else 0.0


def reduce(array: np.ndarray, factor: int) -> np.ndarray:
    """Means over blocks of factor x factor pixels, about."""
    if factor == 1:
        return array
    size = max(1, round(array.shape[1] / factor)), max(1, round(array.shape[0] / factor))
    return cv2.resize(array, size, interpolation=cv2.INTER_AREA)


def place_near(
    target: Target, unit: Unit, reference: np.ndarray, reach: float, rng: np.random.Generator
) -> tuple[int, int]:
    """A place at most `reach` pixels from the old one, drawn from those that match about as well as the best.

    Args:
        target: of the size of the image that the unit comes from.
        unit: what is to be placed; it may be cut off by the edge of the image.
        reference: (h, w) float32: grey values of the unit's reference.
        reach: pixels, in each direction.
        rng: all that is random comes from it.

    Returns:
        Row and column of the unit's top left pixel; they may be negative.
    """
    height, width = unit.size
    top = round((unit.centre[0] + 0.5) * target.size[0] - height / 2)
    left = round((unit.centre[1] + 0.5) * target.size[1] - width / 2)
    pick, far = rng.random(), int(reach)
    if far < 1:
        return top, left
    allowed = _kept_at_edges(unit, target.size, (top, left))
    around = part_of(target.grey, top - far, left - far, height + 2 * far, width + 2 * far)
    factor, weights = _factor(unit), unit.weights.astype(np.float32)
    scores = centred_squares(reduce(around, factor), reduce(reference, factor), reduce(weights, factor))
    downs, rights = (np.arange(count) * factor - far for count in scores.shape)
    free = ((downs >= allowed[0]) & (downs <= allowed[2]))[:, None] & (rights >= allowed[1]) & (rights <= allowed[3])
    scores = np.where(free, scores, np.inf)
    good = np.flatnonzero(scores <= ALIKE * scores.min())
    row, col = np.unravel_index(good[int(pick * len(good))], scores.shape)
    down, right, _ = _closely(around, reference, weights, row * factor, col * factor, factor, centred_squares)
    moves = np.clip([down - far, right - far], allowed[:2], allowed[2:])
    return top + int(moves[0]), left + int(moves[1])


def _factor(unit: Unit) -> int:
    """By how much an example is reduced where places are looked for coarsely."""
    return int(np.clip(min(unit.size) // DETAIL, 1, 16))


def _kept_at_edges(unit: Unit, size: tuple[int, int], place: tuple[int, int]) -> np.ndarray:
    """How far a unit may be moved: up, left (0 or less), down, right; what ends at an edge stays there."""
    top, left, bottom, right = _bounds(unit.numbers > 0)
    top, left, bottom, right = top + place[0], left + place[1], bottom + place[0], right + place[1]
    near = EDGE * size[0], EDGE * size[1]
    far = float(max(size))
    return np.array(
        [
            0 if bottom >= size[0] - near[0] else -far,
            0 if right >= size[1] - near[1] else -far,
            0 if top <= near[0] else far,
            0 if left <= near[1] else far,
        ]
    )


def place_anywhere(
    target: Target,
    unit: Unit,
    reference: np.ndarray,
    taken: np.ndarray,
    fit: float,
    adapts: bool,
    rng: np.random.Generator,
) -> tuple[int, int] | None:
    """A place whose surroundings match, or None where there is none.

    Args:
        target: an image of any size.
        unit: what is to be placed, whole.
        reference: (h, w) float32: grey values of the unit's reference.
        taken: (N, 4): top, left, bottom, right of what is painted already.
        fit: greatest mean squared difference beyond that of two images with the target's noise, as a share of the
            variance of the target.
        adapts: whether the unit will be adapted to the brightness of its place, which then need not match.
        rng: all that is random comes from it.

    Returns:
        Row and column of the unit's top left pixel.
    """
    height, width = unit.size
    picks = rng.random(TRIES)
    if height > target.size[0] or width > target.size[1]:
        return None
    factor = _factor(unit)
    small, weights = reduce(reference, factor), reduce(unit.weights.astype(np.float32), factor)
    whole = target.reduced(factor)
    if small.shape[0] > whole.shape[0] or small.shape[1] > whole.shape[1]:
        return None
    apart = centred_squares if adapts else plain_squares
    most = fit * target.variance + 2 * target.noise**2
    scores = apart(whole, small, weights)
    good = np.flatnonzero(scores.ravel() <= most)
    bounds = _bounds(unit.numbers > 0)
    best: tuple[float, int, int] | None = None
    for pick in picks if good.size else ():
        row, col = divmod(int(good[int(pick * good.size)]), scores.shape[1])
        top, left, score = _closely(
            target.grey, reference, unit.weights.astype(np.float32), row * factor, col * factor, factor, apart
        )
        free = not len(taken) or not _overlaps(bounds, top, left, taken)
        if free and score <= most and (best is None or score < best[0]):
            best = (score, top, left)
    return best and best[1:]


def place_freely(
    size: tuple[int, int], unit: Unit, taken: np.ndarray, rng: np.random.Generator
) -> tuple[int, int] | None:
    """A place drawn from all where the defects lie in the image and on no other one; None where none is found.

    Args:
        size: height and width of the image.
        unit, taken, rng: as of `place_anywhere`.

    Returns:
        Row and column of the unit's top left pixel; they may be negative, since only its defects must lie inside.
    """
    picks = rng.random((TRIES, 2))
    bounds = top, left, bottom, right = _bounds(unit.numbers > 0)
    room = size[0] - (bottom - top), size[1] - (right - left)
    if min(room) < 0:
        return None
    for pick in picks:
        row, col = int(pick[0] * (room[0] + 1)) - top, int(pick[1] * (room[1] + 1)) - left
        if not len(taken) or not _overlaps(bounds, row, col, taken):
            return row, col
    return None


def _closely(
    image: np.ndarray,
    reference: np.ndarray,
    weights: np.ndarray,
    top: int,
    left: int,
    reach: int,
    apart: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray],
) -> tuple[int, int, float]:
    """The best place within `reach` pixels, and its score."""
    height, width = reference.shape
    first_row, first_col = max(0, top - reach), max(0, left - reach)
    rows = slice(first_row, min(image.shape[0], top + reach + height))
    cols = slice(first_col, min(image.shape[1], left + reach + width))
    part = image[rows, cols]
    if part.shape[0] < height or part.shape[1] < width:  # rounding at the far edge
        first_row, first_col = min(first_row, image.shape[0] - height), min(first_col, image.shape[1] - width)
        part = image[first_row : first_row + height, first_col : first_col + width]
    scores = apart(part, reference, weights)
    row, col = np.unravel_index(int(scores.argmin()), scores.shape)
    return first_row + int(row), first_col + int(col), float(scores[row, col])


def _bounds(mask: np.ndarray) -> tuple[int, int, int, int]:
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(rows[0]), int(cols[0]), int(rows[-1]) + 1, int(cols[-1]) + 1


def _overlaps(bounds: tuple[int, int, int, int], top: int, left: int, taken: np.ndarray) -> bool:
    gap = 2
    apart = (
        (taken[:, 2] + gap <= top + bounds[0])
        | (taken[:, 0] >= top + bounds[2] + gap)
        | (taken[:, 3] + gap <= left + bounds[1])
        | (taken[:, 1] >= left + bounds[3] + gap)
    )
    return not bool(apart.all())
