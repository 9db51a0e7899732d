"""An image of any size on its way to a file: made in pieces, cut into tiles, halved to a pyramid."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from magical_hub.grid import Grid
from magical_hub.pipeline import MagicalPipeline

PIECE = (512, 2048)
"""Height and width, about, of what the generator makes at once: larger ones are hardly faster, and cost memory."""
SMALLEST_TILE, LARGEST_TILE = 128, 1024
"""Sides of the tiles of a file, in pixels."""


@dataclass(frozen=True)
class Raster:
    """One image of a pipeline, of which no more than a piece is made at a time.

    Args:
        pipe: makes the image.
        seed: its own, as in `pipe(seeds=[seed])`.
        class_label: its class; None draws it from the seed.
        truncation_psi: 1 is as trained (see `MagicalPipeline`).
    """

    pipe: MagicalPipeline
    seed: int
    class_label: int | str | None
    truncation_psi: float

    @property
    def channels(self) -> int:
        """1 or 3."""
        return int(self.pipe.generator.config.channels)

    @cached_property
    def tile(self) -> tuple[int, int]:
        """Height and width of a tile of the file."""
        return file_tile(self.pipe.generator.grid)

    @cached_property
    def band(self) -> int:
        """Rows of pixels, whole rows of tiles, that the generator works through at a time; of every level alike."""
        return self.tile[0] * max(1, PIECE[0] // self.tile[0])

    @cached_property
    def levels(self) -> list[tuple[int, int]]:
        """Height and width of the image, of its half, and so on until one fits a tile."""
        grid = self.pipe.generator.grid
        sizes = [(grid.height, grid.width)]
        while sizes[-1][0] > self.tile[0] or sizes[-1][1] > self.tile[1]:
            height, width = sizes[-1]
            sizes.append((-(-height // 2), -(-width // 2)))
        return sizes

    def pieces(self) -> list[tuple[int, int, int, int]]:
        """The rectangles that the generator makes, row-major: whole tiles each. The same ones every time."""
        width = self.tile[1] * max(1, PIECE[1] // self.tile[1])
        return list(rectangles(*self.levels[0], (self.band, width)))

    def make(self, piece: tuple[int, int, int, int]) -> np.ndarray:
        """The pixels of a rectangle: (height, width, channels) uint8."""
        image = self.pipe.region(
            *piece, seed=self.seed, class_label=self.class_label, truncation_psi=self.truncation_psi
        )
        pixels = np.asarray(image)
        return pixels[..., None] if self.channels == 1 else pixels


def progress(raster: Raster, path: Path) -> tqdm:
    """A bar over the pixels of the image."""
    height, width = raster.levels[0]
    return tqdm(total=height * width, desc=f"Writing {path.name}", unit="px", unit_scale=True)


def tiles(band: np.ndarray, tile: tuple[int, int]) -> Iterator[np.ndarray]:
    """Cut rows of pixels (h, W, C) into tiles, row-major; those at the edges are smaller."""
    for top, left, height, width in rectangles(len(band), band.shape[1], tile):
        yield band[top : top + height, left : left + width]


def halved(pixels: np.ndarray) -> np.ndarray:
    """Means of 2 x 2 pixels: (h, w, C) -> (h / 2, w / 2, C) uint8, rounded up; an odd edge is repeated."""
    height, width = pixels.shape[:2]
    pixels = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge").astype(np.uint16)
    rows = pixels[::2] + pixels[1::2]
    return ((rows[:, ::2] + rows[:, 1::2] + 2) >> 2).astype(np.uint8)


def file_tile(grid: Grid) -> tuple[int, int]:
    """Height and width of the tiles of a file that holds the image: a sub-region, or several side by side.

    Multiples of 16, as TIFF wants them; neither so small that a file has too many tiles, nor so large that reading
    one sub-region costs much more than itself.
    """
    height = _file_tile_side(grid.cell_height, grid.height)
    return height, _file_tile_side(grid.cell_width, grid.width)


def _file_tile_side(cell: int, whole: int) -> int:
    count = -(-SMALLEST_TILE // cell)  # 1 for all but small sub-regions
    side = cell * count if cell <= LARGEST_TILE else LARGEST_TILE // 2
    return -(-min(side, whole) // 16) * 16


def rectangles(height: int, width: int, size: tuple[int, int]) -> Iterator[tuple[int, int, int, int]]:
    """The pieces that pixels are cut into, row-major: top, left, height, width; those at the end are cut off."""
    for top in range(0, height, size[0]):
        for left in range(0, width, size[1]):
            yield top, left, min(size[0], height - top), min(size[1], width - left)
