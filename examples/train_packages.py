"""How the bundled `package-512` is trained: on procedural packages without defects, told apart by their type.

    python examples/train_packages.py --output-dir runs/package-512 --max-minutes 60

Any `datasets.Dataset` with images and a label column is trained on in the same way, one with boxes by --objects-column
too. Run again with --resume to go on.
"""

from __future__ import annotations

from dataclasses import replace

import tyro

from magical_hub import TrainingConfig, train
from magical_hub.data import package_dataset

RECIPE = TrainingConfig(
    data="packages",  # which are rendered once the command line is read
    output_dir="runs/package-512",
    label_column="package",
    max_images=1000,
    # 8 x 8 sub-regions of 64 px: windows have four times the pixels of the default ones, so with half the channels and
    # half the windows a step costs about as much.
    image_size=512,
    rows=8,
    cols=8,
    base_width=16,
    batch_size=8,
    lambda_r=4.0,  # drawn edges are sharper than a camera's: with less the critic is far ahead
    balance_at=0.5,  # the feature critic is there as soon as the critic can't tell the mean of the images from them
    max_minutes=60,
    max_steps=1_000_000,
)

if __name__ == "__main__":
    config = tyro.cli(TrainingConfig, default=RECIPE)
    rate = 0.5 if config.objects_column else 0.0
    packages = package_dataset(config.max_images, config.image_size, seed=0, defect_rate=rate)
    print(train(replace(config, data=packages)))
