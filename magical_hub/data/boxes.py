"""Boxes about what a mask marks."""

from __future__ import annotations

import numpy as np

Box = tuple[float, float, float, float]
"""x, y, w, h in pixels: COCO's order."""


def box_of(mask: np.ndarray) -> Box:
    """The smallest box around the true pixels of a mask (H, W), which must have some."""
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return float(cols[0]), float(rows[0]), float(cols[-1] + 1 - cols[0]), float(rows[-1] + 1 - rows[0])
