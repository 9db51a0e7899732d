"""The mean of the training images, for a generator to start from."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from magical_hub.data import CanvasStore
from magical_hub.grid import Grid
from magical_hub.models.base_picture import BasePicture

MOST = 256
"""Images of a class that the mean is taken of."""

ENOUGH = 32
"""Images that a class's own mean needs; of fewer it would show them, and is filled up with the mean of all classes."""

PIXELS = 2**31
"""Pixels that are read for the mean of a class, at the most (of canvases too large for that: ENOUGH images)."""


def start_from_mean(picture: BasePicture, store: CanvasStore, grid: Grid, train: np.ndarray, seed: int) -> None:
    """Fill a generator's base picture.

    Args:
        picture: of as many classes as the store has, or of one.
        store: of the images.
        grid: of the canvas; a sub-region is read at a time.
        train: the store's numbers to learn from.
        seed: of the choice among many images.
    """
    rng = np.random.default_rng([seed, 4])
    most = int(np.clip(PIXELS // (grid.height * grid.width), ENOUGH, MOST))
    labels = store.labels[train]
    means, shares = [], []
    for label in range(len(picture.values)):
        its = train[labels == label]
        chosen = np.sort(rng.permutation(its)[:most])
        means.append(_mean(store, grid, chosen, picture) if len(chosen) else torch.zeros_like(picture.values[0]))
        shares.append(len(its) / len(train))
    overall = torch.stack([mean * share for mean, share in zip(means, shares, strict=True)]).sum(0)
    with torch.no_grad():
        for values, mean, share in zip(picture.values, means, shares, strict=True):
            values.copy_(overall.lerp(mean, min(1.0, share * len(train) / ENOUGH)))


def _mean(store: CanvasStore, grid: Grid, indices: np.ndarray, picture: BasePicture) -> torch.Tensor:
    """The mean of images at the picture's points: (C, rows, cols) in [-1, 1]."""
    down, across = (max(1, side // stride) for side, stride in zip(_cell(grid), picture.strides, strict=True))
    small = []
    for location in range(grid.num_locations):
        total = np.zeros((store.channels, *_cell(grid)), np.int64)
        for index in indices:
            total += store.crop(grid, np.array([index]), np.array([location]))[0]
        small.append(F.adaptive_avg_pool2d(torch.from_numpy(total / len(indices)), (down, across)))
    joined = Grid(grid.rows, grid.cols, grid.rows * down, grid.cols * across).stitch(torch.stack(small)[None])
    points = F.interpolate(joined, size=picture.values.shape[2:], mode="bilinear", align_corners=False)
    return (points[0] / 127.5 - 1).float()


def _cell(grid: Grid) -> tuple[int, int]:
    return grid.cell_height, grid.cell_width
