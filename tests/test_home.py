"""Every path that is written may begin with ~, as every path that is read may."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from magical_hub import TrainingConfig, cli, push
from magical_hub.data import package_dataset
from magical_hub.evaluation import evaluate
from magical_hub.export import write, write_dataset, write_imagefolder, write_series
from magical_hub.provenance import chain


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    """The home folder; the working folder is another one, and stays empty."""
    (tmp_path / "here").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "home"


def test_images_and_data_sets(pipe, seamless_pipe, home):
    write_imagefolder(pipe, "~/png", 1)
    write_series(seamless_pipe, "~/series", 1)
    write(seamless_pipe, "~/one.tif")
    write_dataset(package_dataset(2, 64), "~/data", "coco")
    push(pipe, "acme/tiny", allow_unchecked=True, dry_run="~/push")
    for made in ("png/00000.png", "series/00000.tif", "one.tif", "data/annotations.json", "push/README.md"):
        assert (home / made).is_file()
    assert chain(Path("~/png"))[0]["made"] == "images"
    assert not [*Path().iterdir()]


def test_training_and_evaluation(pipe, home, small_network):
    assert TrainingConfig(data="x", output_dir="~/run").output_dir == str(home / "run")
    write_imagefolder(pipe, "~/real", 16, seed=1)
    evaluate(pipe, "~/real", output_dir="~/report", num_images=8, network=small_network)
    assert (home / "report" / "report.json").is_file() and not [*Path().iterdir()]


def test_the_command(pipe_folder, home, monkeypatch, capfd):
    options = ["--checkpoint", str(pipe_folder), "--num-images", "1", "--output-dir=~/made", "--json"]
    monkeypatch.setattr(sys, "argv", ["magical-hub", "generate", *options])
    cli.main()
    assert json.loads(capfd.readouterr().out)["output_dir"] == str(home / "made")
    assert (home / "made" / "00000.png").is_file() and not [*Path().iterdir()]
