"""Anomaly detection from normal images alone: a memory bank of real normals, with and without synthetic normals.

Synthetic normals add to the bank of real ones what that bank does not cover yet, and take nothing out: copies of the
real images change nothing, and more images alone thin nothing out. An image's score is the mean distance of the
farthest hundredth of its places, which at few normals is steadier than PatchCore's single farthest.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from magical_hub.evaluation.usefulness.extractor import Extractor
from magical_hub.evaluation.usefulness.resampling import auroc, image_weights
from magical_hub.evaluation.usefulness.result import REAL, SYNTHETIC, Effort, TaskResult, compare
from magical_hub.metrics.memory_bank import coreset_extension, distances_to, k_centres, patches

_BANK = 1000  # features of real normals, and the most that synthetic ones add
_CANDIDATES = 20_000  # the most features of each kind of image that a bank is chosen from


def detect(
    extractor: Extractor,
    normals: np.ndarray,
    draw: Callable[[int, int], np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    effort: Effort,
) -> TaskResult:
    """Fill both banks under every seed, and test them.

    Args:
        extractor: the frozen network.
        normals: real normal images, (N, C, H, W) uint8.
        draw: from a count and the turn to synthetic normal images.
        test: images and whether each is an anomaly (M,) bool.
        effort: each seed has its own synthetic normals, its own choice of features and its own start.
    """
    images, anomalous = test
    pool = _features(extractor, normals, 2 * _CANDIDATES, torch.Generator().manual_seed(effort.seed))
    effort.progress(len(normals))
    banks: dict[str, list[Tensor]] = {REAL: [], SYNTHETIC: []}
    for turn in range(effort.seeds):
        source = torch.Generator().manual_seed(effort.seed * 1000 + turn)
        real = _some(pool, _CANDIDATES, source)
        made = _features(extractor, draw(effort.num_extra, turn), _CANDIDATES, source)
        effort.progress(effort.num_extra)
        bank = k_centres(real, _BANK, source)
        banks[REAL].append(bank)
        banks[SYNTHETIC].append(torch.cat([bank, coreset_extension(bank, real, made, _BANK)]))

    rng = np.random.default_rng([effort.seed, 1])
    weights = image_weights(anomalous.astype(np.int64), effort.resamples, rng)
    stacked: dict[str, dict[str, np.ndarray]] = {}
    every = iter(_distances(extractor, images, banks[REAL] + banks[SYNTHETIC], effort.progress))
    for arm in banks:
        maps = [next(every) for _ in range(effort.seeds)]
        found = [auroc(_two_columns(_score(one)), anomalous.astype(np.int64), weights) for one in maps]
        stacked[arm] = {"image AUROC": np.stack(found)}
    scores, comparisons = compare(stacked, rng)
    counts = {"real normals": len(normals), "synthetic normals for each seed": effort.num_extra, "test": len(images)}
    return TaskResult(
        detector=f"A memory of {_BANK} features of {extractor.network.name}, by greedy k-centres as in PatchCore",
        counts=counts,
        scores=scores,
        comparisons=comparisons,
    )


def _features(extractor: Extractor, images: np.ndarray, count: int, source: torch.Generator) -> Tensor:
    """Features of places of the images, about `count` of them, as many from each image: (M, F)."""
    each = -(-count // len(images))
    kept = []
    for maps in extractor.maps(images):
        kept += [_some(rows, each, source) for rows in patches(maps)]
    return torch.cat(kept)


def _some(rows: Tensor, count: int, source: torch.Generator) -> Tensor:
    return rows[torch.randperm(len(rows), generator=source)[:count]]


def _distances(
    extractor: Extractor, images: np.ndarray, banks: list[Tensor], progress: Callable[[int], Any]
) -> list[Tensor]:
    """The distance of every place of every image to each bank: (N, h, w) a bank. Features are not kept."""
    made: list[list[Tensor]] = [[] for _ in banks]
    for maps in extractor.maps(images):
        rows = patches(maps).flatten(0, 1)
        for bank, kept in zip(banks, made, strict=True):
            kept.append(distances_to(bank, rows).view(len(maps), *maps.shape[2:]))
        progress(len(maps))
    return [torch.cat(kept) for kept in made]


def _score(maps: Tensor) -> np.ndarray:
    places = maps.flatten(1)
    return places.topk(max(1, places.shape[1] // 100), dim=1).values.mean(1).numpy()


def _two_columns(scores: np.ndarray) -> np.ndarray:
    return np.stack([-scores, scores], axis=1)
