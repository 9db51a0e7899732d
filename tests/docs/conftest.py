"""What the pages' commands and code speak of: IMAGES, RUN and the rest, as small as they may be."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest
from PIL import Image

from magical_hub import MagicalPipeline, TrainingConfig, evaluate, train
from magical_hub.data import package_dataset
from magical_hub.export import write_dataset, write_imagefolder

SIDE = 64
NETWORK = """
from torch import nn

dependencies = ["torch"]


def dinov2_vits14():
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.AdaptiveAvgPool2d(4), nn.Flatten())
"""
"""What lies here in place of DINOv2."""


@pytest.fixture(scope="session")
def packages() -> datasets.Dataset:
    """Packages, a class each, with boxes and masks."""
    rows = package_dataset(100, SIDE).remove_columns("label").rename_column("package", "label")
    features = datasets.Features({**rows.features, "mask": datasets.Image()})
    return rows.map(_with_mask, features=features, keep_in_memory=True)


def _with_mask(row: dict[str, Any]) -> dict[str, Any]:
    mask = Image.new("L", (SIDE, SIDE))
    for item in row["objects"]:
        x, y, width, height = map(int, item["bbox"])
        mask.paste(255, (x, y, x + width, y + height))
    return {"mask": mask}


@pytest.fixture(scope="session")
def items(
    packages: datasets.Dataset, small_network: Any, randomise: Callable[..., None], tmp_path_factory: Any
) -> Path:
    """IMAGES, one folder per class with boxes; CELLS, good and defective images and masks, with no metadata.jsonl;
    TRAIN and HELDOUT, other images; RUN, trained on IMAGES, with a report
    that found no copies; EARLIER_RUN, as the shortened commands train it; SYNTHETIC."""
    folder = tmp_path_factory.mktemp("items")
    write_dataset(packages, folder / "IMAGES", "imagefolder")
    for name, first in (("TRAIN", 1000), ("HELDOUT", 2000)):
        (folder / name).mkdir()
        for number, row in enumerate(package_dataset(36, SIDE, seed=first)):
            row["image"].save(folder / name / f"{number}.png")
    for kind in ("good", "defective", "masks"):
        (folder / "CELLS" / kind).mkdir(parents=True)
    for number, row in enumerate(packages.select(range(6))):
        row["image"].save(folder / "CELLS" / ("defective" if row["objects"] else "good") / f"{number}.png")
        row["mask"].save(folder / "CELLS" / "masks" / f"{number}.png")
    common: dict[str, Any] = {
        **{"data": str(folder / "IMAGES"), "image_size": SIDE, "rows": 2, "cols": 2},
        **{"base_width": 8, "max_width": 16, "latent_dim": 16, "batch_size": 4, "max_steps": 2},
        **{"mixed_precision": "no", "lambda_f": 0.0},
    }
    labels = {"label_column": "label", "objects_column": "objects", "holdout_fraction": 0.34}
    train(TrainingConfig(output_dir=str(folder / "RUN"), **common, **labels))
    train(TrainingConfig(output_dir=str(folder / "EARLIER_RUN"), **common))
    _as_if_trained(folder / "RUN", randomise)
    report = evaluate(folder / "RUN", num_images=34, network=small_network)
    assert report.leaks is False
    pipe = MagicalPipeline.from_pretrained(folder / "RUN")
    pipe.save_pretrained(folder / "ID")
    write_imagefolder(pipe, folder / "SYNTHETIC", num_images=34)
    (folder / "dinov2").mkdir()
    (folder / "dinov2" / "hubconf.py").write_text(NETWORK)
    return folder


def _as_if_trained(run: Path, randomise: Callable[..., None]) -> None:
    """Move every weight, so that a defect shows; and leave out the verifier, which two steps taught nothing."""
    pipe = MagicalPipeline.from_pretrained(run)
    randomise(pipe.generator)
    pipe.generator.mapping.update_mean_style()
    shutil.rmtree(run / "verifier")
    MagicalPipeline(pipe.generator, pipe.critic).save_pretrained(run)


@pytest.fixture
def place(items: Path, hub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder where a page's blocks run: copies of all items, and a Hub of its own."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = shutil.copytree(items, tmp_path / "place")
    monkeypatch.chdir(folder)
    return folder
