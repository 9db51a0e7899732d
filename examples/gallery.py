"""The pictures of the README and of the documentation's gallery, from the bundled checkpoints.

    python examples/gallery.py --output-dir docs/pictures

first.png: from the left good images, the same with defects that were cut out of others, and generated images, all of
one type in a row; generated solar cells below. solar-cells.png: generated ones, of each class in turn. rendered.png
and generated.png: packages of the same types, real ones and generated ones. seams.png: where four sub-regions meet,
four times as large, real above and generated below. defects.png: images without and with a defect, and what is said of
it. walk.gif: from one latent to another and on, seed and class kept. large.png: a package of each type, rendered above
and below as the checkpoint of large images makes it, at half their size.
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


def main(
    output_dir: Path,
    checkpoint: str = "package-128",
    large: str = "package-512",
    cells: str = "solar-cells-128",
    seed: int = 1,
) -> None:
    """Write all pictures; without defects.png, where the checkpoint was trained without defects."""
    pipe, of_large, of_cells = (MagicalPipeline.from_pretrained(name) for name in (checkpoint, large, cells))
    for each in (pipe, of_large, of_cells):
        each.set_progress_bar_config(disable=True)
    grid = pipe.generator.grid
    rendered = [render_package(number, image_size=grid.height, seed=seed, defect_rate=0.0) for number in range(COUNT)]
    labels = [package.package for package in rendered]
    real = np.stack([package.image.transpose(2, 0, 1) for package in rendered])
    made = pixels(pipe(class_labels=labels, seeds=range(COUNT), defects=none(pipe), output_type="pt").images)
    save_picture_grid(real, output_dir / "rendered.png", COLUMNS)
    save_picture_grid(made, output_dir / "generated.png", COLUMNS)
    seams = np.concatenate([close_ups(images, grid) for images in (real, made)])
    save_picture_grid(seams, output_dir / "seams.png", len(PLACES))
    if pipe.generator.config.num_defects:
        save_picture_grid(defects(pipe, pipe.generator.config.class_names[:3]), output_dir / "defects.png", 3)
    rows = painted(of_large)
    rows = np.concatenate([rows, shown(of_each_class(of_cells, 3), rows.shape[-1])])
    save_picture_grid(rows, output_dir / "first.png", 3)
    save_picture_grid(shown(of_each_class(of_cells, COUNT), grid.height), output_dir / "solar-cells.png", COLUMNS)
    walk(pipe, pipe.generator.config.class_names[:3], output_dir / "walk.gif")
    save_picture_grid(
        one_of_each(of_large, seed), output_dir / "large.png", len(of_large.generator.config.class_names)
    )


def one_of_each(pipe: MagicalPipeline, seed: int) -> np.ndarray:
    """Of each type the first rendered package, then a generated one, at half their size: (2 n, C, H / 2, W / 2)."""
    side, labels = pipe.generator.grid.height, list(pipe.generator.config.class_names)
    series = (render_package(number, image_size=side, seed=seed, defect_rate=0.0) for number in itertools.count())
    rendered: dict[str, Image.Image] = {}
    while len(rendered) < len(labels):
        package = next(series)
        rendered.setdefault(package.package, Image.fromarray(package.image))
    made = pipe(class_labels=labels, seeds=range(len(labels)), defects=none(pipe)).images
    shown = [*(rendered[label] for label in labels), *made]
    return np.stack([np.asarray(image.reduce(2)).transpose(2, 0, 1) for image in shown])


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
        made = pipe(class_labels=label, seeds=[seed], defects=none(pipe)).images[0]
        shown = [enlarged(good), marked, enlarged(made)]
        sheet += [np.asarray(image.reduce(2)).transpose(2, 0, 1) for image in shown]
    return np.stack(sheet)


def of_each_class(pipe: MagicalPipeline, count: int) -> list[Image.Image]:
    """Generated images of all classes in turn."""
    names = pipe.generator.config.class_names
    labels = [names[number % len(names)] for number in range(count)]
    images: list[Image.Image] = pipe(class_labels=labels, seeds=range(count), defects=none(pipe)).images
    return images


def shown(images: list[Image.Image], side: int) -> np.ndarray:
    """RGB images of one size: (N, 3, side, side)."""
    resized = [image.convert("RGB").resize((side, side), Image.Resampling.NEAREST) for image in images]
    return np.stack([np.asarray(image).transpose(2, 0, 1) for image in resized])


def pixels(images: torch.Tensor) -> np.ndarray:
    """From (N, C, H, W) in [0, 1] to uint8."""
    return (images * 255).round().byte().numpy()


def none(pipe: MagicalPipeline) -> dict[Any, Any] | None:
    """No defect at all, for a generator that was trained with some."""
    return {} if pipe.generator.config.num_defects else None


def close_ups(images: np.ndarray, grid: Grid) -> np.ndarray:
    """Corners of four sub-regions, an image each, at 400 %: (n, C, 8 * AROUND, 8 * AROUND)."""
    cut = []
    for image, (row, col) in zip(images, PLACES, strict=False):
        y, x = row * grid.cell_height, col * grid.cell_width
        cut.append(image[:, y - AROUND : y + AROUND, x - AROUND : x + AROUND])
    return np.stack(cut).repeat(4, 2).repeat(4, 3)


def defects(pipe: MagicalPipeline, labels: list[str]) -> np.ndarray:
    """Rows of three: without a defect, with it, with its box and mask."""
    names, sheet = pipe.generator.config.defect_names, []
    for number, label in enumerate(labels):
        place, name = usual_place(pipe, label, number)
        asked: dict[str, Any] = {"class_labels": label, "seeds": [number]}
        before = pipe(**asked, defects={}).images[0]
        after = pipe(**asked, defects={place: name}, masks=True)
        marked = with_labels(after.images[0], after.annotations[0]["objects"], after.masks[0], names)
        shown = [enlarged(before), enlarged(after.images[0]), marked]
        sheet += [np.asarray(image).transpose(2, 0, 1) for image in shown]
    return np.stack(sheet)


def usual_place(pipe: MagicalPipeline, label: str, rank: int) -> tuple[tuple[int, int], str]:
    """Where the training images of a class had a defect most often, of those that they had often the one of a rank."""
    config = pipe.generator.config
    if config.defect_frequencies is None:
        return (0, 0), config.defect_names[rank]
    frequencies = np.array(config.defect_frequencies)[config.class_names.index(label)]
    number = np.argsort(-frequencies.max(0))[rank]
    return divmod(int(frequencies[:, number].argmax()), config.cols), config.defect_names[number]


def walk(pipe: MagicalPipeline, labels: list[str], path: Path, stops: int = 4, frames: int = 8) -> None:
    """From latent to latent and back to the first, an image a class beside each other."""
    draw = torch.Generator().manual_seed(0)
    latents = torch.randn(stops, pipe.generator.config.latent_dim, generator=draw)
    film = []
    for start, end in zip(latents, latents.roll(-1, 0), strict=True):
        for share in torch.arange(frames) / frames:
            # Along an arc: what lies between two normal draws on a line is shorter than any such draw.
            between = start * torch.cos(share * torch.pi / 2) + end * torch.sin(share * torch.pi / 2)
            asked: dict[str, Any] = {"class_labels": labels, "defects": none(pipe), "output_type": "pt"}
            images = pipe(latents=between.expand(len(labels), -1), seeds=range(len(labels)), **asked).images
            film.append(Image.fromarray(picture_grid(pixels(images), len(labels))))
    with written_whole(path) as beside:
        film[0].save(beside, format="GIF", save_all=True, append_images=film[1:], duration=120, loop=0)


if __name__ == "__main__":
    tyro.cli(main)
