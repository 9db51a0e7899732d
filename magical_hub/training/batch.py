"""From random numbers to a batch: real windows, and what they are conditioned on, read ahead of the steps."""

from __future__ import annotations

import operator
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

from magical_hub.data import CanvasStore
from magical_hub.grid import Window
from magical_hub.training.config import TrainingConfig
from magical_hub.training.sampler import StepSampler

READERS = 8
"""Batches that are read at the same time, ahead of a step, by threads. Reading waits for files and copies bytes, which
needs no processes of its own; those would have to send every batch to this one."""


class Conditioning(NamedTuple):
    """What both critics take beside N images or their features, in the order of their arguments."""

    locations: torch.Tensor
    """(N,) int64 of the images' top-left sub-regions."""
    class_labels: torch.Tensor | None
    """(N,) int64."""
    window: Window
    """Rows and columns of sub-regions in an image."""
    defect_maps: torch.Tensor | None
    """(N, R, K) int64 of the whole canvases."""
    in_pairs: bool
    """Whether images 2i and 2i + 1 are a same-location pair (see StepSampler)."""

    def twice(self) -> Conditioning:
        """Of two batches of images, one after the other."""
        labels = None if self.class_labels is None else self.class_labels.repeat(2)
        defects = None if self.defect_maps is None else self.defect_maps.repeat(2, 1, 1)
        return self._replace(locations=self.locations.repeat(2), class_labels=labels, defect_maps=defects)


class Targets(NamedTuple):
    """What the auxiliary classifier is to find in each sub-region, window by window: (B * n,) int64 each."""

    locations: torch.Tensor
    class_labels: torch.Tensor | None
    defects: torch.Tensor | None


@dataclass(frozen=True)
class Batch:
    """B real windows of n sub-regions each, what they are conditioned on, and the random numbers of their step."""

    number: int
    """Of the batch, from 0."""
    pixels: torch.Tensor
    """(B, C, H, W) uint8: the real windows."""
    window: Window
    """Rows and columns of sub-regions in a window: n together."""
    locations: torch.Tensor
    """(B,) int64 top-left locations of the windows, of the real and the generated ones alike."""
    members: torch.Tensor
    """(B, n) int64 c': the locations of all sub-regions of each window, row-major."""
    class_labels: torch.Tensor | None
    """(B,) int64 image classes; None without classes."""
    defect_maps: torch.Tensor | None
    """(B, R, K) int64 defect classes of the whole canvases, 0 for none; None without defects."""
    latents: torch.Tensor
    """(B, L) z: one latent per window."""
    noise_seeds: torch.Tensor
    """(B,) int64 seeds of the pixel noise."""
    interpolation: torch.Tensor
    """(B, n) in [0, 1): where between real and fake the gradient penalty is taken."""
    augmentation: torch.Tensor
    """(B, 2, NUMBERS) in [0, 1): how the real, and how the generated windows are augmented."""

    @property
    def real(self) -> torch.Tensor:
        """The real windows in [-1, 1]: (B, C, H, W)."""
        return self.pixels.float() / 127.5 - 1

    def conditioning(self, whole_windows: bool) -> Conditioning:
        """What the critics' images are conditioned on: whole windows, or each of their sub-regions by itself."""
        if whole_windows:
            in_pairs = len(self.members) % 2 == 0
            return Conditioning(self.locations, self.class_labels, self.window, self.defect_maps, in_pairs)
        targets, maps = self.targets(), self.defect_maps
        maps = None if maps is None else maps.repeat_interleave(self.members.shape[1], 0)
        return Conditioning(targets.locations, targets.class_labels, (1, 1), maps, in_pairs=False)

    def targets(self) -> Targets:
        """Location, class and defect of every sub-region."""
        labels, maps = self.class_labels, self.defect_maps
        return Targets(
            self.members.flatten(),
            None if labels is None else labels.repeat_interleave(self.members.shape[1]),
            None if maps is None else maps.flatten(1).gather(1, self.members).flatten(),
        )

    def to(self, device: torch.device) -> Batch:
        """The same on a device."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=True))

    def pinned(self) -> Batch:
        """The same in pinned memory, from which a copy to a GPU does not wait for what the GPU is doing."""
        return self._map(torch.Tensor.pin_memory)

    def parts(self, count: int) -> list[Batch]:
        """The same in `count` equal parts, in order; `count` divides B."""
        size = len(self.pixels) // count
        return [self._map(operator.itemgetter(slice(n * size, (n + 1) * size))) for n in range(count)]

    def _map(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Batch:
        changed: dict[str, Any] = {
            f.name: change(value) for f in fields(self) if isinstance(value := getattr(self, f.name), torch.Tensor)
        }
        return replace(self, **changed)


class BatchDataset(Dataset[Batch]):
    """Batches by their number: a map-style dataset; an item depends only on the run's seed and the number.

    Args:
        config: how windows are drawn (see StepSampler).
        store: the real images.
        part: the store's numbers of the images to draw from: the training part, say.
        process, num_processes: whose share of the global batch an item is.
    """

    def __init__(
        self,
        config: TrainingConfig,
        store: CanvasStore,
        part: Sequence[int] | np.ndarray,
        process: int = 0,
        num_processes: int = 1,
    ) -> None:
        self.store, self.indices = store, np.asarray(part, np.int64)
        defects = None if store.defects is None else store.defects[self.indices]
        self.sampler = StepSampler(config, store.labels[self.indices], defects, process, num_processes)

    def __getitem__(self, number: int) -> Batch:
        store, grid, window = self.store, self.sampler.grid, self.sampler.window
        sample = self.sampler.sample(number)
        images, locations = self.indices[sample.indices], sample.locations
        return Batch(
            number=number,
            window=window,
            # psi(x, c'): only the pixels of the windows are read.
            pixels=torch.from_numpy(store.crop(grid, images, locations, window)),
            locations=torch.from_numpy(locations),
            members=torch.from_numpy(grid.members(locations, window)),
            class_labels=torch.from_numpy(store.labels[images]) if store.class_names else None,
            defect_maps=torch.from_numpy(store.defects[images]) if store.defects is not None else None,
            latents=torch.from_numpy(sample.latents),
            noise_seeds=torch.from_numpy(sample.noise_seeds),
            interpolation=torch.from_numpy(sample.interpolation),
            augmentation=torch.from_numpy(sample.augmentation),
        )


def read_ahead(
    dataset: Dataset[Batch], numbers: Iterable[int], device: torch.device, ahead: int = READERS
) -> Generator[Batch]:
    """The batches of these numbers on a device, in their order; while one is used, the next `ahead` are read.

    An error in reading a batch is raised when it is that batch's turn.
    """

    def read(number: int) -> Batch:
        batch = dataset[number]
        return batch.pinned() if device.type == "cuda" else batch

    with ThreadPoolExecutor(ahead, thread_name_prefix="read-ahead") as pool:
        pending: deque[Future[Batch]] = deque()
        try:
            for number in numbers:
                pending.append(pool.submit(read, number))
                if len(pending) > ahead:
                    yield pending.popleft().result().to(device)
            while pending:
                yield pending.popleft().result().to(device)
        finally:
            for future in pending:
                future.cancel()
