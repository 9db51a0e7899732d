"""Folders of real cells."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from elpv_dataset.utils import load_dataset
from PIL import Image

from magical_hub import evaluate
from magical_hub.data import to_canvas
from magical_hub.evaluation import EvaluationReport

SIDE, TRAIN, HELD_OUT, GENERATED = 64, 160, 60, 60


@pytest.fixture(scope="session")
def cells() -> np.ndarray:
    """280 cells of 64 px, in an order by chance: (N, 1, 64, 64) uint8; no two are of one wafer, as far as is known."""
    images, _, _ = load_dataset()
    apart = np.arange(0, len(images), 9)[: TRAIN + HELD_OUT + GENERATED]
    chosen = np.random.default_rng(0).permutation(apart)
    return np.stack([to_canvas(Image.fromarray(images[number]), SIDE, SIDE, 1) for number in chosen])


@pytest.fixture(scope="session")
def write_folder() -> Callable[[np.ndarray, Path], Path]:
    """Writes images as PNG files."""

    def write(images: np.ndarray, folder: Path) -> Path:
        folder.mkdir(parents=True)
        for number, image in enumerate(images):
            Image.fromarray(image[0]).save(folder / f"{number:04d}.png")
        return folder

    return write


@pytest.fixture(scope="session")
def folders(cells: np.ndarray, write_folder: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Training, held-out, and others in place of generated images: what a perfect generator would make."""
    place = tmp_path_factory.mktemp("cells")
    parts = dict(zip(("train", "holdout", "generated"), np.split(cells, [TRAIN, TRAIN + HELD_OUT]), strict=True))
    return {name: write_folder(images, place / name) for name, images in parts.items()}


@pytest.fixture(scope="session")
def perfect(
    folders: dict[str, Path], small_network: Any, tmp_path_factory: pytest.TempPathFactory
) -> tuple[EvaluationReport, Path]:
    """The report on other real images in place of generated ones, and where it was written."""
    folder = tmp_path_factory.mktemp("perfect")
    real = folders["train"], folders["holdout"]
    report = evaluate(folders["generated"], *real, output_dir=folder, network=small_network, rows=2, cols=2)
    return report, folder
