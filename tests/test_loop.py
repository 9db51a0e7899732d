"""examples/pipeline/ as a user runs it, by DVC."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

PARTS = ("prepare", "train", "evaluate", "gate_report", "augment", "detect", "gate_detector", "push")
SMALL = {
    "prepare": {"num_train": 300, "num_test": 24, "image_size": 64},
    "train": {"max_steps": 2, "base_width": 8},
    "evaluate": {"num_images": 30},
    "augment": {"num_images": 4, "keep": "all"},
    "detect": {"steps": 3, "batch_size": 4},
}


@pytest.fixture
def loop(repo, tmp_path) -> Path:
    """A copy of the example, as a DVC repository of its own, in small form."""
    (tmp_path / "train_detector.py").write_text((repo / "examples" / "train_detector.py").read_text())
    folder = shutil.copytree(repo / "examples" / "pipeline", tmp_path / "pipeline")
    change(folder, **SMALL)
    assert dvc(folder, "init", "--no-scm").returncode == 0
    return folder


def change(folder: Path, **sections: dict[str, Any]) -> None:
    settings = yaml.safe_load((folder / "params.yaml").read_text())
    for section, values in sections.items():
        assert values.keys() <= settings[section].keys()
        settings[section].update(values)
    (folder / "params.yaml").write_text(yaml.safe_dump(settings))


def dvc(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """DVC, whose stages find this interpreter and `magical-hub` beside it."""
    environment = {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "DVC_NO_ANALYTICS": "1",
        "DVC_SITE_CACHE_DIR": str(folder.parent / "site"),
        "HF_DATASETS_CACHE": str(folder.parent / "cache"),
        "HF_HUB_OFFLINE": "1",
    }
    return subprocess.run(
        [sys.executable, "-m", "dvc", *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=500,
    )


def skipped(ran: subprocess.CompletedProcess[str]) -> list[str]:
    return [line.split("'")[1] for line in ran.stdout.splitlines() if "didn't change, skipping" in line]


@pytest.mark.slow
def test_the_first_stages_run_once(loop):
    change(loop, prepare={"num_train": 24, "num_test": 2})
    ran = dvc(loop, "repro", "train")
    assert ran.returncode == 0, ran.stderr
    about = json.loads((loop / "train.json").read_text())
    assert about["steps"] == 2 and (loop / "run" / "model_index.json").is_file()
    assert len([*(loop / "data" / "train").rglob("*.png")]) == 24
    again = dvc(loop, "repro", "train")
    assert skipped(again) == ["prepare", "train"] and "up to date" in again.stdout


def section(verdict: str) -> dict[str, Any]:
    return {"verdict": verdict, "statement": f"This was {verdict}.", "scores": {"figure": 1.5}}


def test_a_gate_that_fails_says_why_and_one_that_holds_lets_go_on(loop):
    sections = {"leakage": section("bad"), "seams": section("weak"), "diversity": section("bad")}
    (loop / "report").mkdir()
    (loop / "report" / "report.json").write_text(json.dumps({"sections": sections}))
    ran = dvc(loop, "repro", "--single-item", "gate_report")
    assert ran.returncode != 0 and "Traceback" not in ran.stderr
    assert "gate: leakage is 'bad' and must be good or weak: This was bad." in ran.stderr
    assert not (loop / "gate_report.json").exists()
    change(loop, gates={"leakage": ["good", "weak", "bad"]})
    assert dvc(loop, "repro", "--single-item", "gate_report").returncode == 0
    assert json.loads((loop / "gate_report.json").read_text())["leakage"] == {"verdict": "bad", "figure": 1.5}


@pytest.mark.slow
def test_the_loop_from_images_to_what_would_be_pushed(loop):
    allowed = ["good", "weak", "bad"]
    ran = dvc(loop, "repro")
    assert ran.returncode != 0 and "gate: " in ran.stderr  # two steps of training make no seamless images
    assert not (loop / "augmented").exists()
    change(loop, gates={"leakage": allowed, "seams": allowed, "least_gain": 2.0})
    ran = dvc(loop, "repro")
    assert ran.returncode != 0 and "with synthetic images mAP at 0.5 changes by" in ran.stderr
    assert not (loop / "published").exists()
    change(loop, gates={"least_gain": -1.0})
    ran = dvc(loop, "repro")
    assert ran.returncode == 0, ran.stderr
    assert json.loads((loop / "augment.json").read_text())["synthetic"] == 4
    assert json.loads((loop / "push.json").read_text())["leakage"] == "passed"
    assert (loop / "published" / "README.md").is_file()
    assert sorted(skipped(dvc(loop, "repro"))) == sorted(PARTS)
