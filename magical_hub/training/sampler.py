"""From the number of a step to its random numbers: functions of (seed, step) without a state.

The random numbers of a step can be drawn again at any time, so a resumed run needs no more than the number of its
step. They are drawn for the global batch and then shared out, so that two processes equal one.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from magical_hub.training.adaptive import NUMBERS
from magical_hub.training.config import TrainingConfig


class Sample(NamedTuple):
    """What is random in a batch of B windows of n sub-regions each; for the meaning of the others, see `Batch`."""

    indices: np.ndarray
    """(B,) the training images that the real windows are cut from."""
    locations: np.ndarray
    """(B,) int64."""
    latents: np.ndarray
    """(B, L) float32."""
    noise_seeds: np.ndarray
    """(B,) int64."""
    interpolation: np.ndarray
    """(B, n) float32 in [0, 1)."""
    augmentation: np.ndarray
    """(B, 2, NUMBERS) float32 in [0, 1)."""


class StepSampler:
    """Draws windows of training images as same-location pairs: two images of one class, each with its own latent.

    The difference within a pair shows a critic mode collapse at that location (PacGAN, Lin et al. 2018); windows of
    different locations differ anyhow. Every image comes once an epoch, in another order each epoch; where a class has
    an odd number of images, one comes twice. With class_balance the classes alternate, each with epochs of its own. A
    batch of an odd number of windows has no pairs.

    Args:
        config: seed, batch size, grid, window, length of a latent, and how classes and defects are balanced.
        class_labels: (N,) int64 of the images to draw from, 0 or more; all 0 without classes.
        defects: (N, R, K) their defect maps; None for none.
        process, num_processes: whose share of the global batch to give.
    """

    def __init__(
        self,
        config: TrainingConfig,
        class_labels: np.ndarray,
        defects: np.ndarray | None = None,
        process: int = 0,
        num_processes: int = 1,
    ) -> None:
        self.seed, self.batch_size, self.latent_dim = config.seed, config.batch_size, config.latent_dim
        self.grid, self.window = config.grid, config.window
        self.group = 1 if self.batch_size % 2 else 2  # windows of one class and location
        share = self.batch_size // num_processes
        self.share = slice(process * share, (process + 1) * share)
        self._labels = class_labels
        classes = [np.flatnonzero(class_labels == label) for label in np.unique(class_labels)]
        self._pools = [[images] for images in classes] if config.class_balance else [classes]
        occurring = [] if defects is None else [label for label in np.unique(defects) if label]
        self._defects = [np.argwhere(defects == label) for label in occurring]  # (image, row, column) of each
        self.defect_balance = config.defect_balance if self._defects else 0.0

    def sample(self, number: int) -> Sample:
        """This process's share of that batch (counted from 0; a step takes n_critic batches)."""
        rng = np.random.default_rng([self.seed, 1, number])
        count = self.window[0] * self.window[1]
        groups = self.batch_size // self.group
        # Positions beyond the edge are clipped to it: otherwise sub-regions at the edges, which are in fewer windows,
        # would be drawn less often.
        tops, lefts = (
            rng.integers(1 - length, side, groups).clip(0, side - length).repeat(self.group)
            for length, side in zip(self.window, (self.grid.rows, self.grid.cols), strict=True)
        )
        indices = self._indices(number)
        if self.defect_balance:
            self._move_to_defects(number, indices, tops, lefts)
        latents = rng.standard_normal((self.batch_size, self.latent_dim), dtype=np.float32)
        noise_seeds = rng.integers(0, 2**63, self.batch_size)
        interpolation = rng.random((self.batch_size, count), dtype=np.float32)
        augmentation = rng.random((self.batch_size, 2, NUMBERS), dtype=np.float32)
        whole = Sample(indices, tops * self.grid.cols + lefts, latents, noise_seeds, interpolation, augmentation)
        return Sample(*(values[self.share] for values in whole))

    def _move_to_defects(self, number: int, indices: np.ndarray, tops: np.ndarray, lefts: np.ndarray) -> None:
        """Move a share of the windows (their images, rows and columns; in place) to where a defect is.

        Both windows of a pair have a defect of the same class, at the same location where two images of a class have
        one there.
        """
        rng = np.random.default_rng([self.seed, 3, number])
        groups = self.batch_size // self.group
        for moved in np.flatnonzero(rng.random(groups) < self.defect_balance):
            defects = self._defects[(number * groups + moved) % len(self._defects)]
            first = moved * self.group
            indices[first], tops[first], lefts[first] = self._around(defects, rng)
            if self.group == 1:
                continue
            others = self._with_defect_inside(defects, indices[first], tops[first], lefts[first])
            second = (rng.choice(others), tops[first], lefts[first]) if len(others) else self._around(defects, rng)
            indices[first + 1], tops[first + 1], lefts[first + 1] = second

    def _around(self, defects: np.ndarray, rng: np.random.Generator) -> tuple[int, int, int]:
        """The image of one of the defects, and the first row and column of a window that holds it."""
        image, *position = defects[rng.integers(len(defects))]
        top, left = (
            int(np.clip(cell - rng.integers(length), 0, side - length))
            for cell, length, side in zip(position, self.window, (self.grid.rows, self.grid.cols), strict=True)
        )
        return int(image), top, left

    def _with_defect_inside(self, defects: np.ndarray, image: int, top: int, left: int) -> np.ndarray:
        """Other images of the same class with one of the defects in the window: their numbers."""
        images, rows, cols = defects.T
        inside = (rows - top) // self.window[0] == 0
        inside &= (cols - left) // self.window[1] == 0
        return images[inside & (self._labels[images] == self._labels[image]) & (images != image)]

    def _indices(self, number: int) -> np.ndarray:
        orders: dict[tuple[int, int], np.ndarray] = {}
        groups = self.batch_size // self.group
        drawn = []
        for position in range(number * groups, (number + 1) * groups):
            within, pool = divmod(position, len(self._pools))
            epoch, within = divmod(within, sum(-(-len(images) // self.group) for images in self._pools[pool]))
            if (pool, epoch) not in orders:
                orders[pool, epoch] = self._order(pool, epoch)
            drawn.append(orders[pool, epoch][within])
        return np.concatenate(drawn)

    def _order(self, pool: int, epoch: int) -> np.ndarray:
        """The groups of an epoch: (G, group)."""
        rng = np.random.default_rng([self.seed, 2, epoch, pool])
        orders = [rng.permutation(images) for images in self._pools[pool]]
        whole = [np.append(images, images[: len(images) % self.group]) for images in orders]
        return rng.permutation(np.concatenate(whole).reshape(-1, self.group))
