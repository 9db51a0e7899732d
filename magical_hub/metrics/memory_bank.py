"""Anomaly scores of image patches: the distance of their features to a memory bank of normal features.

After PatchCore (Roth et al., "Towards Total Recall in Industrial Anomaly Detection", CVPR 2022), without its
re-weighting of an image's score.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

_PROJECTED = 32
"""Numbers that a patch is projected to while centres are chosen; distances hold to some 10 % (PatchCore: the same
trick by Johnson and Lindenstrauss)."""


def patches(maps: Tensor) -> Tensor:
    """Feature maps (N, F, h, w), each place averaged with its eight neighbours, as rows: (N, h*w, F)."""
    smoothed = F.avg_pool2d(maps, 3, stride=1, padding=1, count_include_pad=False)
    return smoothed.flatten(2).transpose(1, 2).contiguous()


def k_centres(rows: Tensor, count: int, source: torch.Generator) -> Tensor:
    """The rows that cover all others best, greedily: each next one is the farthest from those chosen before.

    Args:
        rows: (M, F).
        count: how many; all where there are no more.
        source: draws the projection and the first centre.

    Returns:
        (min(count, M), F), a coreset of `rows`; fewer where they repeat.
    """
    if count >= len(rows):
        return rows
    projected = rows @ torch.randn(rows.shape[1], _PROJECTED, generator=source)
    first = int(torch.randint(len(rows), (1,), generator=source))
    nearest = (projected - projected[first]).square().sum(1)
    return rows[torch.tensor([first, *_farthest(projected, nearest, count - 1, 0.0)])]


def coreset_extension(bank: Tensor, rows: Tensor, further: Tensor, most: int) -> Tensor:
    """The extension of a coreset by which it covers further rows as well as its own: greedy k-centres, continued.

    Args:
        bank: (K, F), chosen from `rows`.
        rows: (M, F), which the bank covers within some radius.
        further: (N, F).
        most: rows to take in at most.

    Returns:
        (from 0 to `most`, F), each of `further`, the farthest first, until none is outside that radius.
    """
    radius, nearest = distances_to(bank, rows).max(), distances_to(bank, further)
    chosen = _farthest(further, nearest.square(), most, float(radius.square()))
    return further[torch.tensor(chosen, dtype=torch.long)]


def _farthest(rows: Tensor, nearest: Tensor, most: int, enough: float) -> list[int]:
    """Numbers of the rows (M, F) that are chosen, each the farthest from all chosen before, while it is farther than
    `enough`; `nearest` (M,) are the initial distances, and these and `enough` are squared."""
    norms = rows.square().sum(1)
    chosen: list[int] = []
    while len(chosen) < most:
        distance, last = nearest.max(0)
        if distance <= enough:
            break
        chosen.append(int(last))
        nearest = torch.minimum(nearest, torch.addmv(norms, rows, rows[last], alpha=-2) + norms[last])
    return chosen


def distances_to(bank: Tensor, rows: Tensor) -> Tensor:
    """The Euclidean distance of every row (M, F) to the nearest of the bank (K, F): (M,)."""
    norms, turned = bank.square().sum(1), bank.T.contiguous()
    # In pieces that stay in a processor's cache: twice as fast.
    nearest = [torch.addmm(norms, piece, turned, alpha=-2).amin(1) for piece in rows.split(512)]
    return (torch.cat(nearest) + rows.square().sum(1)).clamp_(min=0).sqrt_()
