"""The draws of a step: pure functions of (seed, step), for the global batch, shared out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from magical_hub import Grid
from magical_hub.training.augmentation import NUMBERS
from magical_hub.training.sampling import Draw, StepSampler

GRID = Grid(3, 4, 48, 64)
FIELDS = ("indices", "locations", "latents", "noise_seeds", "coefficients", "augmentation")


def sampler(seed: int = 0, num_images: int = 10, batch_size: int = 6, window=(2, 2), **more) -> StepSampler:
    return StepSampler(seed, num_images, batch_size, GRID, window, 8, **more)


def arrays(draw: Draw) -> dict[str, np.ndarray]:
    return {name: np.asarray(getattr(draw, name)) for name in FIELDS}


def equal(a: Draw, b: Draw) -> list[bool]:
    return [bool(np.array_equal(arrays(a)[name], arrays(b)[name])) for name in FIELDS]


def test_shapes_and_kinds():
    draw = sampler().draw(3)
    assert draw.indices.shape == (6,) and draw.locations.shape == (6,) and draw.locations.dtype == torch.int64
    assert draw.latents.shape == (6, 8) and draw.latents.dtype == torch.float32
    assert draw.noise_seeds.shape == (6,) and draw.noise_seeds.dtype == torch.int64
    assert draw.coefficients.shape == (6, 4) and draw.coefficients.min() >= 0 and draw.coefficients.max() <= 1
    assert draw.augmentation.shape == (6, 2, NUMBERS) and 0 <= draw.augmentation.min() < draw.augmentation.max() < 1


@given(st.integers(0, 2**63 - 1), st.integers(0, 10**6))
@settings(max_examples=30)
def test_a_draw_hangs_on_the_seed_and_its_number_alone(seed, number):
    """Whatever was drawn before, by whatever else: the whole of what a resume needs."""
    torch.manual_seed(1)
    first = sampler(seed).draw(number)
    worn = sampler(seed)
    for other in (0, 5, 2):
        worn.draw(other)
    torch.manual_seed(2)
    np.random.seed(3)
    assert all(equal(worn.draw(number), first))
    # (Ten images in whole epochs may be drawn alike; all else may not.)
    assert not any(equal(sampler(seed).draw(number + 1), first)[2:])
    assert not any(equal(sampler((seed + 1) % 2**63).draw(number), first)[2:])


@pytest.mark.parametrize("processes", [2, 3, 6])
def test_the_shares_of_several_processes_are_one_processes_draw(processes):
    for number in (0, 1, 17):
        whole = arrays(sampler().draw(number))
        shares = [arrays(sampler(process=n, num_processes=processes).draw(number)) for n in range(processes)]
        for name in FIELDS:
            assert np.array_equal(np.concatenate([share[name] for share in shares]), whole[name]), name


@pytest.mark.parametrize("count", [1, 2, 3, 6])
def test_the_parts_of_a_draw_are_the_draw(count):
    draw = sampler().draw(5)
    parts = draw.parts(count)
    assert [part.number for part in parts] == [5] * count and {len(part.indices) for part in parts} == {6 // count}
    for name in FIELDS:
        assert np.array_equal(np.concatenate([arrays(part)[name] for part in parts]), arrays(draw)[name]), name


@given(st.integers(1, 23), st.integers(1, 9), st.integers(0, 99))
def test_every_image_once_an_epoch(num_images, batch_size, seed):
    draws = sampler(seed, num_images, batch_size)
    epochs = 3
    indices = np.concatenate([draws.draw(n).indices for n in range(-(-epochs * num_images // batch_size))])
    orders = indices[: epochs * num_images].reshape(epochs, num_images)
    for order in orders:
        assert sorted(order.tolist()) == list(range(num_images))
    if num_images > 12:
        assert len({tuple(order) for order in orders}) == epochs  # in another order each


@given(st.lists(st.integers(0, 3), min_size=1, max_size=20), st.integers(1, 9), st.integers(0, 99))
def test_classes_in_turn_and_every_image_of_a_class_once_before_any_twice(labels, batch_size, seed):
    labels = np.array(labels)
    draws = sampler(seed, len(labels), batch_size, class_labels=labels)
    indices = np.concatenate([draws.draw(n).indices for n in range(30)])
    counts = np.bincount(labels[indices], minlength=4)[np.unique(labels)]
    assert counts.max() - counts.min() <= 1
    for label in np.unique(labels):
        images = np.bincount(indices[labels[indices] == label], minlength=len(labels))[labels == label]
        assert images.max() - images.min() <= 1


@given(st.integers(1, 3), st.integers(1, 4), st.integers(0, 99))
@settings(max_examples=30)
def test_windows_lie_inside_and_reach_every_place(rows, cols, seed):
    draws = sampler(seed, batch_size=64, window=(rows, cols))
    locations = np.concatenate([draws.draw(n).locations.numpy() for n in range(10)])
    GRID.check_locations(locations, (rows, cols))
    assert {*locations.tolist()} == {*GRID.window_locations((rows, cols)).tolist()}


def test_no_sub_region_starves():
    """A corner is in no fewer windows than in half as many as the mean sub-region, although fewer windows reach it."""
    draws = sampler(batch_size=64)
    locations = torch.cat([draws.draw(n).locations for n in range(60)])
    counts = torch.bincount(GRID.members(locations, (2, 2)).flatten(), minlength=12).double()
    assert counts.min() > 0.5 * counts.mean()


def test_latents_are_standard_normal():
    latents = torch.cat([sampler(batch_size=100).draw(n).latents for n in range(20)])
    assert abs(latents.mean()) < 0.05 and abs(latents.std() - 1) < 0.05
