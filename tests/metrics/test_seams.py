import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from magical_hub.errors import GridError
from magical_hub.grid import Grid
from magical_hub.metrics import halves_interval, line_differences, relative_seam_ratio, seam_energies, seam_ratio


def plain_ratio(images, parts):
    """Step by step down the rows of pixels; for columns give the images turned."""
    height = images.shape[2]
    steps = [np.mean((images[:, :, y].astype(float) - images[:, :, y - 1]) ** 2) for y in range(1, height)]
    at_seams = [step for y, step in enumerate(steps, start=1) if y % (height // parts) == 0]
    inside = [step for y, step in enumerate(steps, start=1) if y % (height // parts)]
    return np.mean(at_seams) / np.mean(inside)


def test_ratio_by_hand():
    lines = np.array([0, 1, 3, 4])  # the step at the seam is 2, both others are 1
    images = np.broadcast_to(lines[:, None], (2, 3, 4, 4))
    ratio = seam_ratio(images, Grid(2, 2, 4, 4))
    assert ratio.rows == 4 and math.isnan(ratio.cols)  # from left to right nothing changes at all


@pytest.mark.parametrize(("rows", "cols"), [(4, 4), (2, 8), (16, 2)])
def test_ratio_is_that_of_the_definition(cells, rows, cols):
    ratio = seam_ratio(cells[:20], Grid(rows, cols, 128, 128))
    assert ratio.rows == pytest.approx(plain_ratio(cells[:20], rows), rel=1e-4)
    assert ratio.cols == pytest.approx(plain_ratio(cells[:20].swapaxes(2, 3), cols), rel=1e-4)


def test_bytes_do_not_wrap_around(cells):
    grid, as_bytes = Grid(4, 4, 128, 128), np.uint8(np.round((cells[:5] + 1) * 127.5))
    assert seam_ratio(as_bytes, grid) == pytest.approx(seam_ratio(cells[:5], grid), rel=1e-3)


@given(scale=st.floats(0.1, 100), shift=st.floats(-10, 10))
def test_brightness_and_contrast_do_not_matter(scale, shift):
    images = np.random.default_rng(0).normal(size=(2, 1, 12, 8))
    grid = Grid(3, 2, 12, 8)
    assert seam_ratio(scale * images + shift, grid) == pytest.approx(seam_ratio(images, grid), rel=1e-3)


def test_visible_seams_of_one_direction_show_in_that_direction_only(cells):
    grid = Grid(4, 4, 128, 128)
    striped = cells[:40].copy()
    striped.reshape(40, 1, 4, 32, 128)[:, :, 1::2] += 0.2  # every second band of sub-regions is lighter
    ratio = relative_seam_ratio(striped, cells[:40], grid)
    assert ratio.rows > 2 and ratio.cols == pytest.approx(1, abs=1e-4)


def test_other_real_images_are_near_one(cells):
    ratio = relative_seam_ratio(cells[:45], cells[45:], Grid(4, 4, 128, 128))
    assert ratio == pytest.approx((1, 1), abs=0.5)  # few of the cells have most of the contrast


def test_a_direction_without_seams_has_no_ratio(cells):
    ratio = seam_ratio(cells[:2], Grid(1, 4, 128, 128))
    assert math.isnan(ratio.rows) and ratio.cols > 0


def test_images_must_fit_the_grid(cells):
    with pytest.raises(GridError):
        seam_ratio(cells[:2], Grid(2, 2, 64, 64))


def test_the_interval_of_halves_holds_ratios_of_halves(cells):
    grid = Grid(4, 4, 128, 128)
    low, high = halves_interval(seam_energies(cells, grid), resamples=300)
    order = np.random.default_rng(7)
    drawn = [np.split(cells[order.permutation(90)], 2) for _ in range(40)]
    ratios = np.array([relative_seam_ratio(one, other, grid) for one, other in drawn])
    inside = ((np.array(low) <= ratios) & (ratios <= np.array(high))).mean(0)
    assert (inside >= 0.8).all() and 0.3 < low.rows < 1 < high.rows < 3


def test_differences_show_where_the_seam_is():
    images = np.zeros((3, 1, 8, 6), np.uint8)
    images[:, :, 4:] = 200
    down, along = line_differences(images)
    assert down.shape == (7, 6) and along.shape == (8, 5)
    assert (down[3] == 200).all() and down.sum() == 6 * 200 and not along.any()
