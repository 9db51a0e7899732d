"""The pictures of the README and of the documentation's gallery, from the bundled checkpoints.

    python examples/gallery.py --output-dir docs/pictures

first.png: from the left good packages, the same with defects that were cut out of others, and generated ones, all of
one type in a row; generated solar cells below. solar-cells.png: generated ones, of each class in turn. packages.png: a
package of each type, rendered above and generated below, at half their size. seams.png: where four sub-regions meet,
four times as large, real above and generated below. walk.gif: cells from one latent to another and on, seed and class
kept.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from PIL import Image

from magical_hub import DefectBank, MagicalPipeline
from magical_hub.data import package_dataset, render_package
from magical_hub.files import written_whole
from magical_hub.grid import Grid
from magical_hub.pictures import enlarged, picture_grid, save_picture_grid, with_labels

COUNT, COLUMNS = 24, 6
AROUND = 16
"""Pixels that a close-up shows on each side of a corner of four sub-regions."""
PLACES = [(1, 1), (1, 2), (2, 1), (2, 2), (1, 3), (3, 2)]
"""Row and column of the sub-region below such a corner and right of it: one per image."""


def main(output_dir: Path, packages: str = "package-512", cells: str = "solar-cells-128", seed: int = 1) -> None:
    """Write all pictures, by the names of a checkpoint of packages and one of cells, both without defects."""
    of_packages, of_cells = (MagicalPipeline.from_pretrained(name) for name in (packages, cells))
    for each in (of_packages, of_cells):
        each.set_progress_bar_config(disable=True)
    rows = painted(of_packages)
    rows = np.concatenate([rows, shown(of_each_class(of_cells, 3), rows.shape[-1])])
    save_picture_grid(rows, output_dir / "first.png", 3)
    side = of_cells.generator.grid.height
    save_picture_grid(shown(of_each_class(of_cells, COUNT), side), output_dir / "solar-cells.png", COLUMNS)
    walk(of_cells, of_cells.generator.config.class_names, output_dir / "walk.gif")
    grid, labels = of_packages.generator.grid, list(of_packages.generator.config.class_names)
    both = [rendered(grid.height, labels, seed), pixels(of_each_class(of_packages, len(PLACES)))]
    corners = np.concatenate([close_ups(images, grid) for images in both])
    save_picture_grid(corners, output_dir / "seams.png", len(PLACES))
    whole = np.concatenate([images[: len(labels)] for images in both])
    halves = whole.reshape(*whole.shape[:2], grid.height // 2, 2, grid.width // 2, 2).mean((3, 5))
    save_picture_grid(halves.round().astype(np.uint8), output_dir / "packages.png", len(labels))


def rendered(side: int, labels: list[str], seed: int) -> np.ndarray:
    """Rendered packages of all types in turn, as many as PLACES: (n, C, H, W) uint8."""
    series = (render_package(number, image_size=side, seed=seed, defect_rate=0.0) for number in itertools.count())
    images: list[np.ndarray] = []
    while len(images) < len(PLACES):
        package = next(series)
        if package.package == labels[len(images) % len(labels)]:
            images.append(package.image.transpose(2, 0, 1))
    return np.stack(images)


def painted(pipe: MagicalPipeline, seed: int = 3) -> np.ndarray:
    """Rows of three: good, with painted defects and their boxes, generated; (6, C, H / 2, W / 2)."""
    rows, sheet = package_dataset(120, image_size=pipe.generator.grid.height, seed=seed, defect_rate=0.3), []
    for label, defect in (("QFN", "scratch"), ("SOIC", "contamination")):
        number = rows.features["package"].str2int(label)
        same = rows.select([place for place, package in enumerate(rows["package"]) if package == number])
        bank = DefectBank.from_dataset(same)  # one for each type of product
        good = next(row["image"] for row in same if not row["objects"])
        after = bank.paint(good, containing=defect, seed=seed)
        marked = with_labels(after.image, after.objects, None, bank.classes)
        made: Any = pipe(class_labels=label, seeds=[seed]).images[0]
        shown = [enlarged(good), marked, enlarged(made)]
        sheet += [np.asarray(image.reduce(2)).transpose(2, 0, 1) for image in shown]
    return np.stack(sheet)


def of_each_class(pipe: MagicalPipeline, count: int) -> list[Image.Image]:
    """Generated images of all classes in turn."""
    names = pipe.generator.config.class_names
    labels = [names[number % len(names)] for number in range(count)]
    made: Any = pipe(class_labels=labels, seeds=range(count)).images
    return list(made)


def shown(images: list[Image.Image], side: int) -> np.ndarray:
    """RGB images of one size: (N, 3, side, side)."""
    return pixels([image.resize((side, side), Image.Resampling.NEAREST) for image in images])


def pixels(images: list[Image.Image]) -> np.ndarray:
    """Images of one size: (N, 3, H, W) uint8."""
    return np.stack([np.asarray(image.convert("RGB")).transpose(2, 0, 1) for image in images])


def close_ups(images: np.ndarray, grid: Grid) -> np.ndarray:
    """Corners of four sub-regions, an image each, at 400 %: (n, C, 8 * AROUND, 8 * AROUND)."""
    cut = []
    for image, (row, col) in zip(images, PLACES, strict=False):
        y, x = row * grid.cell_height, col * grid.cell_width
        cut.append(image[:, y - AROUND : y + AROUND, x - AROUND : x + AROUND])
    return np.stack(cut).repeat(4, 2).repeat(4, 3)


def walk(pipe: MagicalPipeline, labels: list[str], path: Path, stops: int = 4, frames: int = 8) -> None:
    """From latent to latent and back to the first, an image a class beside each other."""
    draw = torch.Generator().manual_seed(0)
    latents = torch.randn(stops, pipe.generator.config.latent_dim, generator=draw)
    film = []
    for start, end in zip(latents, latents.roll(-1, 0), strict=True):
        for share in torch.arange(frames) / frames:
            # Along an arc: what lies between two normal draws on a line is shorter than any such draw.
            between = start * torch.cos(share * torch.pi / 2) + end * torch.sin(share * torch.pi / 2)
            latents_of_each = between.expand(len(labels), -1)
            made: Any = pipe(class_labels=labels, latents=latents_of_each, seeds=range(len(labels))).images
            film.append(Image.fromarray(picture_grid(pixels(made), len(labels))))
    with written_whole(path) as beside:
        film[0].save(beside, format="GIF", save_all=True, append_images=film[1:], duration=120, loop=0)


if __name__ == "__main__":
    tyro.cli(main)
