"""Loading: samples of a sub-region, from the canvas store and from the JPEG files it was made of.

A sample is one sub-region at a random place of a random image, as float32 in [-1, 1]; samples come in batches of 16.
All files lie in the page cache. The rivals decode the whole image with Pillow and convert it to RGB; then they crop
either the one sub-region, or, as the authors' loader does, all of them, to give back one. Building the store, which
decodes each image once, is not counted.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from magical_hub.data import open_store
from magical_hub.grid import Grid
from training_tables.pictures import make_store, write_pictures

BATCH = 16

HEADER = """\
| JPEG | store, samples/s | decode and crop one, samples/s | decode and crop all, samples/s | store / crop one \
| store / crop all |
| --- | --- | --- | --- | --- | --- |"""

Load = Callable[[np.ndarray, np.ndarray], torch.Tensor]
"""From the numbers of B images and B locations to (B, C, h, w)."""


def main(
    sizes: tuple[int, ...] = (256, 512, 1024),
    sub_region: int = 64,
    num_images: int = 16,
    rounds: int = 7,
    seconds: float = 1.0,
) -> None:
    """Print samples a second, from the store and from the files.

    Args:
        sizes: sides of the JPEG files in pixels, multiples of sub_region.
        sub_region: side of a sub-region in pixels.
        num_images: files of each size.
        rounds: turns that each way of loading takes.
        seconds: length of a turn.
    """
    torch.set_num_threads(1)
    print(HEADER)
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            print(_row(Path(folder), size, sub_region, num_images, rounds, seconds), flush=True)


def _row(folder: Path, size: int, sub_region: int, num_images: int, rounds: int, seconds: float) -> str:
    files = write_pictures(folder / "pictures", num_images, size, "jpg")
    store = open_store(make_store(folder, folder / "pictures", size, sub_region))
    grid = Grid(size // sub_region, size // sub_region, size, size)

    def from_store(indices: np.ndarray, locations: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(store.crop(grid, indices, locations)).float() / 127.5 - 1

    def crop_one(indices: np.ndarray, locations: np.ndarray) -> torch.Tensor:
        cells = []
        for index, location in zip(indices, locations, strict=True):
            rows, cols = grid.span(int(location))
            cells.append(_scaled(_decode(files[index])[rows, cols]))
        return torch.stack(cells)

    def crop_all(indices: np.ndarray, locations: np.ndarray) -> torch.Tensor:
        cells = []
        for index, location in zip(indices, locations, strict=True):
            pixels = _decode(files[index])
            every = [_scaled(pixels[grid.span(number)]) for number in range(grid.num_locations)]
            cells.append(every[location])
        return torch.stack(cells)

    ways: list[Load] = [from_store, crop_one, crop_all]
    rates = [[_rate(way, grid, num_images, turn, seconds) for way in ways] for turn in range(-1, rounds)][1:]
    store_rate, one_rate, all_rate = (statistics.median(column) for column in zip(*rates, strict=True))
    over_one = statistics.median(ours / one for ours, one, _ in rates)
    over_all = statistics.median(ours / every for ours, _, every in rates)
    return f"| {size} | {store_rate:,.0f} | {one_rate:,.1f} | {all_rate:,.1f} | {over_one:,.0f} | {over_all:,.0f} |"


def _rate(load: Load, grid: Grid, num_images: int, turn: int, seconds: float) -> float:
    """Samples a second over a turn; all ways are asked for the same ones."""
    rng = np.random.default_rng(turn + 1)
    count, started = 0, time.perf_counter()
    while (passed := time.perf_counter() - started) < seconds or not count:
        load(rng.integers(0, num_images, BATCH), rng.integers(0, grid.num_locations, BATCH))
        count += BATCH
    return count / passed


def _decode(file: Path) -> np.ndarray:
    with Image.open(file) as image:
        return np.asarray(image.convert("RGB"))


def _scaled(pixels: np.ndarray) -> torch.Tensor:
    """(h, w, C) uint8 -> (C, h, w) in [-1, 1]."""
    return torch.from_numpy(pixels.transpose(2, 0, 1).astype(np.float32)) / 127.5 - 1
