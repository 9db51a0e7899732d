"""Pictures of packages to train on: as files, and as the canvas store that training reads."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from magical_hub.data import open_source, prepare_store, render_package
from magical_hub.grid import Grid


def write_pictures(folder: Path, count: int, size: int, extension: str = "png") -> list[Path]:
    """Render square RGB pictures of `size` pixels (64 to 2048) into a folder."""
    folder.mkdir(parents=True)
    files = [folder / f"{number:04d}.{extension}" for number in range(count)]
    for number, file in enumerate(files):
        Image.fromarray(render_package(number, size).image).save(file)
    return files


def make_store(folder: Path, pictures: Path, canvas: int, sub_region: int) -> Path:
    """The folder of the canvas store of a folder of pictures, which are resized to the canvas."""
    path, count = folder / f"store-{canvas}", canvas // sub_region
    path.mkdir()
    prepare_store(open_source(pictures), path, Grid(count, count, canvas, canvas), channels=3, progress=False)
    return path
