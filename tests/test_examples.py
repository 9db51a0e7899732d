"""The scripts that users copy, in a short form."""

from __future__ import annotations

import copy
import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import datasets
import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from PIL import Image, ImageSequence

from magical_hub import MagicalPipeline, SeamlessGenerator
from magical_hub.data import package_dataset
from magical_hub.packages import DEFECTS


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
def test_train_packages(repo, tmp_path):
    few = ["--output-dir", tmp_path / "run", "--max-images", "24", "--max-steps", "1", "--batch-size", "2"]
    subprocess.run([sys.executable, repo / "examples" / "train_packages.py", *few], check=True, timeout=300)
    generator = MagicalPipeline.from_pretrained(tmp_path / "run").generator
    assert generator.grid.height == 512 and generator.config.class_names == ["QFN", "BGA", "SOIC"]


@pytest.mark.slow
def test_the_detector_learns(example, tmp_path):
    """It finds again what it was taught, so boxes go in and come out alike."""
    module = example("train_detector")
    real = package_dataset(40, 64, seed=5, defect_rate=1.0)
    config = module.Config(tmp_path, detector_steps=200, batch_size=8)
    scores = module.measure(module.teach([real], len(real.features["label"].names), config), real)
    assert scores["mAP at 0.5"] > 0.6


@pytest.fixture(scope="module")
def notebook(repo) -> Any:
    return nbformat.read(repo / "examples" / "quickstart.ipynb", as_version=4)


@pytest.mark.slow
def test_the_notebook_runs(notebook, tmp_path, monkeypatch):
    """In a kernel of its own, with few images and steps in the cell of its parameters."""
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    short = copy.deepcopy(notebook)
    (parameters,) = [cell for cell in short.cells if "parameters" in cell.metadata.get("tags", [])]
    parameters.source = "num_real, steps, num_synthetic = 24, 2, 3"
    NotebookClient(short, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert (tmp_path / "run" / "model_index.json").is_file()
    (counts,) = re.findall(
        r"(\d+) -> (\d+) rows; features equal: True", str([cell.get("outputs") for cell in short.cells])
    )
    assert int(counts[1]) - int(counts[0]) == 3


def test_the_notebook_keeps_its_outputs(notebook):
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 4
    text = nbformat.writes(notebook)
    assert len(text) < 2**21 and "/home/" not in text and "/tmp/" not in text and "/root/" not in text


def test_gallery(example, randomise, tmp_path):
    shape = {
        "rows": 4,
        "cols": 4,
        "image_size": (64, 64),
        "base_width": 8,
        "max_width": 16,
        "latent_dim": 16,
        "channels": 3,
    }
    names = {"num_classes": 3, "class_names": ["QFN", "BGA", "SOIC"]}
    generator = SeamlessGenerator(**shape, **names, style_dim=16)
    randomise(generator)
    MagicalPipeline(generator).save_pretrained(tmp_path / "checkpoint")
    example("gallery").main(tmp_path, *2 * [str(tmp_path / "checkpoint")])
    for name in ("first", "solar-cells", "packages", "seams"):
        with Image.open(tmp_path / f"{name}.png") as picture:
            assert len(picture.getcolors(2**24)) > 20
    with Image.open(tmp_path / "walk.gif") as film:
        frames = [np.asarray(frame.convert("L")).astype(int) for frame in ImageSequence.Iterator(film)]
    assert len(frames) == 32
    steps = [np.abs(a - b).mean() for a, b in zip(frames, frames[1:] + frames[:1], strict=True)]
    assert 0 < max(steps) < 5 * np.mean(steps)  # it goes on evenly, and ends where it began
