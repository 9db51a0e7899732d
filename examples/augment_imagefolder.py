"""A folder of images a class, and as many synthetic ones beside as make the classes equal.

    python examples/augment_imagefolder.py --data IMAGES --checkpoint RUN --output-dir AUGMENTED --num-images 500

IMAGES has one folder per class, or a metadata.jsonl with boxes; RUN was trained on them with `--label-column label`.
What is written is read by `datasets.load_dataset("imagefolder")`; its metadata.jsonl says which images are synthetic.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import datasets
import tyro

from magical_hub import MagicalPipeline, augment_dataset
from magical_hub.export import write_dataset


def main(data: Path, checkpoint: str, output_dir: Path, num_images: int = 500, seed: int = 0) -> None:
    """Augment the split "train" of IMAGES."""
    train_set = datasets.load_dataset("imagefolder", data_dir=str(data), split="train")
    pipe = MagicalPipeline.from_pretrained(checkpoint)
    augmented = augment_dataset(train_set, pipe, num_images=num_images, balance=True, seed=seed, provenance=True)
    write_dataset(augmented, output_dir, "imagefolder")
    for name, dataset in {"before": train_set, "after": augmented}.items():
        kind, labels = dataset.features["label"], dataset["label"][:]
        names = kind.int2str(labels) if isinstance(kind, datasets.ClassLabel) else labels  # metadata.jsonl has names
        print(name, dict(Counter(names)))


if __name__ == "__main__":
    tyro.cli(main)
