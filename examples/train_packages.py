"""How the bundled checkpoints are trained: on procedural packages, told apart by their type.

    python examples/train_packages.py package-128 --output-dir runs/package-128 --max-minutes 60
    python examples/train_packages.py package-512 --output-dir runs/package-512 --max-minutes 60

Any `datasets.Dataset` with images, a label column and boxes is trained on in the same way. Run again with --resume to
go on.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import tyro

from magical_hub import TrainingConfig, train
from magical_hub.data import package_dataset

COMMON: dict[str, Any] = {
    "data": "packages",  # which are rendered once the command line is read
    "label_column": "package",
    "lambda_r": 4.0,  # drawn edges are sharper than a camera's: with less the critic is far ahead
    "balance_at": 0.5,  # the feature critic is there as soon as the critic can't tell the mean of the images from them
    "max_minutes": 60,
    "max_steps": 1_000_000,
}
RECIPES = {
    "package-128": (
        "128 px, with defects: 4 x 4 sub-regions of 32 px",
        TrainingConfig(
            **COMMON,
            output_dir="runs/package-128",
            max_images=6000,
            image_size=128,
            rows=4,
            cols=4,
            objects_column="objects",
        ),
    ),
    "package-512": (
        "512 px, without defects: 8 x 8 sub-regions of 64 px",
        # Windows have four times the pixels: with half the channels and half the windows a step costs about as much.
        TrainingConfig(
            **COMMON,
            output_dir="runs/package-512",
            max_images=1000,
            image_size=512,
            rows=8,
            cols=8,
            base_width=16,
            batch_size=8,
        ),
    ),
}

if __name__ == "__main__":
    config = tyro.extras.overridable_config_cli(RECIPES)
    rate = 0.5 if config.objects_column else 0.0
    packages = package_dataset(config.max_images, config.image_size, seed=0, defect_rate=rate)
    print(train(replace(config, data=packages)))
