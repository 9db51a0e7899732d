"""Sources of synthetic images: a pipeline, or a set that was made before."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from magical_hub.errors import DataError
from magical_hub.pipeline import MagicalPipeline
from magical_hub.seeds import image_seed

_AT_ONCE = 32


class Synthesiser(Protocol):
    """Gives synthetic images: other ones at every turn, the same ones at the same turn."""

    @property
    def classes(self) -> frozenset[int] | None:
        """The classes that can be drawn; None where the images have none."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, H, W) of an image."""

    def draw(self, labels: np.ndarray | None, count: int, turn: int) -> np.ndarray:
        """Images (count, C, H, W) uint8, of the classes `labels` (count,) where these are given."""


class FromPipeline:
    """Images that a pipeline makes; image i of turn t comes from the seed number t * 10**6 + i of the series."""

    def __init__(self, pipe: MagicalPipeline, seed: int) -> None:
        self._pipe = MagicalPipeline(pipe.generator)  # with a bar of its own, that can be off
        self._pipe.set_progress_bar_config(disable=True)
        self._seed = seed
        config = pipe.generator.config
        self.classes = frozenset(range(config.num_classes)) if config.num_classes else None
        self.shape: tuple[int, ...] = (config.channels, pipe.generator.grid.height, pipe.generator.grid.width)

    def draw(self, labels: np.ndarray | None, count: int, turn: int) -> np.ndarray:
        seeds = [image_seed(self._seed, turn * 10**6 + number) for number in range(count)]
        pieces = []
        for first in range(0, count, _AT_ONCE):  # as floats, all of them would take four times the memory
            some = slice(first, first + _AT_ONCE)
            classes = None if labels is None else labels[some].tolist()
            made: Any = self._pipe(seeds=seeds[some], class_labels=classes, output_type="pt").images
            pieces.append((made * 255).round().byte().numpy())
        return np.concatenate(pieces)


class FromSet:
    """Images (M, C, H, W) uint8 that are there already, with their classes (M,) or none; drawn at random."""

    def __init__(self, images: np.ndarray, labels: np.ndarray | None, seed: int) -> None:
        if labels is not None and len(labels) != len(images):
            raise DataError(f"{len(images)} synthetic images have {len(labels)} labels: give one per image")
        self._images, self._labels, self._seed = images, labels, seed
        self.classes = None if labels is None else frozenset(np.unique(labels).tolist())
        self.shape = images.shape[1:]

    def draw(self, labels: np.ndarray | None, count: int, turn: int) -> np.ndarray:
        rng = np.random.default_rng([self._seed, turn])
        if labels is None or self._labels is None:
            return self._images[_some(np.arange(len(self._images)), count, rng)]
        chosen = np.empty(count, np.int64)
        for label in np.unique(labels):
            places = np.flatnonzero(labels == label)
            chosen[places] = _some(np.flatnonzero(self._labels == label), len(places), rng)
        return self._images[chosen]


def _some(members: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` of them, none twice before all were taken."""
    rounds = -(-count // len(members))
    return np.concatenate([rng.permutation(members) for _ in range(rounds)])[:count]
