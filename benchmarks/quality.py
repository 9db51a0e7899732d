"""Measure a folder of generated images against a folder of real ones: one row of a Markdown table, and its floor.

    python benchmarks/quality.py --generated images/ --real cells/ --rows 4 --cols 4 --num 600

All figures compare equal numbers, since most of them depend on it. Real images are cut into two halves: one is the
reference, the other, in place of generated images, gives the floor: what a perfect generator would show.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tyro
from PIL import Image

from magical_hub.grid import Grid
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

HEADER = """\
| images | KID x 1000 | Frechet | precision | recall | density | coverage | seams: rows | cols | variety | coherence |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"""


def main(generated: Path, real: Path, rows: int = 4, cols: int = 4, num: int = 600, seed: int = 0) -> None:
    """Print the quality of generated images, and what the real images themselves reach.

    Args:
        generated: folder of PNGs, all of one size, grey or RGB.
        real: folder of PNGs of the same size and mode.
        rows: rows of sub-regions.
        cols: columns of sub-regions.
        num: images to compare with as many; fewer where the folders hold fewer.
        seed: of which images are taken, and of KID's subsets.
    """
    generated_files, real_files = shuffled_files(generated, seed), shuffled_files(real, seed)
    num = min(num, len(generated_files), len(real_files) // 2)
    reference, other_half = load(real_files[:num]), load(real_files[num : 2 * num])
    grid = Grid(rows, cols, *reference.shape[2:])

    network = efficientnet_lite0()
    reference_features = extract(reference, network, progress=True)
    print(f"{num} against {num} images of {grid.height} x {grid.width}, {network.name} at {network.image_size} px\n")
    print(HEADER)
    for name, images in (("generated", load(generated_files[:num])), ("real (floor)", other_half)):
        features = extract(images, network, progress=True)
        distance, scores = kid(reference_features, features, seed=seed), manifold_scores(reference_features, features)
        seams, pieces = relative_seam_ratio(images, reference, grid), coherence(images, grid)
        print(
            f"| {name} | {1000 * distance.mean:.2f} +- {1000 * distance.standard_error:.2f} "
            f"| {frechet_distance(reference_features, features):.1f} | {scores.precision:.2f} | {scores.recall:.2f} "
            f"| {scores.density:.2f} | {scores.coverage:.2f} | {seams.rows:.2f} | {seams.cols:.2f} "
            f"| {relative_variety(images, reference):.2f} | {pieces.brightness:.2f}, {pieces.contrast:.2f} |",
            flush=True,
        )


def shuffled_files(folder: Path, seed: int) -> list[Path]:
    files = sorted(folder.rglob("*.png"))
    return [files[i] for i in np.random.default_rng(seed).permutation(len(files))]


def load(files: list[Path]) -> np.ndarray:
    """Images in [-1, 1]: (N, C, H, W)."""
    images = np.stack([np.atleast_3d(np.asarray(Image.open(file))) for file in files])
    return images.transpose(0, 3, 1, 2).astype(np.float32) / 127.5 - 1


if __name__ == "__main__":
    tyro.cli(main)
