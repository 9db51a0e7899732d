"""Real images: train on the ELPV solar cells, generate, and measure against cells that were not trained on.

    pip install "magical-hub[bench]"
    OMP_NUM_THREADS=1 python examples/elpv.py --output-dir runs/elpv --max-minutes 25

The dataset (2,624 electroluminescence images, Deitsch et al. 2019-2021) is CC BY-NC-SA 4.0: neither its images nor
weights trained on it may be used commercially, and this project ships neither.
"""

from __future__ import annotations

from pathlib import Path

import elpv_dataset
import numpy as np
import torch
import tyro

from magical_hub import MagicalPipeline, TrainingConfig, train
from magical_hub.data import open_store
from magical_hub.metrics import (
    coherence,
    efficientnet_lite0,
    extract,
    frechet_distance,
    kid,
    manifold_scores,
    relative_seam_ratio,
    relative_variety,
)
from magical_hub.pictures import save_picture_grid
from magical_hub.training import Split

CELLS = Path(elpv_dataset.__file__).parent / "data" / "images"
COMPARED = 600


def main(config: TrainingConfig) -> None:
    """Train, then print KID, Frechet distance, precision, recall, relative seam ratios, variety and coherence."""
    result = train(config)
    print(f"{result.steps} steps; {result.seconds / 60:.1f} minutes on {torch.get_num_threads()} thread(s)")

    run = Path(config.output_dir)
    store, split = open_store(run / "data"), Split.load(run / "split.json")
    real = store.images(np.asarray(split.holdout[:COMPARED]))
    pipe = MagicalPipeline.from_pretrained(run)
    images = pipe(seeds=range(COMPARED), output_type="pt").images
    made = (images * 255).round().byte().numpy()
    save_picture_grid(made[:64], run / "generated.png", columns=8)
    save_picture_grid(real[:64], run / "real.png", columns=8)

    network = efficientnet_lite0()
    ours, theirs = (extract(pixels.astype(np.float32) / 127.5 - 1, network, progress=True) for pixels in (made, real))
    distance, manifold = kid(theirs, ours), manifold_scores(theirs, ours)
    grid = pipe.generator.grid
    seams, ours_agree, theirs_agree = (
        relative_seam_ratio(made, real, grid),
        coherence(made, grid),
        coherence(real, grid),
    )
    print(f"{len(made)} generated against {len(real)} held-out real images, {network.name} at {network.image_size} px")
    print(f"KID x 1000        {1000 * distance.mean:.1f} +- {1000 * distance.standard_error:.1f}")
    print(f"Frechet distance  {frechet_distance(theirs, ours):.1f}")
    print(f"precision, recall {manifold.precision:.2f}, {manifold.recall:.2f} (k = 3)")
    print(f"relative seam ratio, rows {seams.rows:.2f}, columns {seams.cols:.2f} (1 is right)")
    print(f"relative variety  {relative_variety(made, real):.2f} (1 is right)")
    print(f"coherence of brightness {ours_agree.brightness:.2f} (real {theirs_agree.brightness:.2f})")
    print(f"coherence of contrast   {ours_agree.contrast:.2f} (real {theirs_agree.contrast:.2f})")


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
