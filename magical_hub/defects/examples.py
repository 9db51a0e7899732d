"""One example of a defect: its pixels, what the place looks like without it, its mask, class, and place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from magical_hub.boxes import Box

SMALLEST = 3
"""Pixels: what is smaller is taken for noise."""


class Window(NamedTuple):
    """A rectangle of an image, in pixels."""

    top: int
    left: int
    height: int
    width: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Its rows and columns."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)

    def within(self, other: Window) -> tuple[slice, slice]:
        """Its rows and columns in a window that holds it."""
        return self._replace(top=self.top - other.top, left=self.left - other.left).slices

    def common(self, other: Window) -> Window | None:
        """What it has in common with another; None where that is nothing."""
        top, left = max(self.top, other.top), max(self.left, other.left)
        height = min(self.top + self.height, other.top + other.height) - top
        width = min(self.left + self.width, other.left + other.width) - left
        return Window(top, left, height, width) if height > 0 and width > 0 else None


@dataclass(frozen=True)
class Example:
    """A defect cut out of its image with its surroundings.

    Attributes:
        category: number of its class.
        row: number of its image in the dataset.
        place: where the window was in the image.
        image_size: height and width of that image.
        pixels: (h, w) or (h, w, 3), uint8 or uint16.
        reference: the same window without the defect, of the same shape and type.
        mask: (h, w) bool: the defect.
        others: (h, w) bool: other defects of the image in the window.
        margins: pixels that the annotated box leaves around the mask: left, top, right, bottom.
        error: mean absolute difference of pixels and reference in the ring around the defect, as a share of the
            full scale.
        kind: of the reference: "column", "good image" or "inpainting".
    """

    category: int
    row: int
    place: Window
    image_size: tuple[int, int]
    pixels: np.ndarray
    reference: np.ndarray
    mask: np.ndarray
    others: np.ndarray
    margins: tuple[float, float, float, float]
    error: float
    kind: str


def window_around(bounds: Box, size: tuple[int, int], inside: Window | None = None) -> Window:
    """The window of a defect: its bounds and surroundings of half its size, 6 to 24 pixels.

    Args:
        bounds: x, y, w, h in pixels, of the image or of `inside`.
        size: height and width of the image.
        inside: a window of the image that it must not leave.
    """
    frame = inside or Window(0, 0, *size)
    x, y, w, h = bounds
    context = int(np.clip(round(max(w, h) / 2), 6, 24))
    top, left = max(0, int(y) - context), max(0, int(x) - context)
    bottom = min(frame.height, int(np.ceil(y + h)) + context)
    right = min(frame.width, int(np.ceil(x + w)) + context)
    return Window(frame.top + top, frame.left + left, bottom - top, right - left)


def parts_of(mask: np.ndarray, gap: int = 3) -> tuple[list[np.ndarray], int]:
    """The defects that a mask (H, W) marks: connected parts, where parts up to `gap` pixels apart are one.

    Returns:
        Those of SMALLEST pixels or more, (H, W) bool, and how many smaller ones there are.
    """
    near = cv2.dilate(mask.astype(np.uint8), np.ones((gap, gap), np.uint8))
    count, numbers = cv2.connectedComponents(near, connectivity=8)
    areas = np.bincount(numbers[mask], minlength=count)
    large = np.flatnonzero(areas >= SMALLEST)
    return [mask & (numbers == number) for number in large], count - 1 - len(large)


def differing(pixels: np.ndarray, reference: np.ndarray, ring: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """The mask of a defect that only a box marks: what differs from the reference by more than the ring does.

    Edges of the product that lie a pixel or two beside those of the reference are not a defect: pixels are compared
    with the range that the reference takes within 0, 1 or 2 pixels, the smallest radius at which the ring is quiet.
    What is found grows by as much into the plain difference.

    Args:
        pixels, reference: (h, w) float32 in 0..1.
        ring: (h, w) bool: surroundings without defects.
        inside: (h, w) bool: where the defect may be.

    Returns:
        (h, w) bool; empty where nothing differs.
    """
    plain = np.abs(pixels - reference)
    core = np.zeros_like(inside)
    radius = 0
    for radius in (0, 1, 2):
        kernel = np.ones((2 * radius + 1,) * 2, np.uint8)
        excess = np.maximum(pixels - cv2.dilate(reference, kernel), cv2.erode(reference, kernel) - pixels)
        noise = float(np.quantile(excess[ring], 0.995)) if ring.any() else 0.0
        found = inside & (excess > max(1.2 * noise, 4 / 255))
        if found.sum() >= SMALLEST:
            core = found
        if noise < 0.06:
            break
    if not core.any():
        strongest = float(plain[inside].max(initial=0.0))
        if strongest < 4 / 255:
            return core
        core, radius = inside & (plain > strongest / 2), 1
    parts, areas = [], []
    for part in parts_of(core, 5)[0] or [core]:
        parts.append(part)
        areas.append(int(part.sum()))
    core = np.logical_or.reduce([part for part, area in zip(parts, areas, strict=True) if area >= max(areas) / 10])
    quiet = float(np.quantile(plain[ring], 0.9)) if ring.any() else 0.0
    kernel = np.ones((2 * radius + 3,) * 2, np.uint8)
    near = cv2.dilate(core.astype(np.uint8), kernel).astype(bool)
    return core | (near & inside & (plain > max(quiet, 4 / 255)))
