"""`pipe.region`: any rectangle of an image, made alone."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from float64 import float64

from magical_hub import MagicalCritic, MagicalGenerator, MagicalPipeline, SeamlessGenerator
from magical_hub.errors import ConfigError, GridError


@pytest.fixture(scope="module", params=[MagicalGenerator, SeamlessGenerator])
def classes_pipe(request, randomise) -> MagicalPipeline:
    """2 x 3 sub-regions of 17 x 23 px, so that hardly any rectangle starts where a cell of a network does."""
    torch.manual_seed(0)
    shape: dict[str, Any] = {"rows": 2, "cols": 3, "image_size": (34, 69), "channels": 3, "base_width": 8}
    shape |= {"max_width": 16, "num_classes": 2}
    generator = request.param(**shape, class_names=["good", "void"], class_frequencies=[0.5, 0.5])
    randomise(generator)
    pipe = MagicalPipeline(generator.eval(), MagicalCritic(**shape).eval())
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.mark.parametrize(
    "rectangle", [(0, 0, 34, 69), (17, 23, 17, 23), (5, 7, 19, 40), (33, 68, 1, 1), (10, 0, 3, 69)]
)
@pytest.mark.parametrize("seed", [0, 3])
@float64()
def test_a_region_is_the_crop_of_the_whole_image(classes_pipe, rectangle, seed):
    top, left, height, width = rectangle
    pipe = MagicalPipeline(copy.deepcopy(classes_pipe.generator).double())
    whole = pipe(seeds=[seed], output_type="np").images[0]
    assert whole.std() > 0.02
    made = pipe.region(*rectangle, seed=seed, output_type="np")
    assert made.shape == (height, width, 3)
    assert np.abs(made - whole[top : top + height, left : left + width]).max() < 1e-10


def test_its_class_its_kinds_and_what_is_refused(classes_pipe):
    good, void = (classes_pipe.region(0, 0, 8, 8, class_label=c, output_type="pt") for c in ("good", 1))
    assert good.shape == (3, 8, 8) and not torch.allclose(good, void, atol=0.01)
    assert classes_pipe.region(0, 0, 8, 9).size == (9, 8)
    with pytest.raises(GridError, match="5 x 5 px from row 30 and column 0 on leaves the image of 34 x 69"):
        classes_pipe.region(30, 0, 5, 5)
    with pytest.raises(ConfigError, match="output_type is 'jpg'"):
        classes_pipe.region(0, 0, 5, 5, output_type="jpg")
    with pytest.raises(ConfigError, match="no class 'bad'"):
        classes_pipe.region(0, 0, 5, 5, class_label="bad")
