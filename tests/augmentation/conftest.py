"""Small labelled datasets, and a cache of `datasets` of each test's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from PIL import Image

from magical_hub import MagicalPipeline, SeamlessGenerator
from magical_hub.data import package_dataset
from magical_hub.defects import DefectBank


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where synthetic rows lie."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    return tmp_path / "cache" / "magical_hub"


def _labelled(
    labels: list[str], size: tuple[int, int] = (40, 30), mode: str = "RGB", names: tuple[str, ...] = ()
) -> datasets.Dataset:
    rng = np.random.default_rng(0)
    shape = (size[1], size[0], 3) if mode == "RGB" else size[::-1]
    top, dtype = (65536, np.uint16) if mode == "I;16" else (256, np.uint8)
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "label": datasets.ClassLabel(names=list(names) or ["void", "good", "crack"]),  # not the checkpoint's order
            "board": datasets.Value("string"),
        }
    )
    return datasets.Dataset.from_dict(
        {
            "image": [Image.fromarray(rng.integers(0, top, shape).astype(dtype)) for _ in labels],
            "label": labels,
            "board": [f"board {number}" for number in range(len(labels))],
        },
        features=features,
    )


@pytest.fixture(scope="session")
def make_labelled() -> Callable[..., datasets.Dataset]:
    """Builds a dataset of noise, one row per label, with a column of text beside."""
    return _labelled


@pytest.fixture(scope="session")
def labelled() -> datasets.Dataset:
    """Ten rows: seven good, two void, one crack. Not to be changed."""
    return _labelled(["good"] * 7 + ["void", "crack", "void"])


@pytest.fixture(scope="session")
def pixels() -> Callable[[Any], np.ndarray]:
    """The images of a dataset: (N, H, W[, C]) int."""
    return lambda dataset: np.stack([np.asarray(image).astype(int) for image in dataset["image"]])


@pytest.fixture(scope="session")
def defect_pipe(make_pipeline: Callable[..., MagicalPipeline]) -> MagicalPipeline:
    """Three packages with two defects: scratches at the top left of QFN and BGA, voids at the bottom right of SOIC."""
    top_left, bottom_right = [[0, 0.5]] + [[0, 0]] * 5, [[0, 0]] * 5 + [[0.5, 0]]
    return make_pipeline(
        SeamlessGenerator,
        channels=3,
        class_names=["QFN", "BGA", "SOIC"],
        class_frequencies=[0.3, 0.3, 0.4],
        num_defects=2,
        defect_names=["void", "scratch"],
        defect_frequencies=[top_left, top_left, bottom_right],
    )


@pytest.fixture(scope="session")
def packages() -> datasets.Dataset:
    """Pictures of 96 px, good ones and scratches and voids, with boxes and masks. Not to be changed."""
    plain = package_dataset(60, 96, seed=1)
    wanted = [number for number, label in enumerate(plain["label"]) if plain.features["label"].names[label] in KINDS]
    features = datasets.Features({**plain.features, "mask": datasets.Image()})
    return plain.select(wanted).map(_with_mask, features=features, keep_in_memory=True)


@pytest.fixture(scope="module")
def bank(packages: datasets.Dataset) -> DefectBank:
    """Of the packages' defects."""
    return DefectBank.from_dataset(packages, label_column="label")


@pytest.fixture(scope="module")
def good(packages: datasets.Dataset) -> datasets.Dataset:
    """The packages without a defect."""
    return packages.filter(lambda row: row["label"] == 0, keep_in_memory=True)


KINDS = ("normal", "scratch", "void")


def _with_mask(row: dict[str, Any]) -> dict[str, Any]:
    mask = np.zeros((96, 96), np.uint8)
    for item in row["objects"]:
        x, y, width, height = map(int, item["bbox"])
        mask[y : y + height, x : x + width] = 255
    return {"mask": Image.fromarray(mask)}
