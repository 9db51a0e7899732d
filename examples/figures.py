"""The figures of docs/method.md, drawn by the program's own geometry and networks.

    python examples/figures.py --output-dir docs/pictures

The generators are untrained: what joins their sub-regions, or does not, is then there to be seen.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from magical_hub import Grid, MagicalGenerator, MagicalPipeline, SeamlessGenerator
from magical_hub.data import package_dataset

LOCATION, WINDOW = 5, (2, 2)
BLUE, ORANGE = "#3f51b5", "#e65100"


def picture(axes: Axes, image: np.ndarray, title: str) -> None:
    """Show an image (C, H, W) of uint8 with its pixels as they are."""
    axes.imshow(image.transpose(1, 2, 0).squeeze(), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axes.set_title(title, fontsize=9)
    axes.set_axis_off()


def outline(axes: Axes, grid: Grid, location: int, window: tuple[int, int] = (1, 1), **how: Any) -> None:
    """Draw the border of a sub-region or a window."""
    rows, cols = grid.span(location, window)
    corner = cols.start - 0.5, rows.start - 0.5
    axes.add_patch(Rectangle(corner, cols.stop - cols.start, rows.stop - rows.start, fill=False, **how))


def draw_crop(image: np.ndarray, grid: Grid) -> Figure:
    """An image with its grid, and its sub-regions at their locations."""
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    left, right = figure.subfigures(1, 2)
    axes = left.subplots()
    picture(axes, image, f"an image of {grid.height} x {grid.width} px")
    for location in range(grid.num_locations):
        outline(axes, grid, location, edgecolor=ORANGE, linewidth=0.8)
    right.suptitle("psi(x, c'): what the networks see", fontsize=9)
    cells = grid.crop_all(image[None])[0]
    for location, (place, cell) in enumerate(zip(right.subplots(grid.rows, grid.cols).flat, cells, strict=True)):
        picture(place, cell, f"c' = {location}")
    return figure


def draw_window(image: np.ndarray, grid: Grid) -> Figure:
    """A window in its image, and alone with its inner seams."""
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    picture(left, image, f"a window of {WINDOW[0]} x {WINDOW[1]} sub-regions at c' = {LOCATION}")
    for location in range(grid.num_locations):
        outline(left, grid, location, edgecolor=ORANGE, linewidth=0.5, alpha=0.6)
    outline(left, grid, LOCATION, WINDOW, edgecolor=ORANGE, linewidth=2)
    inside = grid.window(WINDOW)
    picture(right, grid.crop(image[None], LOCATION, WINDOW)[0], "the same window alone, with its inner seams")
    for location in range(inside.num_locations):
        outline(right, inside, location, edgecolor=ORANGE, linewidth=1, linestyle="--")
    return figure


def draw_boundary(image: np.ndarray, grid: Grid) -> Figure:
    """The two pixel lines that meet at a seam of a window, in the image and as brightness."""
    inside = grid.window(WINDOW)
    window = grid.crop(image[None], LOCATION, WINDOW).mean(1, keepdims=True)
    (above, below), _ = inside.seam_lines(window)
    figure = Figure(figsize=(7, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.5))
    seam, shown = inside.cell_height, 8
    picture(left, window[0, :, seam - shown : seam + shown, : 2 * shown].astype(np.uint8), "around a seam, enlarged")
    for line, colour in ((shown - 1, BLUE), (shown, ORANGE)):
        place = -0.5, line - 0.5
        left.add_patch(Rectangle(place, 2 * shown, 1, fill=False, edgecolor=colour, linewidth=1.5))
    for line, colour, name in ((above, BLUE, "last line above"), (below, ORANGE, "first line below")):
        right.plot(line.reshape(-1), color=colour, linewidth=1, label=name)
    right.set_title("r(i, bottom) and r(i+1, top) of a training image", fontsize=9)
    right.set_xlabel("column", fontsize=8)
    right.set_ylabel("grey level", fontsize=8)
    right.tick_params(labelsize=8)
    right.legend(fontsize=8)
    return figure


def draw_generators(seed: int) -> Figure:
    """Sub-regions of one latent, joined, of both generators as they are before any training."""
    figure = Figure(figsize=(7, 7), layout="constrained")
    kinds = (MagicalGenerator, "the paper's"), (SeamlessGenerator, "seamless")
    for (left, right), (kind, name) in zip(figure.subplots(2, 2), kinds, strict=True):
        torch.manual_seed(seed)
        pipe = MagicalPipeline(kind(rows=4, cols=4, image_size=(128, 128)).eval())
        pipe.set_progress_bar_config(disable=True)
        grid = pipe.generator.grid
        tiles = pipe(seeds=[seed], regions=range(grid.num_locations), output_type="pt").images
        pixels = (grid.stitch(tiles)[0] * 255).round().byte().numpy()
        picture(left, pixels, f"{name}: 16 tiles of seed {seed}, made alone and joined")
        rows, cols = grid.span(LOCATION, WINDOW)
        top, left_most = rows.start + grid.cell_height // 2, cols.start + grid.cell_width // 2
        place = left_most - 0.5, top - 0.5
        left.add_patch(Rectangle(place, grid.cell_width, grid.cell_height, fill=False, edgecolor=ORANGE, linewidth=2))
        near = pixels[:, top : top + grid.cell_height, left_most : left_most + grid.cell_width]
        picture(right, near, "where four of them meet")
    return figure


def main(output_dir: Path, image_size: int = 128, seed: int = 7) -> None:
    """Write OUTPUT_DIR/method-*.png."""
    grid = Grid(4, 4, image_size, image_size)
    row = package_dataset(1, image_size, seed=seed, defect_rate=0.0)[0]
    image = np.asarray(row["image"]).transpose(2, 0, 1)
    figures = {
        "crop": draw_crop(image, grid),
        "window": draw_window(image, grid),
        "boundary": draw_boundary(image, grid),
        "generators": draw_generators(seed),
    }
    output_dir.mkdir(parents=True, exist_ok=True)
    for name, figure in figures.items():
        figure.savefig(output_dir / f"method-{name}.png", dpi=90)


if __name__ == "__main__":
    tyro.cli(main)
