"""Whether an image is coherent: whether the brightness and the contrast of its sub-regions correlate."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from magical_hub.grid import Grid


class Coherence(NamedTuple):
    """Mean correlation, over images, of what two sub-regions of an image show: their brightness and their contrast."""

    brightness: float
    contrast: float


def coherence(images: np.ndarray, grid: Grid) -> Coherence:
    """How far the sub-regions of an image agree, over all pairs of them.

    What is right depends on the product: compare with the same of real images. Sub-regions that were generated each
    for itself score near 0, however good each of them is.

    Args:
        images: (N, C, H, W), any range; N of 3 and more, better hundreds.
        grid: how the images are cut.

    Returns:
        -1 to 1 each. NaN for a single sub-region, fewer than three images, or where no sub-region varies.

    Raises:
        GridError: where the images don't fit the grid.
    """
    return coherence_of(*brightness_and_contrast(images, grid))


def brightness_and_contrast(images: np.ndarray, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of the pixels of every sub-region: both (N, R*K)."""
    cells = grid.crop_all(images).astype(np.float64)  # (N, R*K, C, h, w)
    return cells.mean((2, 3, 4)), cells.std((2, 3, 4))


def coherence_of(brightness: np.ndarray, contrast: np.ndarray) -> Coherence:
    """`coherence` of images whose `brightness_and_contrast` is known already, from batches for instance."""
    return Coherence(_mean_correlation(brightness), _mean_correlation(contrast))


def _mean_correlation(values: np.ndarray) -> float:
    """(N, R*K) -> the mean Pearson correlation of two different columns; those that never change are left out."""
    values = values[:, values.std(0) > 1e-9 * (1 + np.abs(values).max())]
    count = values.shape[1]
    if count < 2 or len(values) < 3:
        return float("nan")
    correlations = np.corrcoef(values, rowvar=False)
    return float((correlations.sum() - count) / (count * (count - 1)))
