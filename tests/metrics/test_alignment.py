"""Whether images lie on each other: real cells and rendered packages, as they are and moved."""

from __future__ import annotations

import numpy as np
import pytest
from elpv_dataset.utils import load_dataset
from PIL import Image
from scipy import signal

from magical_hub.data import package_dataset
from magical_hub.metrics import alignment


def small(images) -> np.ndarray:
    return np.stack([np.asarray(image.convert("L").resize((64, 64), Image.Resampling.LANCZOS)) for image in images])


@pytest.fixture(scope="module")
def images() -> dict[str, np.ndarray]:
    cells, _, _ = load_dataset()
    return {
        "cells": small(map(Image.fromarray, cells[::82])),
        "packages": small(package_dataset(32, image_size=64, seed=3)["image"]),
    }


@pytest.mark.parametrize("kind", ["cells", "packages"])
def test_real_layouts_are_in_place_and_moved_ones_are_not(images, kind):
    rng = np.random.default_rng(0)
    moved = np.stack([np.roll(image, rng.integers(8, 56, 2), (0, 1)) for image in images[kind]])
    assert alignment(images[kind]) > 0.7
    assert alignment(moved) < 0.1


def test_light_and_contrast_do_not_matter(images):
    rng = np.random.default_rng(0)
    gain, offset = rng.uniform(0.3, 2, (2, 32, 1, 1))
    assert alignment(images["cells"] * gain + 100 * offset) == alignment(images["cells"])


def test_each_is_where_a_plain_correlation_finds_it():
    """Five crosses, two of them elsewhere: against scipy's correlation over all shifts of a tiled mean."""
    images = np.zeros((5, 64, 64))
    for number, shift in enumerate([0, 0, 0, 5, 20]):
        images[number, 30 + shift, 10:50] = images[number, 10:50, 30 + shift] = 1
    wrapped = np.tile(images[:3].mean(0), (2, 2))
    for image, in_place in zip(images, [True, True, True, False, False], strict=True):
        fits = signal.correlate(wrapped, image, "valid")[:64, :64]
        assert (fits.argmax() == 0) == in_place
    assert alignment(images) == 3 / 5
