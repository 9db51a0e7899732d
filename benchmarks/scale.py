"""What writing images of any size costs: peak memory by the side of the image, and speed beside the bare generator's.

    python benchmarks/scale.py memory --sides 4096 8192 16384
    python benchmarks/scale.py speed
    python benchmarks/scale.py engines

An untrained seamless generator of the default widths stands for a trained one: its cost depends on its shape alone.
Memory is the kernel's greatest resident size (VmHWM) of a fresh process each, Python and torch included. "held whole"
makes the image in one call of the pipeline, the plain way, and writes it by tifffile in one piece. Speed takes turns
(A B A B), and medians count: the bare generator makes the same pieces and throws them away. The share by the
processor's time (of all threads) hangs less on what else the machine does.

Engines are those of `augment_dataset`: one thread a worker, rows a second once the workers run (a long call's time
less a short one's, of one shard a worker).
"""

from __future__ import annotations

import re
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

import datasets
import ray
import torch
import tyro

from magical_hub import MagicalPipeline, SeamlessGenerator, augment_dataset
from magical_hub.augmentation.making import TOGETHER
from magical_hub.data import package_dataset
from magical_hub.export import write
from magical_hub.export.raster import PIECE, rectangles

How = Literal["tiff", "zarr", "held whole"]

MIB = 2**20


@dataclass(frozen=True)
class Case:
    """An image and its generator."""

    side: int
    sub_region: int
    channels: int
    base_width: int
    max_width: int
    threads: int

    def pipeline(self) -> MagicalPipeline:
        """An untrained one."""
        torch.set_num_threads(self.threads)
        torch.manual_seed(0)
        generator = SeamlessGenerator(
            rows=self.side // self.sub_region,
            cols=self.side // self.sub_region,
            image_size=(self.side, self.side),
            channels=self.channels,
            base_width=self.base_width,
            max_width=self.max_width,
        )
        return MagicalPipeline(generator.eval())


def memory(
    sides: tuple[int, ...] = (4096, 8192, 16384),
    whole_sides: tuple[int, ...] = (4096, 8192),
    formats: tuple[Literal["tiff", "zarr"], ...] = ("tiff", "zarr"),
    sub_region: int = 256,
    channels: int = 1,
    base_width: int = 32,
    max_width: int = 128,
    threads: int = 2,
) -> None:
    """Print the peak memory of writing square images.

    Args:
        sides: in pixels.
        whole_sides: sides to hold whole.
        formats: to write.
        sub_region: side of a sub-region in pixels.
        channels: 1 or 3.
        base_width: channels of the generator at half the resolution.
        max_width: its most channels.
        threads: of torch.
    """
    print(f"| written | side | peak, MiB | against the first side | seconds | Mpx/s |\n{'| --- ' * 6}|")
    ways: list[tuple[How, tuple[int, ...]]] = [(name, sides) for name in formats]
    for how, its_sides in [*ways, ("held whole", whole_sides)]:
        first = None
        for side in its_sides:
            case = Case(side, sub_region, channels, base_width, max_width, threads)
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
                peak, seconds = process.submit(_write_once, case, how).result()
            first = first or peak
            rate = side * side / seconds / 1e6
            print(
                f"| {how} | {side} | {peak / MIB:.0f} | {peak / first:.2f} | {seconds:.0f} | {rate:.2f} |", flush=True
            )


def _write_once(case: Case, how: How) -> tuple[int, float]:
    """Write an image; the peak of this process in bytes, and the seconds."""
    pipe = case.pipeline()
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        if how == "held whole":
            import numpy as np
            import tifffile

            pixels = np.asarray(pipe(seeds=[0]).images[0])
            tifffile.imwrite(Path(folder) / "whole.tif", pixels, tile=(256, 256), compression="zlib", bigtiff=True)
        else:
            write(pipe, Path(folder) / f"image.{how.removesuffix('f')}", how, seed=0)
        seconds = time.perf_counter() - started
    (peak,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(peak) * 1024, seconds


def speed(
    side: int = 2048,
    sub_region: int = 256,
    channels: int = 1,
    base_width: int = 32,
    max_width: int = 128,
    threads: int = 2,
    rounds: int = 5,
) -> None:
    """Print pixels a second of writing, and the share of the bare generator's rate.

    Args:
        side: of the image, in pixels.
        sub_region: side of a sub-region in pixels.
        channels: 1 or 3.
        base_width: channels of the generator at half the resolution.
        max_width: its most channels.
        threads: of torch.
        rounds: turns.
    """
    pipe = Case(side, sub_region, channels, base_width, max_width, threads).pipeline()
    generator = pipe.generator
    latents, seeds = torch.randn(1, generator.config.latent_dim), torch.tensor([0])

    @torch.inference_mode()
    def bare() -> None:
        for piece in rectangles(side, side, PIECE):
            generator.region(latents, *piece, seeds=seeds)

    with tempfile.TemporaryDirectory() as folder:
        count = iter(range(10**6))
        players: dict[str, Callable[[], object]] = {
            "bare generator": bare,
            "tiff": lambda: write(pipe, Path(folder) / f"{next(count)}.tif"),
            "zarr": lambda: write(pipe, Path(folder) / f"{next(count)}.zarr", "zarr"),
        }
        seconds: dict[str, list[float]] = {name: [] for name in players}
        busy: dict[str, list[float]] = {name: [] for name in players}
        for turn in range(rounds + 1):
            for name, play in players.items():
                started, idle = time.perf_counter(), time.process_time()
                play()
                if turn:  # the first warms up
                    seconds[name].append(time.perf_counter() - started)
                    busy[name].append(time.process_time() - idle)
    print("| | Mpx/s | share of the bare generator's | by processor time |\n| --- | --- | --- | --- |")
    rates = {name: side * side / 1e6 / statistics.median(times) for name, times in seconds.items()}
    for name, rate in rates.items():
        share = statistics.median(busy["bare generator"]) / statistics.median(busy[name])
        print(f"| {name} | {rate:.2f} | {rate / rates['bare generator']:.2f} | {share:.2f} |")


def engines(
    shards: int = 10, side: int = 128, sub_region: int = 32, base_width: int = 32, max_width: int = 128
) -> None:
    """Print rows a second of the local engine in this process and in two, and of Ray with one and two workers.

    Two processes say what the machine's second core is worth: two threads of one core are not two cores.

    Args:
        shards: of the long call, each of 64 rows; the short one has one a worker.
        side: of the images, in pixels.
        sub_region: side of a sub-region in pixels.
        base_width: channels of the generator at half the resolution.
        max_width: its most channels.
    """
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    pipe = Case(side, sub_region, 3, base_width, max_width, threads=1).pipeline()
    real = package_dataset(2, side)
    settings: dict[str, Any] = {"label_column": None, "objects_column": None}
    print("| engine | rows a second | against local | start, s |\n| --- | --- | --- | --- |")
    local = None
    players = (
        ("local", "local", 1),
        ("local, 2 processes", "local", 2),
        ("Ray, 1 worker", "ray", 1),
        ("Ray, 2 workers", "ray", 2),
    )
    for name, engine, workers in players:
        seconds = []
        for rows in (TOGETHER * workers, TOGETHER * shards):
            with tempfile.TemporaryDirectory() as cache:
                datasets.config.HF_DATASETS_CACHE = Path(cache)
                started = time.perf_counter()
                augment_dataset(real, pipe, rows, engine=engine, num_proc=workers, **settings)
                seconds.append(time.perf_counter() - started)
        rate = TOGETHER * (shards - workers) / (seconds[1] - seconds[0])
        local = local or rate
        start = max(0.0, seconds[0] - TOGETHER * workers / rate)
        print(f"| {name} | {rate:.1f} | {rate / local:.2f} | {start:.1f} |", flush=True)
    ray.shutdown()


if __name__ == "__main__":
    tyro.extras.subcommand_cli_from_dict({"memory": memory, "speed": speed, "engines": engines})
