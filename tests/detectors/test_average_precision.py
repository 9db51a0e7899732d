"""Average precision, value by value against pycocotools and scikit-learn."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from sklearn.metrics import average_precision_score

from magical_hub.detectors import Detections
from magical_hub.metrics.average_precision import box_average_precision, pixel_average_precision


def scene(seed: int) -> tuple[list[Detections], list[np.ndarray], list[np.ndarray]]:
    """Boxes of three classes, of which the last never occurs, and detections around some of them."""
    rng = np.random.default_rng(seed)
    found, boxes, categories = [], [], []
    for number in range(12):
        count = 0 if number == 5 else int(rng.integers(1, 7))
        truth = np.column_stack([rng.uniform(0, 80, (count, 2)), rng.uniform(6, 30, (count, 2))]).astype(np.float32)
        kinds = rng.integers(0, 2, count)
        near = np.repeat(truth, 2, axis=0) + rng.normal(0, 2, (2 * count, 4)).astype(np.float32)
        far = np.column_stack([rng.uniform(0, 80, (4, 2)), rng.uniform(6, 30, (4, 2))]).astype(np.float32)
        scores = rng.integers(0, 50, 2 * count + 4).astype(np.float32) / 50  # some are equal
        said = np.concatenate([np.repeat(kinds, 2), rng.integers(0, 3, 4)])
        found.append(Detections(np.concatenate([near, far]), scores, said))
        boxes.append(truth)
        categories.append(kinds)
    return found, boxes, categories


def by_pycocotools(found, boxes, categories, num_classes: int) -> np.ndarray:
    truth = COCO()
    truth.dataset = {
        "images": [{"id": number} for number in range(len(boxes))],
        "categories": [{"id": kind} for kind in range(num_classes)],
        "annotations": [
            {
                "id": 1 + number * 100 + place,
                "image_id": number,
                "bbox": box.tolist(),
                "area": float(box[2] * box[3]),
                "category_id": int(kind),
                "iscrowd": 0,
            }
            for number, (some, kinds) in enumerate(zip(boxes, categories, strict=True))
            for place, (box, kind) in enumerate(zip(some, kinds, strict=True))
        ],
    }
    said = [
        {"image_id": number, "category_id": int(kind), "bbox": box.tolist(), "score": float(score)}
        for number, one in enumerate(found)
        for box, score, kind in zip(*one, strict=True)
    ]
    with contextlib.redirect_stdout(None):
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(said), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation.eval["precision"][:, :, :, 0, 2].mean(1).T


@pytest.mark.parametrize("seed", range(5))
def test_boxes_as_pycocotools_has_them(seed):
    found, boxes, categories = scene(seed)
    ours = box_average_precision(found, boxes, categories, 3)
    np.testing.assert_allclose(ours, by_pycocotools(found, boxes, categories, 3), atol=1e-9)
    assert (ours[2] == -1).all() and 0 < ours[:2].mean() < 1


def test_perfect_and_empty_answers():
    _, boxes, categories = scene(0)
    perfect = [
        Detections(some, np.ones(len(some), np.float32), kinds) for some, kinds in zip(boxes, categories, strict=True)
    ]
    nothing = [Detections(np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64)) for _ in boxes]
    assert (box_average_precision(perfect, boxes, categories, 2) == 1).all()
    assert (box_average_precision(nothing, boxes, categories, 2) == 0).all()


def test_pixels_as_scikit_learn_has_them():
    rng = np.random.default_rng(0)
    masks = rng.integers(0, 3, (4, 16, 20)).astype(np.uint8)
    scores = rng.integers(0, 30, (4, 3, 16, 20)).astype(np.float32) / 30  # many are equal
    scores[:, 0] += masks == 1
    ours = pixel_average_precision(scores, masks)
    for kind in range(2):
        theirs = average_precision_score((masks == 1 + kind).ravel(), scores[:, kind].ravel())
        assert ours[kind] == pytest.approx(theirs, abs=1e-9)
    assert ours[2] == -1
