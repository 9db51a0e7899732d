"""The scripts that users copy, in a short form."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import datasets
import pytest
from PIL import Image

from magical_hub import SeamlessGenerator
from magical_hub.data import package_dataset
from magical_hub.data.packages import DEFECTS


@pytest.fixture
def example(repo, monkeypatch):
    """Imports a script of examples/ by its name."""

    def load(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(name, repo / "examples" / f"{name}.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture
def checkpoint(make_pipeline, tmp_path, monkeypatch) -> Path:
    """A generator of packages with all their defects."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    more: dict[str, Any] = {"num_defects": len(DEFECTS), "defect_names": list(DEFECTS)}
    make_pipeline(SeamlessGenerator, channels=3, class_names=["QFN", "BGA", "SOIC"], **more).save_pretrained(
        tmp_path / "run"
    )
    return tmp_path / "run"


def test_augment_imagefolder(example, checkpoint, tmp_path, capsys):
    for number, row in enumerate(package_dataset(4, 64)):
        folder = tmp_path / "data" / ("BGA" if number else "QFN")
        folder.mkdir(parents=True, exist_ok=True)
        row["image"].save(folder / f"{number}.png")
    example("augment_imagefolder").main(tmp_path / "data", str(checkpoint), tmp_path / "out", num_images=2)
    assert "after {'BGA': 3, 'QFN': 3}" in capsys.readouterr().out
    assert len([*(tmp_path / "out").rglob("*.png")]) == 6


def test_normals(example, checkpoint, tmp_path):
    example("normals").main(str(checkpoint), tmp_path / "out", num_images=3, num_real=4, image_size=64)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["normal"]
    assert len([*(tmp_path / "out" / "normal").iterdir()]) == 7


def test_train_detector(example, checkpoint, tmp_path, capsys):
    module = example("train_detector")
    few = {"num_real": 24, "num_synthetic": 4, "num_test": 12, "image_size": 64, "detector_steps": 3, "batch_size": 4}
    module.main(module.Config(tmp_path / "out", checkpoint=str(checkpoint), **few))
    rows = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()[2:]]
    assert [row[0] for row in rows] == ["real", "real and synthetic"]
    assert all(0 <= float(cell) <= 1 for row in rows for cell in row[1:])


def test_figures(example, repo, tmp_path):
    example("figures").main(tmp_path, image_size=64)
    kept = {path.name: Image.open(path).size for path in (repo / "docs" / "pictures").glob("method-*.png")}
    assert {path.name: Image.open(path).size for path in tmp_path.iterdir()} == kept
    page = (repo / "docs" / "method.md").read_text()
    assert all(f"pictures/{name})" in page for name in kept)


@pytest.mark.slow
def test_the_detector_learns(example, tmp_path):
    """It finds again what it was taught, so boxes go in and come out alike."""
    module = example("train_detector")
    real = package_dataset(40, 64, seed=5, defect_rate=1.0)
    config = module.Config(tmp_path, detector_steps=200, batch_size=8)
    scores = module.measure(module.teach([real], len(real.features["label"].names), config), real)
    assert scores["mAP at 0.5"] > 0.6
