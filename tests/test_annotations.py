"""Boxes and masks from an image and its twin without the defect; what the pipeline makes of defects."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from magical_hub import Grid, LabelVerifier, MagicalPipeline, SeamlessGenerator
from magical_hub.annotations import find_defects
from magical_hub.augmentation import verified
from magical_hub.errors import ConfigError, GridError

GRID = Grid(3, 4, 48, 64)


def field(*places: tuple[int, int, int]) -> np.ndarray:
    made = np.zeros((3, 4), dtype=np.int64)
    for row, col, number in places:
        made[row, col] = number
    return made


@given(st.integers(2, 12), st.integers(2, 12), st.integers(4, 20), st.integers(4, 20), st.integers(0, 2**31))
def test_the_box_and_the_mask_are_those_of_what_changed(top, left, height, width, seed):
    without = np.random.default_rng(seed).uniform(0.2, 0.5, (3, 48, 64))
    with_defects = without.copy()
    with_defects[:, top : top + height, left : left + width] += 0.3
    with_defects[:, top + 1, left + 1] = without[:, top + 1, left + 1]  # a hole of one pixel
    with_defects[:, 40:, 60:] += 5 / 255  # too faint to be seen
    (mark,) = find_defects(with_defects, without, field((0, 0, 2)), GRID)
    assert (mark.number, mark.box) == (2, (left, top, width, height))
    assert mark.mask.sum() == height * width


def test_neighbours_of_one_class_are_one_defect_and_others_their_own():
    without, with_defects = np.zeros((1, 48, 64)), np.zeros((1, 48, 64))
    with_defects[:, 4:12, 10:30] = 1  # over the first two sub-regions
    with_defects[:, 36:44, 50:60] = 0.5
    with_defects[:, 20:24, 20:24] = 0.9
    marks = find_defects(with_defects, without, field((0, 0, 1), (0, 1, 1), (2, 3, 1), (1, 1, 2)), GRID)
    assert [(mark.number, mark.box) for mark in marks] == [
        (1, (10, 4, 20, 8)),
        (1, (50, 36, 10, 8)),
        (2, (20, 20, 4, 4)),
    ]
    assert not find_defects(without, without, field((0, 0, 1)), GRID)


@given(st.integers(0, 2**31))
def test_no_mask_has_holes(seed):
    rng = np.random.default_rng(seed)
    change = ndimage.gaussian_filter(rng.normal(size=(48, 64)), 2)
    change = np.abs(change / np.abs(change).max())[None]
    for mark in find_defects(change, np.zeros_like(change), field((1, 1, 1), (2, 3, 2)), GRID):
        assert np.array_equal(ndimage.binary_fill_holes(mark.mask), mark.mask)


@pytest.fixture(scope="module")
def pipe(make_pipeline) -> MagicalPipeline:
    names = {"num_defects": 2, "defect_names": ["pit", "scratch"]}
    frequencies = [[[0.3, 0.0]] * 6, [[0.0, 0.0]] * 6, [[0.0, 1.0]] * 6]
    classes = ["crack", "good", "void"]
    made = make_pipeline(SeamlessGenerator, 3, classes, defect_frequencies=frequencies, **names)
    return MagicalPipeline(made.generator)


def quiet(pipe: MagicalPipeline, **asked):
    pipe.set_progress_bar_config(disable=True)
    return pipe(**asked)


def test_annotations_say_where_the_asked_defects_are(pipe):
    made = quiet(
        pipe, seeds=[1, 2], class_labels="good", defects=[{(0, 1): "scratch"}, {}], masks=True, output_type="pt"
    )
    bare = quiet(pipe, seeds=[1, 2], class_labels="good", defects={}, output_type="pt")
    assert made.defects[0].tolist() == [[0, 2, 0], [0, 0, 0]] and not made.defects[1].any()
    (shown,) = made.annotations[0]["objects"]
    assert shown["category"] == "scratch" and made.annotations[0]["class_name"] == "good"
    assert made.annotations[1]["objects"] == [] and torch.equal(made.images[1], bare.images[1])
    left, top, width, height = map(int, shown["bbox"])
    change = (made.images[0] - bare.images[0]).abs().amax(0).numpy() * 255
    assert change[top : top + height, left : left + width].max() == change.max() > 10
    assert set(np.unique(made.masks[0])) == {0, 2} and not made.masks[1].any()
    rows, cols = np.nonzero(made.masks[0])
    assert (cols.min(), rows.min(), np.ptp(cols) + 1, np.ptp(rows) + 1) == (left, top, width, height)


def test_defects_that_nobody_asked_for_stand_as_in_training(pipe):
    made = quiet(pipe, seeds=range(60), images_per_batch=16)
    classes = np.array([item["class_label"] for item in made.annotations])
    shares = {label: (made.defects.numpy()[classes == label] > 0).mean() for label in np.unique(classes)}
    assert abs(shares[0] - 0.3) < 0.15 and shares[1] == 0 and shares.get(2, 1) == 1
    alone = quiet(pipe, seeds=[7])
    assert torch.equal(alone.defects[0], made.defects[7]) and alone.annotations[0] == made.annotations[7]


def test_forms_of_defects_that_mean_the_same(pipe):
    forms = [{(1, 2): "scratch"}, {(1, 2): 2}, [{(1, 2): "2"}], np.array([[0, 0, 0], [0, 0, 2]])]
    made = [quiet(pipe, seeds=[3], class_labels=1, defects=form, output_type="pt").images for form in forms]
    assert all(torch.equal(made[0], other) for other in made[1:])
    region = pipe.region(10, 20, 15, 17, seed=3, class_label=1, defects=forms[0], output_type="pt")
    assert (region - made[0][0, :, 10:25, 20:37]).abs().max() <= 1e-5


@pytest.mark.parametrize(
    ("defects", "error", "message"),
    [
        ({(0, 0): "dent"}, ConfigError, "no defect 'dent': give one of none, pit, scratch"),
        ({(2, 0): "pit"}, GridError, r"no sub-region \(2, 0\)"),
        (np.zeros((3, 2)), ConfigError, r"shape \(3, 2\): give \(2, 3\)"),
        (np.full((2, 3), 3), ConfigError, r"holds 3 to 3: give 0 \(none\), 1 \(pit\), 2 \(scratch\)"),
        ([{}, {}, {}], ConfigError, "num_images is 2"),
    ],
)
def test_defects_that_cannot_be_made(pipe, defects, error, message):
    with pytest.raises(error, match=message):
        quiet(pipe, num_images=2, defects=defects)


def test_a_pipeline_without_defects_says_so(class_pipe):
    with pytest.raises(ConfigError, match="trained without defects"):
        class_pipe(defects={(0, 0): 1})


def test_verified_is_what_the_verifier_finds(pipe):
    """With a verifier whose answers are known: it finds pits where a sub-region is bright, and always class good."""
    asked = {"seeds": [1, 2, 3], "class_labels": "good", "output_type": "pt"}
    made = quiet(pipe, defects={}, **asked)
    assert verified(pipe, made).all()  # nobody to ask

    verifier = LabelVerifier(rows=2, cols=3, image_size=(32, 48), channels=3, num_classes=3, num_defects=2)
    verified_pipe = MagicalPipeline(pipe.generator, verifier=verifier)
    with torch.no_grad():
        for head, sure in ((verifier.class_head, 1), (verifier.defect_head, 0)):
            head.weight.zero_()
            head.bias.zero_()
            head.bias[sure] = 20.0
    assert verified(verified_pipe, made).all()
    assert not verified(verified_pipe, quiet(pipe, defects={}, **{**asked, "class_labels": "void"})).any()
    assert not verified(
        verified_pipe, quiet(pipe, defects={(0, 0): "pit"}, **asked)
    ).any()  # shows, and is not recognised
    with torch.no_grad():
        verifier.defect_head.bias[1] = 40.0
    everywhere = np.ones((2, 3), dtype=np.int64)
    assert verified(verified_pipe, quiet(pipe, defects=everywhere, **asked)).all()
    assert not verified(verified_pipe, quiet(pipe, defects=2 * everywhere, **asked)).any()
    assert not verified(verified_pipe, made).any()  # claims where nothing was asked for
