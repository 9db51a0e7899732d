"""Rows a second into Arrow by `augment_dataset`, as a share of the images a second that the bare pipeline makes.

    python benchmarks/augmentation.py --checkpoint package-128 --num-images 64

Both take turns (A B A B) and medians count; every round has its own seed, so that nothing is found in the cache.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import datasets
import torch
import tyro

from magical_hub import MagicalPipeline, augment_dataset
from magical_hub.data import package_dataset
from magical_hub.seeds import image_seed


def main(checkpoint: str = "package-128", num_images: int = 64, batch_size: int = 8, rounds: int = 3) -> None:
    """Print a table of one row."""
    pipe = MagicalPipeline.from_pretrained(checkpoint)
    pipe.set_progress_bar_config(disable=True)
    real = package_dataset(32, pipe.generator.grid.height)
    bare, rows = [], []
    with tempfile.TemporaryDirectory() as cache:
        datasets.config.HF_DATASETS_CACHE = Path(cache)
        for number in range(rounds + 1):
            start = time.perf_counter()
            for first in range(0, num_images, batch_size):
                pipe(seeds=[image_seed(number, i) for i in range(first, first + batch_size)], batch_size=batch_size)
            bare.append(num_images / (time.perf_counter() - start))
            start = time.perf_counter()
            augment_dataset(real, pipe, num_images, label_column="package", seed=number, batch_size=batch_size)
            rows.append(num_images / (time.perf_counter() - start))
    shares = [row / image for row, image in zip(rows[1:], bare[1:], strict=True)]  # the first round warms up
    threads, size = torch.get_num_threads(), f"{pipe.generator.grid.height} x {pipe.generator.grid.width}"
    print("| checkpoint | pixels | threads | bare, images a second | rows a second | share |")
    print("| --- | --- | --- | --- | --- | --- |")
    medians = " | ".join(f"{statistics.median(values):.2f}" for values in (bare[1:], rows[1:], shares))
    print(f"| {checkpoint} | {size} | {threads} | {medians} |")


if __name__ == "__main__":
    tyro.cli(main)
