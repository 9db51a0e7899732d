"""Whether images differ from each other, without any network: the sign of a generator that has collapsed."""

from __future__ import annotations

import numpy as np

CELLS = 32
"""Images are compared at about so many cells a side: means over them hide noise, which is not variety."""


def relative_variety(generated: np.ndarray, real: np.ndarray) -> float:
    """How far an image is from the one most like it among the others, over the same among real images.

    The nearest one counts, not any other: a generator that gives one picture per class has collapsed, however much the
    classes differ. Of the larger set only as many are taken as of the smaller, since among more images the nearest is
    nearer.

    Args:
        generated, real: (N, C, H, W) and (M, C, H, W), of one range.

    Returns:
        From 0, all alike; 1 is right. NaN for fewer than two images, or real ones that are all alike.
    """
    count = min(len(generated), len(real))
    if count < 2:
        return float("nan")
    ours, theirs = (_nearest(images[:count]) for images in (generated, real))
    return ours / theirs if theirs else float("nan")


def _nearest(images: np.ndarray) -> float:
    """Mean over images of the mean absolute difference to the nearest other one."""
    rows, cols = (max(1, side // CELLS) for side in images.shape[2:])
    height, width = images.shape[2] // rows * rows, images.shape[3] // cols * cols
    blocks = images[:, :, :height, :width].reshape(*images.shape[:2], height // rows, rows, width // cols, cols)
    small = blocks.mean((3, 5), dtype=np.float32).reshape(len(images), -1)
    distances = np.stack([np.abs(small - one).mean(1) for one in small])
    np.fill_diagonal(distances, np.inf)
    return float(distances.min(1).mean())
