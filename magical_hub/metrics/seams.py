"""Whether images break where their sub-regions meet."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from magical_hub.grid import Grid


class SeamRatio(NamedTuple):
    """How much sharper the steps at seams are: between rows of sub-regions, and between columns."""

    rows: float
    cols: float


def seam_ratio(images: np.ndarray, grid: Grid) -> SeamRatio:
    """Mean squared step between neighbouring pixel lines at the seams, over the same inside the sub-regions.

    Args:
        images: (N, C, H, W), any range and type; the ratio has no unit.
        grid: how the images are cut.

    Returns:
        From 0; about 1 where seams can't be told from the rest, unless something in the real images happens to lie
        there: see `relative_seam_ratio`. NaN in a direction without seams or without any step inside.

    Raises:
        GridError: where the images don't fit the grid.
    """
    images = images.astype(np.float32, copy=False)
    (above, below), (left, right) = grid.seam_lines(images)
    inside = grid.crop_all(images)
    return SeamRatio(
        rows=_ratio(above - below, np.diff(inside, axis=-2)),
        cols=_ratio(left - right, np.diff(inside, axis=-1)),
    )


def relative_seam_ratio(generated: np.ndarray, real: np.ndarray, grid: Grid) -> SeamRatio:
    """`seam_ratio` of generated images over that of real ones: 1 is right, more is a visible seam, less a blurred one.

    Args:
        generated, real: (N, C, H, W) and (M, C, H, W); their ranges need not be equal.
        grid: how the images are cut.

    Raises:
        GridError: where the images don't fit the grid.
    """
    ours, theirs = seam_ratio(generated, grid), seam_ratio(real, grid)
    with np.errstate(divide="ignore", invalid="ignore"):
        return SeamRatio(*(float(np.float64(a) / b) for a, b in zip(ours, theirs, strict=True)))


def _ratio(at_seams: np.ndarray, inside: np.ndarray) -> float:
    if not at_seams.size or not inside.any():
        return float("nan")
    return float(np.square(at_seams).mean(dtype=np.float64) / np.square(inside).mean(dtype=np.float64))
