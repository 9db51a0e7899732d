from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from magical_hub.data import render_package
from magical_hub.data.blends import box_of, cut_and_paste, perlin_blend, perlin_noise, procedural_defect
from magical_hub.errors import DataError

KINDS = [cut_and_paste, perlin_blend, procedural_defect]


@pytest.fixture(scope="module")
def packages() -> list[np.ndarray]:
    return [render_package(index, 64, seed=1, defect_rate=0).image.transpose(2, 0, 1) for index in range(6)]


@pytest.mark.parametrize("blend", KINDS)
def test_what_changed_lies_in_the_mask_and_the_mask_in_the_box(packages, blend):
    rng = np.random.default_rng(0)
    shares = []
    for round in range(60):
        image, source = packages[round % 6], packages[(round + 1) % 6]
        before = image.copy()
        made = blend(image, source, rng)
        assert np.array_equal(image, before) and made.image.shape == image.shape and made.image.dtype == np.uint8
        changed = (made.image != image).any(axis=0)
        assert changed.any() and not (changed & ~made.mask).any()
        x, y, width, height = map(int, made.box)
        inside = np.zeros_like(made.mask)
        inside[y : y + height, x : x + width] = True
        assert not (made.mask & ~inside).any()
        assert made.mask[y].any() and made.mask[y + height - 1].any()
        assert made.mask[:, x].any() and made.mask[:, x + width - 1].any()
        shares.append(changed[made.mask].mean())
    assert np.median(shares) > 0.9  # a defect that shows


@pytest.mark.parametrize("blend", KINDS)
def test_a_blend_hangs_on_the_seed_alone(packages, blend):
    first, again, other = (blend(packages[0], packages[1], np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert np.array_equal(first.image, again.image) and first.box == again.box
    assert not np.array_equal(first.image, other.image)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6), height=st.integers(8, 40), width=st.integers(8, 40), channels=st.sampled_from([1, 3])
)
def test_any_shape_and_any_flat_image_gets_a_defect(seed, height, width, channels):
    rng = np.random.default_rng(seed)
    flat = np.full((channels, height, width), rng.integers(256), np.uint8)
    made = procedural_defect(flat, flat, rng)
    assert made.mask.any() and (made.image != flat).any()


def test_noise_is_zero_at_the_corners_of_its_cells_and_smooth_between():
    noise = perlin_noise(101 * 3, 101 * 2, 3, 2, np.random.default_rng(0))
    corners = noise[np.ix_([0, 101, 202], [0, 101])]
    assert np.abs(corners).max() < 0.02  # half a pixel from them
    assert 0.3 < np.abs(noise).max() <= 1
    assert max(np.abs(np.diff(noise, axis=axis)).max() for axis in (0, 1)) < 0.05


def test_box_by_hand():
    mask = np.zeros((6, 9), bool)
    mask[2, 3] = mask[4, 7] = True
    assert box_of(mask) == (3, 2, 5, 3)


def test_unfit_images_are_refused(packages):
    rng = np.random.default_rng(0)
    with pytest.raises(DataError, match="give two of one shape"):
        cut_and_paste(packages[0], packages[0][:, :32], rng)
    with pytest.raises(DataError, match="give two of one shape"):
        perlin_blend(packages[0] / 255, packages[0] / 255, rng)
    with pytest.raises(DataError, match="no room"):
        perlin_blend(np.zeros((1, 4, 40), np.uint8), np.zeros((1, 4, 40), np.uint8), rng)
