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
        From 0; about 1 where seams don't differ from the rest, unless something in the real images happens to be
        there: see `relative_seam_ratio`. NaN in a direction without seams or without any step inside.

    Raises:
        GridError: where the images don't fit the grid.
    """
    return SeamRatio(*_ratios(seam_energies(images, grid)).tolist())


def seam_energies(images: np.ndarray, grid: Grid) -> np.ndarray:
    """What `seam_ratio` divides, image by image, so that many images are measured a batch at a time.

    Args:
        images: (N, C, H, W), any range and type.
        grid: how the images are cut.

    Returns:
        (N, 2, 2): for rows and columns, the mean squared step at the seams, and the one inside. NaN where there are
        no seams.

    Raises:
        GridError: where the images don't fit the grid.
    """
    images = images.astype(np.float32, copy=False)
    (above, below), (left, right) = grid.seam_lines(images)
    inside = grid.crop_all(images)
    return np.stack(
        [
            np.stack([_mean_square(above - below), _mean_square(np.diff(inside, axis=-2))], axis=1),
            np.stack([_mean_square(left - right), _mean_square(np.diff(inside, axis=-1))], axis=1),
        ],
        axis=1,
    )


def relative_seam_ratio(generated: np.ndarray, real: np.ndarray, grid: Grid) -> SeamRatio:
    """`seam_ratio` of generated images over that of real ones: 1 is right, more is a visible seam, less a blurred one.

    Args:
        generated, real: (N, C, H, W) and (M, C, H, W); their ranges need not be equal.
        grid: how the images are cut.

    Raises:
        GridError: where the images don't fit the grid.
    """
    return relative_ratio(seam_energies(generated, grid), seam_energies(real, grid))


def relative_ratio(generated: np.ndarray, real: np.ndarray) -> SeamRatio:
    """`relative_seam_ratio` of images whose `seam_energies`, (N, 2, 2) and (M, 2, 2), are known already."""
    ours, theirs = _ratios(generated), _ratios(real)
    with np.errstate(divide="ignore", invalid="ignore"):
        return SeamRatio(*(ours / theirs).tolist())


def halves_interval(energies: np.ndarray, resamples: int = 2000, seed: int = 0) -> tuple[SeamRatio, SeamRatio]:
    """Between what bounds the relative seam ratio of real images to other real images lies, 95 times in 100.

    The relative ratio of one random half to the other, over many ways to cut them.

    Args:
        energies: `seam_energies` of the real images, 4 and more.
        resamples: how many ways.
        seed: of the halves.

    Returns:
        The lower and the upper bound.
    """
    draw, half = np.random.default_rng(seed), len(energies) // 2
    orders = (draw.permutation(len(energies)) for _ in range(resamples))
    relative = [relative_ratio(energies[order[:half]], energies[order[half : 2 * half]]) for order in orders]
    low, high = np.percentile(relative, [2.5, 97.5], axis=0)
    return SeamRatio(*low.tolist()), SeamRatio(*high.tolist())


def line_differences(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean absolute step from each pixel to the next, place by place: a seam shows as a ridge.

    Args:
        images: (N, C, H, W), any range and type.

    Returns:
        (H - 1, W) down the rows, and (H, W - 1) along the columns.
    """
    images = images.astype(np.float32, copy=False)
    down, along = (np.abs(np.diff(images, axis=axis)).mean((0, 1), dtype=np.float64) for axis in (2, 3))
    return down, along


def _ratios(energies: np.ndarray) -> np.ndarray:
    """(N, 2, 2) -> (2,): at the seams over inside, of rows and of columns."""
    at_seams, inside = energies.mean(0).T
    return np.divide(at_seams, inside, out=np.full(2, np.nan), where=inside > 0)


def _mean_square(steps: np.ndarray) -> np.ndarray:
    """(N, ...) -> (N,)."""
    flat = steps.reshape(len(steps), -1)
    return np.square(flat).mean(1, dtype=np.float64) if flat.shape[1] else np.full(len(flat), np.nan)
