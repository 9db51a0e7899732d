"""The filter drops what is like nothing real, and what is too much like one real image."""

from __future__ import annotations

from collections import Counter

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from magical_hub import augment_dataset
from magical_hub.augmentation import QualityFilter
from magical_hub.data import package_dataset
from magical_hub.errors import AugmentationError, ConfigError, DataError


class Means(nn.Module):
    """Means over 8 x 8 places: features of any network will do."""

    name, num_features, image_size = "means", 192, 32

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.scale * nn.functional.adaptive_avg_pool2d(images, 8).flatten(1)


@pytest.fixture(scope="module")
def real():
    return package_dataset(60, 64)


@pytest.fixture(scope="module")
def quality_filter(real, class_pipe):
    return QualityFilter(real, class_pipe, network=Means())


def seen(dataset) -> np.ndarray:
    """As if they had been generated at 48 x 32 pixels."""
    return np.stack([np.asarray(image.resize((48, 32), Image.Resampling.LANCZOS)) for image in dataset["image"]])


def test_other_real_images_pass(quality_filter):
    reasons = Counter(quality_filter(seen(package_dataset(60, 64, seed=9))))
    assert reasons[""] >= 50 and reasons["near copy"] <= 1


def test_copies_are_dropped_brightened_and_shifted_ones_too(quality_filter, real):
    copies = seen(real.select(range(20)))
    assert quality_filter(copies) == ["near copy"] * 20
    altered = np.roll((copies * 0.9 + 12).astype(np.uint8), 1, axis=2)
    assert Counter(quality_filter(altered))["near copy"] >= 15


def test_what_is_like_nothing_real_is_dropped(quality_filter, class_pipe):
    made = np.stack([np.asarray(image) for image in class_pipe(num_images=8, seeds=range(8)).images])
    assert quality_filter(made) == ["unlike real images"] * 8


def test_as_the_filter_of_augment_dataset(labelled, class_pipe, real, quality_filter):
    with pytest.raises(AugmentationError, match=r"gave 0 of the 3 wanted \(\d+ unlike real images\)"):
        augment_dataset(labelled, class_pipe, 3, keep=quality_filter)
    lenient = QualityFilter(real, class_pipe, network=Means(), outside=1000)
    assert len(augment_dataset(labelled, class_pipe, 3, keep=lenient)) == 13


def test_mistakes(real, class_pipe, quality_filter):
    with pytest.raises(DataError, match="29 real images are too few for a filter: there must be at least 30"):
        QualityFilter(real.select(range(29)), class_pipe, network=Means())
    with pytest.raises(ConfigError, match="outside is 0"):
        QualityFilter(real, class_pipe, network=Means(), outside=0)
    with pytest.raises(DataError, match="give the same pipeline"):
        quality_filter(np.zeros((2, 64, 64, 3), np.uint8))


def test_real_images_are_read_by_the_range_of_training(real, make_pipeline):
    """A camera of 12 bits writes 16: those images, black and white as in training, are the same ones."""
    grey = [np.asarray(image.convert("L")) for image in real["image"]]
    features = datasets.Features(image=datasets.Image())
    plain, deep = (
        datasets.Dataset.from_dict({"image": [Image.fromarray(one) for one in images]}, features=features)
        for images in (grey, [one.astype(np.uint16) * np.uint16(16) for one in grey])
    )
    made = np.stack([np.asarray(image.resize((48, 32))) for image in package_dataset(12, 64, seed=9)["image"]])
    made = np.concatenate([made[..., 0], seen(plain.select(range(4)))])
    ranged = QualityFilter(deep, make_pipeline(intensity_range=(0.0, 4080.0)), network=Means())
    reasons = ranged(made)
    assert (
        reasons == QualityFilter(plain, make_pipeline(), network=Means())(made) and reasons[-4:] == ["near copy"] * 4
    )
