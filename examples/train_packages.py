"""How the bundled checkpoint package-128 is trained: on procedural packages, told apart by their type.

    python examples/train_packages.py --output-dir runs/package-128 --max-minutes 60

Any `datasets.Dataset` with images, a label column and boxes is trained on in the same way. Run again with --resume to
go on. The bundled one began with 3,027 steps at `--lambda-r 2 --balance-at 0.5`, whose types had become nearly one
picture each, and went on by `--init-from` for 5,300 steps as below.
"""

from __future__ import annotations

import tyro

from magical_hub import TrainingConfig, train
from magical_hub.data import package_dataset

if __name__ == "__main__":
    defaults = TrainingConfig(
        data=package_dataset(num_images=6000, image_size=128, seed=0),
        label_column="package",
        objects_column="objects",
        lambda_r=8.0,  # with less each type of package becomes one picture
        output_dir="runs/package-128",
        image_size=128,
        rows=4,
        cols=4,
        max_minutes=60,
        max_steps=1_000_000,
    )
    print(train(tyro.cli(TrainingConfig, default=defaults)))
