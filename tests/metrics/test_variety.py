import math

import numpy as np
import pytest

from magical_hub.metrics import relative_variety


def test_by_hand():
    """Three flat images of 0, 1 and 4: the nearest others are 1, 1 and 3 away."""
    real = np.full((3, 1, 8, 8), 1.0) * np.array([0, 1, 4])[:, None, None, None]
    generated = np.full((3, 1, 8, 8), 1.0) * np.array([0, 2, 2])[:, None, None, None]
    assert relative_variety(generated, real) == pytest.approx((2 / 3) / (5 / 3))
    assert relative_variety(real, real) == 1


def test_one_picture_a_class_is_a_collapse_though_the_classes_differ(cells):
    classes = np.repeat(cells[:4], 8, axis=0)
    collapsed = classes + np.random.default_rng(0).normal(0, 0.02, classes.shape)
    assert relative_variety(collapsed, cells[:32]) < 0.1
    assert 0.8 < relative_variety(cells[32:64], cells[:32]) < 1.25  # two halves of the real images


def test_more_images_do_not_make_a_set_look_less_varied(cells):
    assert relative_variety(cells[:64], cells[:16]) == 1 == relative_variety(cells[:16], cells[:64])


def test_without_two_different_images_there_is_no_figure(cells):
    assert math.isnan(relative_variety(cells[:1], cells[:8]))
    assert math.isnan(relative_variety(cells[:2], np.zeros((2, *cells.shape[1:]))))
    assert relative_variety(np.zeros((2, *cells.shape[1:])), cells[:2]) == 0
