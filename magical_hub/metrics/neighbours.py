"""The nearest images: among features, and among pixels where small shifts and changes of light don't count."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from magical_hub.errors import DataError

COARSE = 8
"""Pixels a side at which the images to align are found, few, so that a pixel's shift changes little."""
RESOLUTION = 2e-3
"""Aligned distances below it are called 0: float32 can't tell them apart."""
LATTICE = 64
"""The most pixels a side that are compared, evenly spread; shifts are by whole pixels all the same."""


class Neighbours(NamedTuple):
    """The k nearest references of each query, the nearest first: both (N, k)."""

    distances: np.ndarray
    indices: np.ndarray


def nearest(queries: np.ndarray, references: np.ndarray, k: int, chunk: int = 1024) -> Neighbours:
    """Nearest neighbours by the Euclidean distance, in the memory of a chunk of either side.

    Args:
        queries, references: (N, F) and (M, F), float; they may be memory-mapped.
        k: how many, M at most.
        chunk: rows of each at a time.

    Returns:
        Distances and row numbers; equal rows are at a distance of exactly 0.

    Raises:
        DataError: where there are fewer than k references.
    """
    _check(k, len(references))
    found: list[Neighbours] = []
    for first in range(0, len(queries), chunk):
        some = torch.from_numpy(np.array(queries[first : first + chunk], np.float32))
        best = _candidates(some[None], references, k, chunk)
        # By differences, since a product of matrices rounds small distances away. The order may change by it.
        near = torch.from_numpy(np.array(references[best.numpy().reshape(-1)], np.float32)).view(*best.shape, -1)
        exact, order = (near - some[:, None]).square().sum(2).sqrt().sort(dim=1, stable=True)
        found.append(Neighbours(exact.numpy(), best.gather(1, order).numpy()))
    return Neighbours(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def nearest_aligned(
    queries: np.ndarray, references: np.ndarray, k: int, max_shift: int = 3, chunk: int = 16
) -> Neighbours:
    """Nearest neighbours by pixels, where a shift, another brightness and another contrast don't count.

    The distance is sqrt(2 - 2 r), r the greatest correlation of the query without its rim and the reference at shifts
    of up to `max_shift` pixels each way. Only the k references that are nearest at 8 px a side are aligned, so the
    neighbours are those among them.

    Args:
        queries, references: uint8, (N, H, W) and (M, H, W), grey; they may be memory-mapped.
        k: how many, M at most.
        max_shift: in pixels.
        chunk: queries at a time.

    Returns:
        Distances from 0 (equal but for light and shift) over sqrt(2) (nothing in common) to 2 (the negative).

    Raises:
        DataError: where there are fewer than k references, or the shift leaves nothing of the image.
    """
    _check(k, len(references))
    height, width = references.shape[1:]
    if min(height, width) <= 2 * max_shift:
        raise DataError(
            f"images of {height} x {width} px are too small to be shifted by {max_shift}: give larger ones"
        )
    coarse = _coarse(references)
    found: list[Neighbours] = []
    for first in range(0, len(queries), chunk):
        some = np.array(queries[first : first + chunk])
        best = _candidates(_coarse_shifted(some, max_shift), coarse.numpy(), k, 4096)
        near = (
            torch.from_numpy(np.array(references[best.numpy().reshape(-1)])).float().view(*best.shape, height, width)
        )
        distances, order = _aligned(torch.from_numpy(some).float(), near, max_shift).sort(dim=1, stable=True)
        found.append(Neighbours(distances.numpy(), best.gather(1, order).numpy()))
    return Neighbours(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def _check(k: int, count: int) -> None:
    if k > count:
        raise DataError(f"{count} images have no {k} nearest ones: give more")


def _candidates(queries: Tensor, references: np.ndarray, k: int, chunk: int) -> Tensor:
    """Row numbers (N, k) of the nearest references, in no order that counts, of queries in several forms (S, N, F)."""
    forms, count = queries.shape[:2]
    best = torch.full((count, k), torch.inf)
    where = torch.zeros((count, k), dtype=torch.int64)
    for first in range(0, len(references), chunk):
        some = torch.from_numpy(np.array(references[first : first + chunk], np.float32))
        # The square of the distance but for that of the query, which is the same for all references.
        squares = torch.addmm(some.square().sum(1)[None], queries.flatten(0, 1), some.T, alpha=-2)
        squares = squares.view(forms, count, -1).amin(0)
        numbers = torch.arange(first, first + len(some)).expand(count, -1)
        best, chosen = torch.cat([best, squares], 1).topk(k, dim=1, largest=False)
        where = torch.cat([where, numbers], 1).gather(1, chosen)
    return where


def _coarse(images: np.ndarray, chunk: int = 1024) -> Tensor:
    """(N, H, W) -> (N, F): small, with a mean of 0 and a length of 1."""
    side = (min(COARSE, images.shape[1]), min(COARSE, images.shape[2]))
    rows = []
    for first in range(0, len(images), chunk):
        some = torch.from_numpy(np.array(images[first : first + chunk])).float()
        small = F.adaptive_avg_pool2d(some[:, None], side).flatten(1)
        rows.append(F.normalize(small - small.mean(1, keepdim=True), dim=1))
    return torch.cat(rows)


def _coarse_shifted(images: np.ndarray, max_shift: int) -> Tensor:
    """`_coarse` of images as they are, and shifted as far as they may be: (9, N, F)."""
    height, width = images.shape[1:]
    wide = np.pad(images, ((0, 0), (max_shift, max_shift), (max_shift, max_shift)), mode="edge")
    starts = (0, max_shift, 2 * max_shift)
    return torch.stack(
        [_coarse(wide[:, top : top + height, left : left + width]) for top in starts for left in starts]
    )


def _aligned(queries: Tensor, near: Tensor, max_shift: int) -> Tensor:
    """(B, H, W) against (B, k, H, W) -> distances (B, k).

    The references are laid out once for every shift sideways, and the query once for every shift up and down: then all
    the correlations of a query are one product of matrices, which is several times as fast as a shift at a time.
    """
    height, width = queries.shape[1] - 2 * max_shift, queries.shape[2] - 2 * max_shift
    step = max(1, -(-max(height, width) // LATTICE))
    inner = queries[:, max_shift : max_shift + height : step, max_shift : max_shift + width : step]
    inner = inner - inner.mean((1, 2), keepdim=True)
    length = inner.square().sum((1, 2)).sqrt()[:, None, None, None]
    near = near - near.mean((2, 3), keepdim=True)  # so that the squares below cancel less
    shifts = 2 * max_shift + 1
    down, along = (_windows(shifts, size, step) for size in near.shape[2:])
    squares = down @ near.square() @ along.T - (down @ near @ along.T).square() / inner[0].numel()
    aside = torch.stack([near[..., left : left + width : step] for left in range(shifts)], 2)
    best = torch.full(near.shape[:2], -torch.inf)
    for phase in range(min(step, shifts)):  # rows that are compared at a shift by so much, and by `step` more
        rows = aside[..., phase::step, :].flatten(1, 2)
        spare, tops = rows.shape[2] - inner.shape[1], len(range(phase, shifts, step))
        placed = torch.stack([F.pad(inner, (0, 0, top, spare - top)) for top in range(tops)], 1)
        product = (rows.flatten(2) @ placed.flatten(2).mT).unflatten(1, (-1, shifts)).mT
        # An even surface correlates with nothing, not with another even one either.
        scale = (length * squares[:, :, phase::step].clamp(min=0).sqrt()).clamp(min=1e-3)
        best = torch.maximum(best, (product / scale).amax((2, 3)))
    distances = (2 - 2 * best.clamp(-1, 1)).sqrt()
    return distances.where(distances > RESOLUTION, 0)


def _windows(shifts: int, size: int, step: int) -> Tensor:
    """(shifts, size), 1 where a window at this shift has a pixel: sums over windows are products with it."""
    inside = torch.zeros(shifts, size)
    for shift in range(shifts):
        inside[shift, shift : shift + size - shifts + 1 : step] = 1
    return inside
