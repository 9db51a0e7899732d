"""Boxes in pixels: the one check of those that a data set gives, and those around what a mask marks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from magical_hub.errors import DataError

Box = tuple[float, float, float, float]
"""x, y, w, h in pixels: COCO's order."""


def checked_box(values: Sequence[Any], size: tuple[int, int], where: str) -> Box:
    """A box as a data set gives it, clipped to its image.

    Args:
        values: x, y, width and height in pixels.
        size: height and width of the image, as a viewer shows it.
        where: what to call the image in an error.

    Raises:
        DataError: where it is not four finite numbers, has no area, lies outside the image, or holds shares of the
            image (0 to 1) instead of pixels.
    """
    if len(values) != 4 or not all(_is_finite(value) for value in values):
        raise DataError(f"{where} has the box {list(values)}: give four numbers, x, y, width and height in pixels")
    x, y, width, height = (float(value) for value in values)
    shown = [round(side, 2) for side in (x, y, width, height)]
    if width <= 0 or height <= 0:
        raise DataError(f"{where} has the box {shown}, which has no area: give x, y, width and height in pixels")
    if min(x, y) >= 0 and max(x + width, y + height) <= 1 and min(width, height) < 1:
        raise DataError(
            f"{where} has the box {shown}, which looks like shares of the image (0 to 1): give pixels, that is, x and "
            f"width times {size[1]}, y and height times {size[0]}"
        )
    left, top = max(x, 0.0), max(y, 0.0)
    right, bottom = min(x + width, float(size[1])), min(y + height, float(size[0]))
    if right <= left or bottom <= top:
        raise DataError(
            f"{where} has the box {shown} (x, y, width, height), which lies outside the image of {size[0]} x "
            f"{size[1]}: correct it"
        )
    # The sides of a box that lies inside come back as they were, to the bit.
    return (
        left,
        top,
        width if left == x and right == x + width else right - left,
        height if top == y and bottom == y + height else bottom - top,
    )


def box_of(mask: np.ndarray) -> Box:
    """The smallest box around the true pixels of a mask (H, W), which must have some."""
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return float(cols[0]), float(rows[0]), float(cols[-1] + 1 - cols[0]), float(rows[-1] + 1 - rows[0])


def connected_parts(mask: np.ndarray) -> tuple[np.ndarray, list[Box]]:
    """The connected parts of a mask (8 neighbours), in the order of their first pixel, row by row.

    Args:
        mask: (H, W), true where something is.

    Returns:
        (H, W) int32: 0 nothing, else the number of the part from 1 on; and the box of each part.
    """
    import cv2  # a pipeline that torch.hub loads does without it

    count, numbers, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    present, first = np.unique(numbers, return_index=True)
    first = first[present > 0]
    order = 1 + np.argsort(first, kind="stable")
    renumbered = np.zeros(count, np.int32)
    renumbered[order] = np.arange(1, count)
    sides = (cv2.CC_STAT_LEFT, cv2.CC_STAT_TOP, cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT)
    boxes: list[Box] = [tuple(float(stats[part, side]) for side in sides) for part in order]  # type: ignore[misc]
    return renumbered[numbers], boxes


def _is_finite(value: Any) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and bool(np.isfinite(value))
