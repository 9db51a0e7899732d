"""Real images: train on the ELPV solar cells, generate, and measure against cells that were not trained on.

    pip install "magical-hub[bench]"
    OMP_NUM_THREADS=1 python examples/elpv.py --output-dir runs/elpv --max-minutes 25

The dataset (2,624 electroluminescence images, Deitsch et al. 2019-2021) is CC BY-NC-SA 4.0: neither its images nor
weights trained on it may be used commercially, and this project ships neither.
"""

from __future__ import annotations

from pathlib import Path

import elpv_dataset
import torch
import tyro

from magical_hub import TrainingConfig, evaluate, train

CELLS = Path(elpv_dataset.__file__).parent / "data" / "images"
COMPARED = 600


def main(config: TrainingConfig) -> None:
    """Train, evaluate against the held-out cells, and print what the report says; it lies in RUN/evaluation."""
    result = train(config)
    print(f"{result.steps} steps; {result.seconds / 60:.1f} minutes on {torch.get_num_threads()} thread(s)")
    report = evaluate(config.output_dir, num_images=COMPARED)
    print(report.summary())
    print(f"pictures and plots: {Path(config.output_dir) / 'evaluation' / 'report.html'}")


if __name__ == "__main__":
    defaults = TrainingConfig(
        data=str(CELLS),
        output_dir="runs/elpv",
        image_size=128,
        rows=4,
        cols=4,
        channels=1,
        max_minutes=25,
        max_steps=1_000_000,
        validation_fraction=0.02,
        holdout_fraction=COMPARED / 2624,
    )
    main(tyro.cli(TrainingConfig, default=defaults))
