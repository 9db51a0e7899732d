"""Random numbers of a step: pure functions of (seed, step), for the global batch, shared out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from magical_hub import Grid, TrainingConfig
from magical_hub.training.adaptive import NUMBERS
from magical_hub.training.sampler import Sample, StepSampler

GRID = Grid(3, 4, 48, 64)
FIELDS = ("indices", "locations", "latents", "noise_seeds", "interpolation", "augmentation")


def sampler(
    seed: int = 0,
    batch_size: int = 6,
    window=(2, 2),
    labels: np.ndarray | None = None,
    defects: np.ndarray | None = None,
    process: int = 0,
    num_processes: int = 1,
    **options,
) -> StepSampler:
    config = TrainingConfig(
        data="images",
        rows=3,
        cols=4,
        image_size=(48, 64),
        window_rows=window[0],
        window_cols=window[1],
        latent_dim=8,
        batch_size=batch_size,
        seed=seed,
        label_column="label",
        **options,
    )
    labels = np.zeros(10, np.int64) if labels is None else labels
    return StepSampler(config, labels, defects, process, num_processes)


def arrays(sample: Sample) -> dict[str, np.ndarray]:
    return {name: np.asarray(getattr(sample, name)) for name in FIELDS}


def equal(a: Sample, b: Sample) -> list[bool]:
    return [bool(np.array_equal(arrays(a)[name], arrays(b)[name])) for name in FIELDS]


def test_shapes_and_kinds():
    sample = sampler().sample(3)
    assert sample.indices.shape == (6,) and sample.locations.shape == (6,) and sample.locations.dtype == np.int64
    assert sample.latents.shape == (6, 8) and sample.latents.dtype == np.float32
    assert sample.noise_seeds.shape == (6,) and sample.noise_seeds.dtype == np.int64
    assert sample.interpolation.shape == (6, 4) and sample.interpolation.min() >= 0 and sample.interpolation.max() <= 1
    assert (
        sample.augmentation.shape == (6, 2, NUMBERS) and 0 <= sample.augmentation.min() < sample.augmentation.max() < 1
    )


@given(st.integers(0, 2**63 - 1), st.integers(0, 10**6))
@settings(max_examples=30)
def test_a_sample_depends_only_on_the_seed_and_its_number(seed, number):
    """Whatever was drawn before, by whatever else: the whole of what a resume needs."""
    torch.manual_seed(1)
    first = sampler(seed).sample(number)
    worn = sampler(seed)
    for other in (0, 5, 2):
        worn.sample(other)
    torch.manual_seed(2)
    np.random.seed(3)
    assert all(equal(worn.sample(number), first))
    # (Ten images in whole epochs may be drawn alike; all else may not.)
    assert not any(equal(sampler(seed).sample(number + 1), first)[2:])
    assert not any(equal(sampler((seed + 1) % 2**63).sample(number), first)[2:])


@pytest.mark.parametrize("processes", [2, 3, 6])
def test_the_shares_of_several_processes_are_one_processes_draw(processes):
    for number in (0, 1, 17):
        whole = arrays(sampler().sample(number))
        shares = [arrays(sampler(process=n, num_processes=processes).sample(number)) for n in range(processes)]
        for name in FIELDS:
            assert np.array_equal(np.concatenate([share[name] for share in shares]), whole[name]), name


@given(st.integers(1, 23), st.integers(1, 9), st.integers(0, 99))
def test_every_image_once_an_epoch(num_images, batch_size, seed):
    """And where pairs need an even number and there is none, one of them twice."""
    draws = sampler(seed, batch_size, labels=np.zeros(num_images, np.int64))
    epochs, length = 3, num_images if batch_size % 2 else num_images + num_images % 2
    indices = np.concatenate([draws.sample(n).indices for n in range(-(-epochs * length // batch_size))])
    orders = indices[: epochs * length].reshape(epochs, length)
    for order in orders:
        assert {*order.tolist()} == {*range(num_images)}
    if num_images > 12:
        assert len({tuple(order) for order in orders}) == epochs  # in another order each


@given(st.lists(st.integers(0, 3), min_size=1, max_size=20), st.integers(1, 9), st.integers(0, 99))
def test_classes_in_turn_and_every_image_of_a_class_once_before_any_twice(labels, batch_size, seed):
    labels = np.array(labels)
    draws = sampler(seed, batch_size, labels=labels, class_balance=True)
    indices = np.concatenate([draws.sample(n).indices for n in range(30)])
    group = 1 if batch_size % 2 else 2
    counts = np.bincount(labels[indices], minlength=4)[np.unique(labels)]
    assert counts.max() - counts.min() <= group
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        drawn = indices[labels[indices] == label]
        length = len(own) + len(own) % group
        for epoch in range(len(drawn) // length):
            assert {*drawn[epoch * length : (epoch + 1) * length].tolist()} == {*own.tolist()}


@given(st.lists(st.integers(0, 3), min_size=1, max_size=20), st.integers(1, 5), st.booleans(), st.integers(0, 99))
def test_pairs_are_two_images_of_one_class_at_one_location(labels, pairs, balance, seed):
    labels = np.array(labels)
    draws = sampler(seed, 2 * pairs, labels=labels, class_balance=balance)
    for number in range(5):
        sample = draws.sample(number)
        one, other = sample.indices.reshape(-1, 2).T
        assert np.array_equal(labels[one], labels[other])
        assert np.array_equal(sample.locations[::2], sample.locations[1::2])
        assert not np.array_equal(sample.latents[::2], sample.latents[1::2])
        # An image is paired with itself where it is alone in its class.
        assert np.array_equal(one == other, np.bincount(labels)[labels[one]] == 1)


def test_both_of_a_pair_have_a_defect_of_one_class():
    rng = np.random.default_rng(0)
    labels, defects = rng.integers(0, 2, 60), (rng.random((60, 3, 4)) < 0.2) * rng.integers(1, 3, (60, 3, 4))
    draws = sampler(batch_size=32, labels=labels, defects=defects, defect_balance=1.0)
    together = 0
    for number in range(20):
        sample = draws.sample(number)
        members = GRID.members(sample.locations, (2, 2))
        shown = [{*kinds[kinds > 0].tolist()} for kinds in defects.reshape(60, -1)[sample.indices[:, None], members]]
        assert all(one & other for one, other in zip(shown[::2], shown[1::2], strict=True))
        together += int((sample.locations[::2] == sample.locations[1::2]).sum())
        assert not (sample.indices[::2] == sample.indices[1::2]).any()
    assert together > 0.95 * 20 * 16  # about two of thirty images have it at a place by chance


@given(st.integers(1, 3), st.integers(1, 4), st.integers(0, 99))
@settings(max_examples=30)
def test_windows_lie_inside_and_reach_every_place(rows, cols, seed):
    draws = sampler(seed, batch_size=64, window=(rows, cols))
    locations = np.concatenate([draws.sample(n).locations for n in range(10)])
    GRID.check_locations(locations, (rows, cols))
    assert {*locations.tolist()} == {*GRID.window_locations((rows, cols)).tolist()}


def test_no_sub_region_starves():
    """A corner is in no fewer windows than in half as many as the mean sub-region, although fewer windows reach it."""
    draws = sampler(batch_size=64)
    locations = np.concatenate([draws.sample(n).locations for n in range(60)])
    counts = np.bincount(GRID.members(locations, (2, 2)).flatten(), minlength=12)
    assert counts.min() > 0.5 * counts.mean()


def test_latents_are_standard_normal():
    latents = np.concatenate([sampler(batch_size=100).sample(n).latents for n in range(20)])
    assert abs(latents.mean()) < 0.05 and abs(latents.std() - 1) < 0.05
