"""What the place of a defect looks like without it.

The image of a reference column, moved by up to 3 pixels, is taken where it fits a ring around the defect: it alone
shows what the defect covers. Otherwise the smallest error in the ring decides between it, the good image that fits
best, moved by a few pixels and adapted in brightness and contrast, and the surroundings continued inwards (Telea, "An
image inpainting technique based on the fast marching method", Journal of Graphics Tools, 2004).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from magical_hub.defects.examples import Window
from magical_hub.defects.pixels import full_scale, grey, in_channels

COLUMN_REACH = 3
"""Pixels by which a reference of a column may lie beside its image."""
GOOD_REACH = 4
"""Pixels by which a good image may lie beside another one."""
CLOSELY = 4
"""How many good images are tried closely, of all that are compared coarsely."""
FINE = 96
"""The most pixels of the longer side of a window that is compared closely."""
COARSE = 32
"""The most pixels of the longer side of a window in the coarse comparison."""
TRUSTED = 0.05
"""Of full scale: a reference of a column whose error in the ring is smaller is taken without a look at others."""
DIRECT = 11
"""The most pixels of the longer side of a template whose products are summed directly."""


class Reference(NamedTuple):
    """The window without the defect, its mean absolute error in the ring as a share of full scale, and its kind."""

    pixels: np.ndarray
    error: float
    kind: str


class GoodImages:
    """The good images among which references are looked for.

    Args:
        images: their pixels, at most a few hundred.
        aligned: whether the same place is the same part of the product in all of them.
    """

    def __init__(self, images: Sequence[np.ndarray], aligned: bool) -> None:
        self.images, self.aligned = list(images), aligned
        self._greys = [grey(image) for image in self.images]

    def best(self, pixels: np.ndarray, window: Window, ring: np.ndarray) -> Reference | None:
        """The place of a good image that fits best around a defect; None where none is large enough."""
        there = grey(pixels)
        places = self._coarse(there, window, ring)
        found = [place for number, rows, cols in places if (place := self._fine(there, number, rows, cols, ring))]
        if not found:
            return None
        _, number, top, left = min(found)
        source = self.images[number][top : top + window.height, left : left + window.width]
        source = in_channels(source, 1 if pixels.ndim == 2 else 3)
        adapted = _adapted(source, pixels, ring)
        return Reference(adapted, _error(pixels, adapted, ring), "good image")

    def _coarse(self, there: np.ndarray, window: Window, ring: np.ndarray) -> list[tuple[int, slice, slice]]:
        """Parts of good images in which to look closely."""
        height, width = there.shape
        reach = GOOD_REACH
        candidates = []
        factor = max(1.0, max(height, width) / COARSE)
        size = (max(2, round(width / factor)), max(2, round(height / factor)))
        small = cv2.resize(there, size, interpolation=cv2.INTER_AREA)
        weight = cv2.resize(ring.astype(np.float32), size, interpolation=cv2.INTER_AREA)
        for number, whole in enumerate(self._greys):
            if whole.shape[0] < height or whole.shape[1] < width:
                continue
            if self.aligned:
                at = whole[window.slices]
                if at.shape != there.shape:
                    continue
                error = _standardised_error(small, cv2.resize(at, size, interpolation=cv2.INTER_AREA), weight)
                top, left = window.top, window.left
            else:
                shape = (max(size[0], round(whole.shape[1] / factor)), max(size[1], round(whole.shape[0] / factor)))
                reduced = cv2.resize(whole, shape, interpolation=cv2.INTER_AREA)
                scores = centred_squares(reduced, small, weight)
                row, col = np.unravel_index(int(scores.argmin()), scores.shape)
                error, top, left = float(scores[row, col]), round(row * factor), round(col * factor)
                reach = GOOD_REACH + int(np.ceil(factor))
            rows = slice(max(0, top - reach), min(whole.shape[0], top + height + reach))
            cols = slice(max(0, left - reach), min(whole.shape[1], left + width + reach))
            candidates.append((error, number, rows, cols))
        candidates.sort(key=lambda candidate: candidate[:2])
        return [candidate[1:] for candidate in candidates[:CLOSELY]]

    def _fine(
        self, there: np.ndarray, number: int, rows: slice, cols: slice, ring: np.ndarray
    ) -> tuple[float, int, int, int] | None:
        """The best shift in a part of a good image: error, image, top, left."""
        part = self._greys[number][rows, cols]
        if part.shape[0] < there.shape[0] or part.shape[1] < there.shape[1]:
            return None
        step = -(-max(there.shape) // FINE)  # a large window is shifted by more than a pixel at a time
        weights = ring.astype(np.float32)
        scores = centred_squares(part[::step, ::step], there[::step, ::step], weights[::step, ::step])
        row, col = np.unravel_index(int(scores.argmin()), scores.shape)
        top = min(rows.start + int(row) * step, rows.stop - there.shape[0])
        left = min(cols.start + int(col) * step, cols.stop - there.shape[1])
        return float(scores[row, col]), number, top, left


def reference_of(
    image: np.ndarray,
    window: Window,
    defects: np.ndarray,
    column: np.ndarray | None,
    good: GoodImages | None,
) -> Reference:
    """The best reference of a window.

    Args:
        image: the whole image with the defect.
        window: what is wanted of it.
        defects: (h, w) bool in the window: all defects, grown by what their edges need.
        column: the image of the reference column, of the size of `image`.
        good: good images.
    """
    pixels = image[window.slices]
    ring = ~defects
    found: list[Reference] = []
    if column is not None:
        found.append(_registered(pixels, window, ring, column))
        if found[0].error < TRUSTED:
            return found[0]
    if good is not None and ring.any() and (fitting := good.best(pixels, window, ring)) is not None:
        found.append(fitting)
    found.append(_inpainted(pixels, defects))
    return min(found, key=lambda reference: reference.error)


def part_of(image: np.ndarray, top: int, left: int, height: int, width: int) -> np.ndarray:
    """A part of an image; what lies beyond its edges continues them."""
    over = max(0, -top), max(0, top + height - image.shape[0]), max(0, -left), max(0, left + width - image.shape[1])
    part = image[max(0, top) : top + height, max(0, left) : left + width]
    return cv2.copyMakeBorder(part, *over, cv2.BORDER_REPLICATE) if any(over) else part


def plain_squares(image: np.ndarray, template: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The weighted mean squared difference between a template and every place of an image.

    Args:
        image: (H, W) float32.
        template, weights: (h, w) float32; the weights have a positive sum.

    Returns:
        (H - h + 1, W - w + 1): of top left corners.
    """
    weights = weights / weights.sum()
    weighted = weights * template
    square = _correlated(image * image, weights)
    cross = _correlated(image, weighted)
    return (square - 2 * cross + float((weighted * template).sum())).clip(0)


def centred_squares(image: np.ndarray, template: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The weighted variance of the difference: what a change of brightness leaves of it; shapes as above."""
    weights = weights / weights.sum()
    mean = _correlated(image, weights) - float((weights * template).sum())
    return (plain_squares(image, template, weights) - mean * mean).clip(0)


def _correlated(image: np.ndarray, template: np.ndarray) -> np.ndarray:
    """The sums of the products of a template and every place of an image, by their top left corners.

    OpenCV matches templates by Fourier transforms. Its filter sums directly, which takes half the time where the
    template is small.
    """
    height, width = template.shape
    if max(height, width) > DIRECT:
        return cv2.matchTemplate(image, template, cv2.TM_CCORR)
    sums = cv2.filter2D(image, cv2.CV_32F, template, anchor=(0, 0), borderType=cv2.BORDER_CONSTANT)
    return sums[: image.shape[0] - height + 1, : image.shape[1] - width + 1]


def _standardised_error(a: np.ndarray, b: np.ndarray, weights: np.ndarray) -> float:
    """1 - correlation under weights: what is left after brightness and contrast."""
    total = float(weights.sum())
    if total <= 0:
        return 1.0
    a = a - (weights * a).sum() / total
    b = b - (weights * b).sum() / total
    scale = np.sqrt(float((weights * a * a).sum()) * float((weights * b * b).sum()))
    return 1.0 - float((weights * a * b).sum()) / scale if scale > 1e-9 else 1.0


def _registered(pixels: np.ndarray, window: Window, ring: np.ndarray, column: np.ndarray) -> Reference:
    """The window of a reference image, moved by whole pixels to fit the ring."""
    reach, (top, left, height, width) = COLUMN_REACH, window
    part = part_of(column, top - reach, left - reach, height + 2 * reach, width + 2 * reach)
    weights = ring.astype(np.float32)
    if ring.any():
        scores = plain_squares(grey(part), grey(pixels), weights)
        rows_away, cols_away = np.mgrid[-reach : reach + 1, -reach : reach + 1]
        scores = scores + 1e-6 * (rows_away**2 + cols_away**2)  # of equals the nearest
        row, col = divmod(int(scores.argmin()), scores.shape[1])
    else:
        row = col = reach
    moved = np.ascontiguousarray(part[row : row + height, col : col + width])
    return Reference(moved, _error(pixels, moved, ring), "column")


def _inpainted(pixels: np.ndarray, defects: np.ndarray) -> Reference:
    """The surroundings continued inwards; its error is that of a ring which is continued into as well."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (9, 9))
    grown = cv2.dilate(defects.astype(np.uint8), kernel).astype(bool)
    ring = grown & ~defects
    if grown.all():
        return Reference(_inpaint(pixels, defects), 1.0, "inpainting")
    return Reference(_inpaint(pixels, defects), _error(pixels, _inpaint(pixels, grown), ring), "inpainting")


def _inpaint(pixels: np.ndarray, holes: np.ndarray) -> np.ndarray:
    if holes.all():
        return pixels
    mask = holes.astype(np.uint8)
    if pixels.ndim == 2 or pixels.dtype == np.uint8:
        return cv2.inpaint(np.ascontiguousarray(pixels), mask, 3, cv2.INPAINT_TELEA)
    planes = [cv2.inpaint(np.ascontiguousarray(pixels[..., plane]), mask, 3, cv2.INPAINT_TELEA) for plane in range(3)]
    return np.stack(planes, axis=2)


def _adapted(source: np.ndarray, pixels: np.ndarray, ring: np.ndarray) -> np.ndarray:
    """The source with the mean and the deviation that the pixels have in the ring, a channel at a time."""
    taken, wanted = source[ring].astype(np.float32), pixels[ring].astype(np.float32)
    spread = taken.std(axis=0)
    gain = np.where(spread > 0, wanted.std(axis=0) / np.maximum(spread, 1e-6), 1.0).clip(0.5, 2.0)
    adapted = (source.astype(np.float32) - taken.mean(axis=0)) * gain + wanted.mean(axis=0)
    return np.rint(adapted).clip(0, full_scale(pixels)).astype(pixels.dtype)


def _error(pixels: np.ndarray, reference: np.ndarray, ring: np.ndarray) -> float:
    if not ring.any():
        return 1.0
    apart = np.abs(pixels[ring].astype(np.float32) - reference[ring].astype(np.float32))
    return float(apart.mean()) / full_scale(pixels)
