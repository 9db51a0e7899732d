"""Rows a second into Arrow by `augment_dataset`, as a share of the images a second that the bare pipeline makes.

    python benchmarks/augmentation.py --checkpoint package-512 --num-images 16

Both take turns (A B A B) and medians count; every round has its own seed, so that nothing is found in the cache. The
share is given by the clock and by processor time, which other programs on the machine disturb less.
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


def main(checkpoint: str = "package-512", num_images: int = 16, batch_size: int = 8, rounds: int = 3) -> None:
    """Print a table of one row."""
    pipe = MagicalPipeline.from_pretrained(checkpoint)
    pipe.set_progress_bar_config(disable=True)
    real = package_dataset(32, pipe.generator.grid.height)
    bare, rows = list[tuple[float, float]](), list[tuple[float, float]]()
    with tempfile.TemporaryDirectory() as cache:
        datasets.config.HF_DATASETS_CACHE = Path(cache)
        for number in range(rounds + 1):
            start = now()
            for first in range(0, num_images, batch_size):
                pipe(
                    seeds=[image_seed(number, i) for i in range(first, first + batch_size)],
                    images_per_batch=batch_size,
                )
            bare.append(since(start))
            start = now()
            augment_dataset(real, pipe, num_images, label_column="package", seed=number, batch_size=batch_size)
            rows.append(since(start))
    threads, size = torch.get_num_threads(), f"{pipe.generator.grid.height} x {pipe.generator.grid.width}"
    print("| checkpoint | pixels | threads | bare, images a second | rows a second | share | by processor time |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    figures = [statistics.median(num_images / clock for clock, _ in times[1:]) for times in (bare, rows)]
    for which in range(2):  # the first round warms up
        figures.append(statistics.median(b[which] / r[which] for b, r in zip(bare[1:], rows[1:], strict=True)))
    print(f"| {checkpoint} | {size} | {threads} | {' | '.join(f'{figure:.2f}' for figure in figures)} |")


def now() -> tuple[float, float]:
    """The clock, and the processor time of this process, in seconds."""
    return time.perf_counter(), time.process_time()


def since(start: tuple[float, float]) -> tuple[float, float]:
    """Both, since then."""
    clock, processor = now()
    return clock - start[0], processor - start[1]


if __name__ == "__main__":
    tyro.cli(main)
