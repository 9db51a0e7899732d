"""What is random in a step of training, drawn from (seed, step) alone.

Nothing here has a state: the draws of a step can be made again at any time, so a resumed run needs no more than the
number of its step. Draws are made for the global batch and then shared out, so that two processes equal one.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch

from magical_hub.grid import Grid, Window
from magical_hub.training.augmentation import NUMBERS


@dataclass(frozen=True)
class Draw:
    """One step's random choices for one process; B is the number of its windows, n of the sub-regions in a window."""

    number: int
    """Which draw this is, from 0."""
    indices: np.ndarray
    """(B,) which training images."""
    locations: torch.Tensor
    """(B,) int64 top-left locations of the windows, of the real and the generated ones alike."""
    latents: torch.Tensor
    """(B, L) one latent a window."""
    noise_seeds: torch.Tensor
    """(B,) int64 seeds of the pixel noise."""
    coefficients: torch.Tensor
    """(B, n) places between real and fake for the gradient penalty."""
    augmentation: torch.Tensor
    """(B, 2, NUMBERS) what alters the real and the generated windows that the critic sees."""

    def to(self, device: torch.device) -> Draw:
        """The same draw with its tensors on a device."""
        moved: dict[str, Any] = {
            f.name: v.to(device) for f in fields(self) if isinstance(v := getattr(self, f.name), torch.Tensor)
        }
        return replace(self, **moved)

    def parts(self, count: int) -> list[Draw]:
        """The same draw in `count` equal parts, in order; `count` divides B."""
        arrays = {f.name: v for f in fields(self) if not isinstance(v := getattr(self, f.name), int)}
        size = len(self.indices) // count
        cuts = [slice(n * size, (n + 1) * size) for n in range(count)]
        return [replace(self, **{name: array[cut] for name, array in arrays.items()}) for cut in cuts]


class StepSampler:
    """Draws windows of training images in twins: two images of one class at one place, each with its own latent.

    How far twins differ shows a critic whether a generator makes one picture of a place: among windows of many places
    it can't see that. Every image comes once an epoch, in an order of its own each epoch; where a class has an odd
    number of them, one comes twice. With class_balance the classes take turns, each in epochs of its own. A batch of
    an odd number of windows has no twins.

    Args:
        seed: the run's seed.
        num_images: size of the training part.
        batch_size: windows in the global batch; a multiple of num_processes.
        grid: the grid of the canvas.
        window: rows and columns of sub-regions in a window.
        latent_dim: L.
        process, num_processes: whose share of the global batch to give.
        class_labels: (num_images,) int64, 0 or more; None for one class.
        class_balance: draw every class equally often, and not every image.
        defects: (num_images, R, K) fields of defect classes; None for none.
        defect_balance: share of the windows that are drawn around a defect, every class of them in turn.
    """

    def __init__(
        self,
        seed: int,
        num_images: int,
        batch_size: int,
        grid: Grid,
        window: Window,
        latent_dim: int,
        process: int = 0,
        num_processes: int = 1,
        class_labels: np.ndarray | None = None,
        class_balance: bool = False,
        defects: np.ndarray | None = None,
        defect_balance: float = 0.0,
    ) -> None:
        self.seed, self.batch_size = seed, batch_size
        self.group = 1 if batch_size % 2 else 2  # windows of one class and place
        self.grid, self.window, self.latent_dim = grid, window, latent_dim
        share = batch_size // num_processes
        self.share = slice(process * share, (process + 1) * share)
        self._labels = np.zeros(num_images, np.int64) if class_labels is None else class_labels
        classes = [np.flatnonzero(self._labels == label) for label in np.unique(self._labels)]
        self._turns = [[images] for images in classes] if class_balance else [classes]
        marked = [] if defects is None else [label for label in np.unique(defects) if label]
        self._marks = [np.argwhere(defects == label) for label in marked]  # (image, row, column) of each
        self.defect_balance = defect_balance if self._marks else 0.0

    def draw(self, number: int) -> Draw:
        """The draw of that number (counted from 0; a step takes n_critic of them)."""
        rng = np.random.default_rng([self.seed, 1, number])
        count = self.window[0] * self.window[1]
        groups = self.batch_size // self.group
        # Windows may hang over the edge and are then pushed back: else the edges, which fewer windows reach, starve.
        tops, lefts = (
            rng.integers(1 - length, side, groups).clip(0, side - length).repeat(self.group)
            for length, side in zip(self.window, (self.grid.rows, self.grid.cols), strict=True)
        )
        indices = self._indices(number)
        if self.defect_balance:
            self._draw_around_defects(number, indices, tops, lefts)
        latents = rng.standard_normal((self.batch_size, self.latent_dim), dtype=np.float32)
        noise_seeds = rng.integers(0, 2**63, self.batch_size)
        coefficients = rng.random((self.batch_size, count), dtype=np.float32)
        augmentation = rng.random((self.batch_size, 2, NUMBERS), dtype=np.float32)
        return Draw(
            number=number,
            indices=indices[self.share],
            locations=torch.from_numpy((tops * self.grid.cols + lefts)[self.share]),
            latents=torch.from_numpy(latents[self.share]),
            noise_seeds=torch.from_numpy(noise_seeds[self.share]),
            coefficients=torch.from_numpy(coefficients[self.share]),
            augmentation=torch.from_numpy(augmentation[self.share]),
        )

    def _draw_around_defects(self, number: int, indices: np.ndarray, tops: np.ndarray, lefts: np.ndarray) -> None:
        """Let a share of the windows (their images, rows and columns; in place) hold a defect somewhere.

        Twins hold one of the same kind, at the same place where two images of a class have it there.
        """
        rng = np.random.default_rng([self.seed, 3, number])
        groups = self.batch_size // self.group
        for turn in np.flatnonzero(rng.random(groups) < self.defect_balance):
            marks = self._marks[(number * groups + turn) % len(self._marks)]
            first = turn * self.group
            indices[first], tops[first], lefts[first] = self._around(marks, rng)
            if self.group == 1:
                continue
            alike = self._alike(marks, indices[first], tops[first], lefts[first])
            twin = (rng.choice(alike), tops[first], lefts[first]) if len(alike) else self._around(marks, rng)
            indices[first + 1], tops[first + 1], lefts[first + 1] = twin

    def _around(self, marks: np.ndarray, rng: np.random.Generator) -> tuple[int, int, int]:
        """The image of one of the marks, and the first row and column of a window that holds it."""
        image, *place = marks[rng.integers(len(marks))]
        top, left = (
            int(np.clip(cell - rng.integers(length), 0, side - length))
            for cell, length, side in zip(place, self.window, (self.grid.rows, self.grid.cols), strict=True)
        )
        return int(image), top, left

    def _alike(self, marks: np.ndarray, image: int, top: int, left: int) -> np.ndarray:
        """Other images of the same class with one of the marks in the window: their numbers."""
        images, rows, cols = marks.T
        inside = (rows - top) // self.window[0] == 0
        inside &= (cols - left) // self.window[1] == 0
        return images[inside & (self._labels[images] == self._labels[image]) & (images != image)]

    def _indices(self, number: int) -> np.ndarray:
        orders: dict[tuple[int, int], np.ndarray] = {}
        groups = self.batch_size // self.group
        drawn = []
        for place in range(number * groups, (number + 1) * groups):
            within, turn = divmod(place, len(self._turns))
            epoch, within = divmod(within, sum(-(-len(images) // self.group) for images in self._turns[turn]))
            if (turn, epoch) not in orders:
                orders[turn, epoch] = self._order(turn, epoch)
            drawn.append(orders[turn, epoch][within])
        return np.concatenate(drawn)

    def _order(self, turn: int, epoch: int) -> np.ndarray:
        """The groups of an epoch: (G, group)."""
        rng = np.random.default_rng([self.seed, 2, epoch, turn])
        orders = [rng.permutation(images) for images in self._turns[turn]]
        whole = [np.append(images, images[: len(images) % self.group]) for images in orders]
        return rng.permutation(np.concatenate(whole).reshape(-1, self.group))
