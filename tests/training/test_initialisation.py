"""What a new run draws on: the mean of the training part, each class's own where there are enough images of it."""

from __future__ import annotations

import datasets
import numpy as np
from PIL import Image

from magical_hub import MagicalPipeline, TrainingConfig, train
from magical_hub.training.networks import ENOUGH

MANY, FEW = 2 * ENOUGH, ENOUGH // 4


def start(tmp_path, pixels: np.ndarray, labels: list[int]) -> np.ndarray:
    """The picture of a run that has hardly begun, (classes, C, rows, cols) in grey levels."""
    names = [f"class {number}" for number in range(1 + max(labels))]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=names)})
    rows = {"image": [Image.fromarray(image) for image in pixels], "label": labels}
    config = TrainingConfig(
        data=datasets.Dataset.from_dict(rows, features=features),
        label_column="label",
        output_dir=str(tmp_path / "run"),
        image_size=pixels.shape[1:3],
        **{"rows": 2, "cols": 2, "base_width": 4, "max_width": 8, "batch_size": 2, "max_steps": 1},
        **{"validation_fraction": 0, "holdout_fraction": 0, "augment": "off", "generator_lr": 1e-9},
    )
    train(config)
    pipe = MagicalPipeline.from_pretrained(tmp_path / "run")
    return (pipe.generator.base.values.detach().numpy() + 1) * 127.5


def test_each_class_starts_with_its_mean(tmp_path):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (2 * MANY, 32, 64, 3), dtype=np.uint8)
    pixels[MANY:, :16] //= 4
    labels = [0] * MANY + [1] * MANY
    values = start(tmp_path, pixels, labels)
    halves = pixels.reshape(2, MANY, 16, 2, 32, 2, 3).mean((1, 3, 5)).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(values, halves, atol=0.1)


def test_a_class_of_few_images_does_not_show_them(tmp_path):
    """The mean of one image would be that image."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(100, 156, (MANY + FEW, 32, 32), dtype=np.uint8)
    pixels[MANY:] = rng.choice([0, 255], (1, 32, 32))  # the same each time
    values = start(tmp_path, pixels, [0] * MANY + [1] * FEW)
    many, few = (some.reshape(-1, 16, 2, 16, 2).mean((0, 2, 4)) for some in (pixels[:MANY], pixels[MANY:]))
    overall = (many * MANY + few * FEW) / (MANY + FEW)
    np.testing.assert_allclose(values[0, 0], many, atol=0.1)
    np.testing.assert_allclose(values[1, 0], overall + (few - overall) * FEW / ENOUGH, atol=0.1)
