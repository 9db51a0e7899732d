"""COCO's mean average precision, of test images as they are and of resamples of them."""

from __future__ import annotations

import contextlib

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from detection_parts.detector import Said


def mean_average_precision(
    answers: list[Said], boxes: list[np.ndarray], kinds: list[np.ndarray], weights: np.ndarray
) -> dict[str, np.ndarray]:
    """The mean over kinds and over overlaps from 0.5 to 0.95, and that at 0.5.

    Args:
        answers: what a detector said of each of N images.
        boxes, kinds: what is there, of each image.
        weights: (1 + B, N) how often each image counts, as from `image_weights`.

    Returns:
        "mAP" and "mAP at 0.5", (1 + B,) each.
    """
    found = _evaluated(answers, boxes, kinds)
    by_kind = [found.evalImgs[start : start + len(answers)] for start in range(0, len(found.evalImgs), len(answers))]
    scores = []
    for row in weights.round().astype(int):
        chosen = np.repeat(np.arange(len(answers)), row)
        # The evaluation goes by places in these lists: an image that was drawn twice counts twice.
        found.evalImgs = [images[number] for images in by_kind for number in chosen]
        with contextlib.redirect_stdout(None):
            found.accumulate()
        precision = found.eval["precision"][..., 0, 0]  # (overlaps, recalls, kinds); -1 for a kind that isn't there
        scores.append([some[some > -1].mean() for some in (precision, precision[0])])
    return dict(zip(("mAP", "mAP at 0.5"), np.array(scores).T, strict=True))


def _evaluated(answers: list[Said], boxes: list[np.ndarray], kinds: list[np.ndarray]) -> COCOeval:
    """Every image for itself: what was said matched with what is there."""
    truth = COCO()
    objects = [
        (number, box, kind)
        for number, (some, its) in enumerate(zip(boxes, kinds, strict=True))
        for box, kind in zip(some, its, strict=True)
    ]
    truth.dataset = {
        "images": [{"id": number} for number in range(len(answers))],
        "categories": [{"id": int(kind)} for kind in np.unique(np.concatenate(kinds))],
        "annotations": [
            {
                "id": 1 + place,
                "image_id": number,
                "bbox": box.tolist(),
                "area": float(box[2] * box[3]),
                "category_id": int(kind),
                "iscrowd": 0,
            }
            for place, (number, box, kind) in enumerate(objects)
        ],
    }
    said = [
        {"image_id": number, "category_id": int(kind), "bbox": box.tolist(), "score": float(score)}
        for number, answer in enumerate(answers)
        for box, kind, score in zip(*answer, strict=True)
    ]
    with contextlib.redirect_stdout(None):
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(said), "bbox")
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluation.params.maxDets = [len(answers[0].scores)]
        evaluation.evaluate()
    return evaluation
