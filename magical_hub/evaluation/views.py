"""The ways in which copies are searched for: by features, by pixels, and by the pixels of each sub-region."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from magical_hub.evaluation.evidence import Evidence
from magical_hub.evaluation.images import ImageSet, cells_size, reduced, whole_size
from magical_hub.grid import Grid
from magical_hub.metrics import Neighbours, nearest, nearest_aligned
from magical_hub.metrics.copying import memorisation

NEIGHBOURS = 8
"""How many are compared: the nearest, and the others that it is measured by."""
MAX_SHIFT = 3
"""Pixels (of the reduced image) by which a copy may be shifted and is still compared place by place."""
MOST_PARTS = 8

Rows = list[np.ndarray]
"""The representation of images in a view: an array (N, ...) for each place of the image."""


@dataclass(frozen=True)
class View:
    """A way to compare.

    Args:
        name: in the report.
        of: what it shows of an image set.
        of_pixels: what it shows of images (n, C, H, W) uint8.
        search: the nearest neighbours at one place.
    """

    name: str
    of: Callable[[ImageSet], Rows]
    of_pixels: Callable[[np.ndarray], Rows]
    search: Callable[[np.ndarray, np.ndarray, int], Neighbours]


class Matches(NamedTuple):
    """The nearest references of N images, at every place.

    Arrays of (places, N): `nearest` is the row of the nearest reference, `distances` how near it is. Arrays of
    (places, parts of the references, N): `scores` is the memorisation score, `suspects` the reference it is due to.
    """

    distances: np.ndarray
    nearest: np.ndarray
    scores: np.ndarray
    suspects: np.ndarray

    @property
    def worst(self) -> np.ndarray:
        """(N,) the lowest score of an image."""
        return self.scores.min((0, 1))

    @property
    def worst_place(self) -> np.ndarray:
        """(N,) the place that it is due to."""
        return self.scores.min(1).argmin(0)

    @property
    def worst_suspect(self) -> np.ndarray:
        """(N,) the reference that it is due to."""
        count = self.scores.shape[2]
        lowest = self.scores.reshape(-1, count).argmin(0)
        return self.suspects.reshape(-1, count)[lowest, np.arange(count)]

    def by_part(self) -> list[Matches]:
        """The matches in each part of the references; the nearest is that among all."""
        parts = range(self.scores.shape[1])
        return [self._replace(scores=self.scores[:, [n]], suspects=self.suspects[:, [n]]) for n in parts]

    def first(self, count: int) -> Matches:
        """The matches of the first images alone."""
        return Matches(*(values[..., :count] for values in self))

    def where(self, chosen: np.ndarray) -> Matches:
        """The matches of some images alone."""
        return Matches(*(values[..., chosen] for values in self))


def views(evidence: Evidence) -> list[View]:
    """All that make sense: sub-regions only where there is a grid."""
    cache, grid = evidence.cache, evidence.grid
    size, cells = whole_size(grid.height, grid.width), cells_size(grid)

    def cut(images: np.ndarray) -> Rows:  # views, so that a mapped file stays one
        small = Grid(grid.rows, grid.cols, *cells)
        return [images[:, rows, cols] for rows, cols in map(small.span, range(small.num_locations))]

    found = [
        View(
            "features",
            lambda images: [cache.features(images)],
            lambda pixels: [cache.features_of(pixels)],
            nearest,
        ),
        View(
            "pixels",
            lambda images: [cache.small(images, size)],
            lambda pixels: [reduced(pixels, size)],
            aligned,
        ),
    ]
    if evidence.has_grid:
        found.append(
            View(
                "sub-regions",
                lambda images: cut(cache.small(images, cells)),
                lambda pixels: cut(reduced(pixels, cells)),
                aligned,
            )
        )
    return found


def aligned(queries: np.ndarray, references: np.ndarray, k: int) -> Neighbours:
    """`metrics.nearest_aligned` of small grey images (N, H, W) and (M, H, W) uint8, with shifts that suit the size."""
    return nearest_aligned(queries, references, k, min(MAX_SHIFT, min(references.shape[1:]) // 8))


def num_parts(references: int, unseen: int) -> int:
    """Into how many parts the training images are cut, so that one is about as large as the set of unseen images."""
    return max(1, min(MOST_PARTS, references // unseen))


def match(view: View, queries: Rows, references: Rows, parts: int = 1, what: str = "") -> Matches:
    """Search for images among references, part by part.

    A score depends (a little) on how many references there are. So those of training images are taken in parts of the
    size of the unseen set that they are compared with, and the lowest counts. The nearest image is that among all.
    """
    found = []
    bar = tqdm(total=len(queries) * parts, desc=f"copies by {view.name}: {what}", unit="search", leave=False)
    for query, reference in zip(queries, references, strict=True):
        rows = []
        for part in range(parts):
            near = view.search(query, reference[part::parts], NEIGHBOURS)
            rows.append((near.distances[:, 0], near.indices[:, 0] * parts + part, memorisation(near)))
            bar.update()
        distances, numbers, scores = (np.stack(some) for some in zip(*rows, strict=True))
        images, closest = np.arange(len(query)), distances.argmin(0)
        found.append((distances[closest, images], numbers[closest, images], scores, numbers))
    bar.close()
    return Matches(*(np.stack(some) for some in zip(*found, strict=True)))
