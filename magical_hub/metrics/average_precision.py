"""Average precision of boxes and of pixels: the area under the curve of precision over recall."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""Intersections over union from which on a box counts as found, as in COCO."""
_RECALLS = np.linspace(0, 1, 101)


def box_average_precision(
    found: Sequence[Any],
    boxes: Sequence[np.ndarray],
    categories: Sequence[np.ndarray],
    num_classes: int,
) -> np.ndarray:
    """Average precision as COCO defines it: of boxes of all sizes, interpolated at 101 recalls.

    In each image the detections of a class, the highest score first, each take the box that they overlap most and that
    none before took; those that overlap none by the threshold are false.

    Args:
        found: of each image an object with `boxes` (n, 4), `scores` (n,) and `categories` (n,).
        boxes: what is there, of each image (m, 4): x, y, width, height.
        categories: of each image (m,), from 0 to num_classes - 1.
        num_classes: C.

    Returns:
        (C, 10) from 0 to 1 for the thresholds 0.5, 0.55 ... 0.95; -1 for a class of which there is no box.
    """
    precisions = np.full((num_classes, len(THRESHOLDS)), -1.0)
    for kind in range(num_classes):
        scores, hits, count = [], [], 0
        for one, there, kinds in zip(found, boxes, categories, strict=True):
            truth, ours = there[kinds == kind], one.categories == kind
            order = np.argsort(-one.scores[ours], kind="stable")
            count += len(truth)
            scores.append(one.scores[ours][order])
            hits.append(_matched(overlaps(one.boxes[ours][order], truth)))
        if count:
            order = np.argsort(-np.concatenate(scores), kind="stable")
            precisions[kind] = _interpolated(np.concatenate(hits, axis=1)[:, order], count)
    return precisions


def overlaps(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Intersection over union (n, m) of boxes (n, 4) and (m, 4): x, y, width, height."""
    ours, theirs = (np.asarray(boxes, np.float64).reshape(-1, 4) for boxes in (ours, theirs))
    first = np.maximum(ours[:, None, :2], theirs[None, :, :2])
    last = np.minimum((ours[:, :2] + ours[:, 2:])[:, None], (theirs[:, :2] + theirs[:, 2:])[None])
    shared = (last - first).clip(0).prod(-1)
    union = ours[:, 2:].prod(-1)[:, None] + theirs[:, 2:].prod(-1)[None] - shared
    return shared / np.maximum(union, 1e-12)


def pixel_average_precision(scores: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Average precision of the pixels of each class: the sum over scores of precision times the recall gained.

    Args:
        scores: (N, C, H, W).
        masks: (N, H, W): 0 for no defect, else 1 + the class.

    Returns:
        (C,) from 0 to 1; -1 for a class without a pixel.
    """
    return np.array([_area(scores[:, kind].ravel(), (masks == 1 + kind).ravel()) for kind in range(scores.shape[1])])


def _area(scores: np.ndarray, there: np.ndarray) -> float:
    if not there.any():
        return -1.0
    order = np.argsort(-scores)
    scores, hits = scores[order], there[order].cumsum()
    last = np.flatnonzero(np.append(np.diff(scores) != 0, True))  # pixels of one score count together
    precision, found = hits[last] / (last + 1), hits[last]
    return float((np.diff(found, prepend=0) * precision).sum() / found[-1])


def _matched(shared: np.ndarray) -> np.ndarray:
    """(thresholds, n): whether detections, the highest score first, take a box, from their overlaps (n, m)."""
    hits = np.zeros((len(THRESHOLDS), len(shared)), bool)
    if not shared.size:
        return hits
    free = np.ones((len(THRESHOLDS), shared.shape[1]), bool)
    rows = np.arange(len(THRESHOLDS))
    for number, row in enumerate(shared):
        open_ones = np.where(free, row, -1.0)
        best = open_ones.shape[1] - 1 - open_ones[:, ::-1].argmax(1)  # of equal ones the last, as pycocotools takes
        hit = open_ones[rows, best] >= THRESHOLDS - 1e-10
        hits[:, number] = hit
        free[rows[hit], best[hit]] = False
    return hits


def _interpolated(hits: np.ndarray, count: int) -> np.ndarray:
    """(thresholds,) mean over 101 recalls of the highest precision at that recall or beyond."""
    found = hits.cumsum(1)
    recall, precision = found / count, found / np.arange(1, 1 + hits.shape[1])
    highest = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    values = []
    for recalls, best in zip(recall, highest, strict=True):
        places = np.searchsorted(recalls, _RECALLS, side="left")
        values.append(np.append(best, 0.0)[places].mean())
    return np.array(values)
