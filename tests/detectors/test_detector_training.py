"""Detectors overfit a few images, depend on their seed and data alone, and refuse what does not fit."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from magical_hub.detectors import DetectorOptions, LabelledImages, average_precision, train_detector
from magical_hub.detectors.batches import rows_of_batches
from magical_hub.errors import ConfigError, DataError

NAMES = ("square", "disc")
FEW = DetectorOptions(steps=3, batch_size=4)


def drawn(count: int, seed: int, masks: bool = False, size: int = 64) -> LabelledImages:
    """Squares and discs on noise; every fourth image has none."""
    rng = np.random.default_rng(seed)
    images = rng.normal(90, 6, (count, size, size, 1)).clip(0, 255).astype(np.uint8)
    marked = np.zeros((count, size, size), np.uint8)
    boxes, kinds = [], []
    for number in range(count):
        here, classes = [], []
        for kind in range(2) if number % 4 < 3 else ():
            radius = int(rng.integers(5, 9))
            x = int(rng.integers(radius, size // 2 - radius)) + kind * size // 2
            y = int(rng.integers(radius, size - radius))
            shape = np.zeros((size, size), np.uint8)
            if kind:
                cv2.circle(shape, (x, y), radius, 1, -1)
            else:
                cv2.rectangle(shape, (x - radius, y - radius), (x + radius, y + radius), 1, -1)
            images[number, ..., 0][shape > 0] = 200
            marked[number][shape > 0] = 1 + kind
            rows, cols = np.nonzero(shape)
            here.append((cols.min(), rows.min(), np.ptp(cols) + 1, np.ptp(rows) + 1))
            classes.append(kind)
        boxes.append(np.array(here, np.float32).reshape(-1, 4))
        kinds.append(np.array(classes, np.int64))
    if masks:
        return LabelledImages(images, NAMES, masks=marked)
    return LabelledImages(images, NAMES, tuple(boxes), tuple(kinds))


@pytest.mark.parametrize("masks", [False, True])
def test_four_images_are_learned(masks):
    """Trained and tested on the same four: what a sound detector can do, and an untrained one can't."""
    images = drawn(4, 0, masks)
    options = DetectorOptions(steps=80, batch_size=4, augment=False, bf16=False, good_share=0.25)
    trained = average_precision(train_detector(images, None, options), images)
    untrained = average_precision(train_detector(images, None, FEW), images)
    assert trained.measure == ("pixel AP" if masks else "mAP")
    assert set(trained.classes) == set(NAMES)
    assert trained.mean > 0.5 > untrained.mean


@pytest.mark.parametrize("masks", [False, True])
def test_a_detector_depends_on_its_seed_and_data_alone(masks):
    images, more = drawn(6, 0, masks), drawn(4, 1, masks)
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first = train_detector(images, more, FEW, seed=3).state_dict()
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(2)
    np.random.seed(5)
    again = train_detector(images, more, FEW, seed=3).state_dict()
    other = train_detector(images, more, FEW, seed=4).state_dict()
    changed = train_detector(images, drawn(4, 2, masks), FEW, seed=3).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)
    assert not all(torch.equal(first[name], changed[name]) for name in first)


def test_shares_are_met_over_all_steps():
    real, synthetic = drawn(16, 0), drawn(8, 1)
    good = set(np.flatnonzero(~real.defective))
    for share, good_share, last in ((0.3, 0.25, 0.0), (0.5, 0.5, 0.5), (0.0, 0.1, 0.0), (1.0, 0.0, 0.25)):
        shares = {"good_share": good_share, "synthetic_share": share, "real_only_steps": last}
        options = DetectorOptions(steps=100, batch_size=8, **shares)
        rows = list(rows_of_batches(real, synthetic, options, np.random.default_rng(0)))
        assert all(len(batch) == 8 for batch in rows)
        made = [sum(owner is synthetic for owner, _ in batch) for batch in rows]
        mixed = round(100 * (1 - last))
        assert sum(made) == round(share * 8 * mixed) and not sum(made[mixed:])
        without = sum(owner is real and place in good for batch in rows for owner, place in batch)
        assert abs(without - good_share * (800 - sum(made))) <= 1


def test_crops():
    images = drawn(8, 0)
    options = DetectorOptions(steps=2, batch_size=4, crop_size=32, augment=False)
    assert train_detector(images, None, options).num_classes == 2


def test_sides_that_are_no_multiple():
    images = drawn(3, 0, size=50)
    found = train_detector(images, None, FEW).detect(images.images)
    assert len(found) == 3
    for one in found:
        assert (one.boxes[:, :2] >= 0).all() and (one.boxes[:, :2] + one.boxes[:, 2:] <= 50 + 1e-4).all()
        assert (np.diff(one.scores) <= 0).all()
    masks = drawn(3, 0, masks=True, size=50)
    assert train_detector(masks, None, FEW).probabilities(masks.images).shape == (3, 2, 50, 50)


def test_what_does_not_fit_is_refused():
    boxes, masks = drawn(4, 0), drawn(4, 0, masks=True)
    with pytest.raises(DataError, match="synthetic images must have the size"):
        train_detector(boxes, masks, FEW)
    with pytest.raises(DataError, match="at least one real image"):
        train_detector(boxes.select([]), None, FEW)
    with pytest.raises(DataError, match="boxes with categories, or masks"):
        LabelledImages(boxes.images, NAMES)
    with pytest.raises(DataError, match=r"\(N, H, W, C\) uint8"):
        LabelledImages(boxes.images.astype(np.float32), NAMES, boxes.boxes, boxes.categories)
    with pytest.raises(DataError, match="give one to each image"):
        LabelledImages(boxes.images[:2], NAMES, boxes.boxes, boxes.categories)
    with pytest.raises(DataError, match="cannot be joined"):
        boxes + masks
    with pytest.raises(DataError, match="no defect"):
        average_precision(train_detector(boxes, None, FEW), boxes.select(np.flatnonzero(~boxes.defective)))
    for name, value in {"steps": 0, "synthetic_share": 1.5, "crop_size": 8, "learning_rate": -1.0}.items():
        with pytest.raises(ConfigError, match=name):
            DetectorOptions(**{name: value})
