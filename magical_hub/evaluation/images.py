"""Sets of images of one size, read a batch at a time, and what is computed of them once: features, small pixels."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from torch import nn
from torch.nn import functional as F
from tqdm import tqdm

from magical_hub.data import CanvasStore
from magical_hub.evaluation.hashes import perceptual_hashes
from magical_hub.files import written_whole
from magical_hub.grid import Grid
from magical_hub.metrics import FeatureNetwork, extract

BATCH_PIXELS = 2**22
"""Values of pixels in a batch, about."""
SIDE, CELL_SIDE = 128, 64
"""Pixels a side at which images, and sub-regions, are compared pixel by pixel."""


class ImageSet:
    """Some of the images of a store.

    Args:
        name: what the report calls them.
        store: where they are read from.
        indices: their numbers there.
    """

    def __init__(self, name: str, store: CanvasStore, indices: np.ndarray) -> None:
        self.name, self.store, self.indices = name, store, np.asarray(indices, np.int64)

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def digests(self) -> list[str]:
        """The content hash of each image's pixels."""
        return [self.store.digests[index] for index in self.indices]

    @property
    def names(self) -> list[str]:
        """The name of each image."""
        return [self.store.names[index] for index in self.indices]

    @property
    def labels(self) -> np.ndarray:
        """The class number of each image; all 0 without classes."""
        return self.store.labels[self.indices]

    def take(self, count: int) -> ImageSet:
        """The first `count` of them."""
        return ImageSet(self.name, self.store, self.indices[:count])

    def after(self, count: int) -> ImageSet:
        """All but the first `count` of them."""
        return ImageSet(self.name, self.store, self.indices[count:])

    def shuffled(self, seed: int) -> ImageSet:
        """The same images in random order."""
        return ImageSet(self.name, self.store, np.random.default_rng(seed).permutation(self.indices))

    def read(self, numbers: np.ndarray) -> np.ndarray:
        """Images by their numbers in this set: (n, C, H, W) uint8."""
        return self.store.images(self.indices[numbers])

    def batches(self, what: str) -> Iterator[np.ndarray]:
        """All of them in order, (b, C, H, W) uint8 each, under a bar on stderr."""
        size = max(1, BATCH_PIXELS // (self.store.channels * self.store.height * self.store.width))
        parts = np.split(np.arange(len(self)), range(size, len(self), size))
        for part in tqdm(parts, desc=f"{what}: {self.name}", unit="batch", leave=False):
            yield self.read(part)


class FeatureCache:
    """Arrays computed of image sets once, and kept as .npy files that are mapped and not read.

    Args:
        cache: folder of the features, which may stay.
        scratch: folder of small pixels and hashes: pictures of real images are not kept.
        network: the feature network.
    """

    def __init__(self, cache: Path, scratch: Path, network: nn.Module) -> None:
        self._cache, self._scratch, self.network = cache, scratch, network
        self.network_name: str = getattr(network, "name", type(network).__name__)
        state = {name: value.contiguous() for name, value in network.state_dict().items()}
        self._known: dict[str, np.ndarray] = {}
        self._network_key = f"{self.network_name} {hashlib.sha256(save(state)).hexdigest()}"

    def features(self, images: ImageSet) -> np.ndarray:
        """(N, F) float32, the network's features; computed of new images alone, since sets share images."""
        digests = images.digests
        new = {sha: row for row, sha in reversed(list(enumerate(digests))) if sha not in self._known}
        if new:
            rows = sorted(new.values())
            some = ImageSet(images.name, images.store, images.indices[rows])
            array = self._once(some, self._network_key, self._cache / "features", self.features_of)
            self._known |= {digests[row]: values for row, values in zip(rows, array, strict=True)}
            if len(rows) == len(images):
                return array
        return np.stack([self._known[sha] for sha in digests])

    def features_of(self, pixels: np.ndarray) -> np.ndarray:
        """The features of images (n, C, H, W) uint8 in memory."""
        network: FeatureNetwork = self.network  # type: ignore[assignment]
        return extract(pixels.astype(np.float32) / 127.5 - 1, network)

    def small(self, images: ImageSet, size: tuple[int, int]) -> np.ndarray:
        """(N, height, width) uint8, grey and reduced to a size by means."""
        return self._once(images, f"grey {size}", self._scratch / "pixels", lambda pixels: reduced(pixels, size))

    def whole(self, images: ImageSet) -> np.ndarray:
        """Small grey images with at most 128 pixels a side, about."""
        return self.small(images, whole_size(images.store.height, images.store.width))

    def hashes(self, images: ImageSet) -> np.ndarray:
        """(N, 32) uint8, perceptual hashes."""
        size = images.store.height, images.store.width
        return self._once(
            images, "hash", self._scratch / "hashes", lambda pixels: perceptual_hashes(reduced(pixels, size))
        )

    def _once(
        self, images: ImageSet, key: str, place: Path, compute: Callable[[np.ndarray], np.ndarray]
    ) -> np.ndarray:
        sha = hashlib.sha256("\n".join([key, *images.digests]).encode()).hexdigest()
        path = place.with_name(f"{place.name}-{sha[:32]}.npy")
        if not path.exists():
            with written_whole(path) as beside:
                mapped, done = None, 0
                for batch in images.batches(place.name):
                    rows = compute(batch)
                    if mapped is None:
                        shape = (len(images), *rows.shape[1:])
                        mapped = np.lib.format.open_memmap(beside, "w+", rows.dtype, shape)
                    mapped[done : done + len(rows)] = rows
                    done += len(rows)
                assert mapped is not None, "no image set is empty"
                mapped.flush()
        array: np.ndarray = np.load(path, mmap_mode="c")  # torch warns of arrays that may not be written to
        return array


def reduced(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Images (n, C, H, W) uint8 as grey ones of another size, by means over what falls together: (n, h, w) uint8."""
    grey = torch.from_numpy(pixels).float().mean(1, keepdim=True)
    return F.adaptive_avg_pool2d(grey, size)[:, 0].round().to(torch.uint8).numpy()


def whole_size(height: int, width: int) -> tuple[int, int]:
    """The size of images that are reduced by a whole factor, until they have `SIDE` pixels a side at most."""
    factor = -(-max(height, width) // SIDE)
    return height // factor, width // factor


def cells_size(grid: Grid) -> tuple[int, int]:
    """The size of images whose sub-regions are reduced until they have `CELL_SIDE` pixels a side at most."""
    factor = -(-max(grid.cell_height, grid.cell_width) // CELL_SIDE)
    return grid.rows * max(1, grid.cell_height // factor), grid.cols * max(1, grid.cell_width // factor)
