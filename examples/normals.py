"""Synthetic normal images for a detector that learns from normal images alone (PatchCore and its kind).

    python examples/normals.py --checkpoint RUN --output-dir NORMALS --num-images 200

The recipe is one line: a training set that has normal images alone gets normal images alone, for only classes that
occur are made. NORMALS has the layout of anomalib's Folder data module. RUN was trained on procedural packages by
`examples/train_detector.py`, or on a dataset with boxes (`--objects-column objects`) whose normal images have none.
"""

from __future__ import annotations

from pathlib import Path

import tyro

from magical_hub import MagicalPipeline, augment_dataset
from magical_hub.data import package_dataset
from magical_hub.export import write_dataset


def main(
    checkpoint: str, output_dir: Path, num_images: int = 200, num_real: int = 100, image_size: int = 128, seed: int = 0
) -> None:
    """Write real and synthetic normal packages."""
    normals = package_dataset(num_real, image_size, seed=seed, defect_rate=0.0)
    pipe = MagicalPipeline.from_pretrained(checkpoint)
    augmented = augment_dataset(normals, pipe, num_images=num_images, seed=seed)
    write_dataset(augmented, output_dir, "anomalib")
    print(f"{len(normals)} real and {num_images} synthetic normal images: {output_dir / 'normal'}")


if __name__ == "__main__":
    tyro.cli(main)
