"""The positive control: copies planted among the generated images, to know what the search would have found."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from magical_hub.evaluation.evidence import Evidence

COUNT = 40
"""Copies of each kind at the most."""
SHIFT = 3
"""Pixels of the greatest shift."""
CONTRAST, BRIGHTNESS = 1.1, 12
"""What a brightened copy's grey levels are multiplied by, and what is added."""


class Planted(NamedTuple):
    """Copies of one kind: images (n, C, H, W) uint8, and the row of the training image that each is of."""

    images: np.ndarray
    sources: np.ndarray


def plant(evidence: Evidence) -> dict[str, Planted]:
    """Copies of training images chosen by chance: exact, shifted, brightened, and generated images with one sub-region
    of a training image."""
    draw = np.random.default_rng(evidence.seed)
    count = min(COUNT, len(evidence.train), len(evidence.generated))
    sources = draw.choice(len(evidence.train), count, replace=False)
    exact = evidence.train.read(sources)
    planted = {"exact": exact, "shifted": _shifted(exact, draw), "brightened": _brightened(exact)}
    grid = evidence.grid
    if evidence.has_grid:
        hosts = evidence.generated.read(draw.choice(len(evidence.generated), count, replace=False))
        for host, copied in zip(hosts, exact, strict=True):
            rows, cols = grid.span(int(draw.integers(grid.num_locations)))
            host[:, rows, cols] = copied[:, rows, cols]
        planted["one sub-region"] = hosts
    return {kind: Planted(images, sources) for kind, images in planted.items()}


def _shifted(images: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    height, width = images.shape[2:]
    wide = np.pad(images, ((0, 0), (0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT)), mode="edge")
    ways = np.array([step for step in range(2 * SHIFT + 1) if step != SHIFT])
    starts = draw.choice(ways, (len(images), 2))
    return np.stack(
        [image[:, top : top + height, left : left + width] for image, (top, left) in zip(wide, starts, strict=True)]
    )


def _brightened(images: np.ndarray) -> np.ndarray:
    return np.clip(images * CONTRAST + BRIGHTNESS, 0, 255).astype(np.uint8)
