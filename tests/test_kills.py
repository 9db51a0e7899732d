"""`kill -9` at random moments while rows are made, a pipeline is saved, and images are written: nothing lost or half.

Training has its own such test, in training/test_kill.py.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from forks import start
from PIL import Image

from magical_hub import LabelVerifier, MagicalPipeline, SeamlessGenerator, augment_dataset
from magical_hub.errors import CheckpointError, ConfigError
from magical_hub.export import write, write_dataset, write_imagefolder

KILLS = [2, pytest.param(10, marks=pytest.mark.slow)]


def killed(act: Callable[[], Any], begun: Callable[[], Any], within: float, moments: random.Random) -> bool:
    """Run in a process that is killed some time after it has begun; whether it was still at work."""
    child = start(act)
    while not begun() and child.is_alive():
        time.sleep(0.001)
    time.sleep(moments.uniform(0, within))
    alive = child.is_alive()
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    return alive


def leavings(folder: Path) -> list[str]:
    return [str(path) for path in folder.rglob(".*") if path.name not in (".rows.jsonl",)]


@pytest.fixture
def labelled() -> datasets.Dataset:
    rng = np.random.default_rng(0)
    images = [Image.fromarray(rng.integers(0, 255, (32, 48, 3), dtype=np.uint8)) for _ in range(9)]
    names = datasets.ClassLabel(names=["QFN", "BGA", "SOIC"])
    features = datasets.Features({"image": datasets.Image(), "label": names})
    return datasets.Dataset.from_dict({"image": images, "label": [0, 1, 2] * 3}, features=features)


@pytest.mark.parametrize("kills", KILLS)
def test_rows_of_augment(labelled, make_pipeline, tmp_path, monkeypatch, kills):
    pipe = make_pipeline(channels=3, class_names=["QFN", "BGA", "SOIC"])
    count = 64 * 3 * kills
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "once")
    once = augment_dataset(labelled, pipe, count)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    moments, shards = random.Random(kills), dict[Path, int]()
    for _ in range(kills):
        before = len(shards)
        there = lambda least=before: len([*(tmp_path / "cache").rglob("*.arrow")]) > least  # noqa: E731
        assert killed(lambda: augment_dataset(labelled, pipe, count), there, 0.1, moments)
        now = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.arrow")}
        assert shards.items() <= now.items(), "a shard that was there was made again"
        shards = now
    resumed = augment_dataset(labelled, pipe, count)
    assert {path: path.stat().st_mtime_ns for path in shards} == shards
    assert resumed["label"][:] == once["label"][:] and not leavings(tmp_path / "cache")[1:]
    for ours, theirs in zip(resumed["image"], once["image"], strict=True):
        assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("kills", KILLS)
def test_a_pipeline_that_is_saved_again_and_again(make_pipeline, tmp_path, kills):
    """What is loaded is one of the two pipelines, generator, verifier and record, and never some of each."""
    shape = {"rows": 2, "cols": 3, "image_size": (32, 48), "width": 8, "num_defects": 2}
    pipes = []
    for number in range(2):
        made = make_pipeline(num_defects=2, defect_names=["crack", "void"])
        pipes.append(MagicalPipeline(made.generator, verifier=LabelVerifier(**shape).eval()))
        with torch.no_grad():
            for network in (pipes[-1].generator, pipes[-1].verifier):
                for parameter in network.parameters():
                    parameter.fill_(number + 1)
        pipes[-1].origin = {"record": {"made": "checkpoint", "steps": number + 1}}
    folder = tmp_path / "saved"
    pipes[0].save_pretrained(folder)
    moments, found = random.Random(kills), []

    def save_for_ever() -> None:
        (tmp_path / "begun").touch()
        while True:
            for pipe in pipes[::-1]:
                pipe.save_pretrained(folder)

    for _ in range(kills):
        (tmp_path / "begun").unlink(missing_ok=True)
        assert killed(save_for_ever, (tmp_path / "begun").exists, 0.4, moments)
        loaded = MagicalPipeline.from_pretrained(folder)
        parameters = [*loaded.generator.parameters(), *loaded.verifier.parameters()]
        numbers = {parameter.flatten()[0].item() for parameter in parameters}
        numbers.add(float(loaded.origin["record"].get("from", loaded.origin["record"])["steps"]))
        assert len(numbers) == 1, numbers
        found += numbers
    pipes[1].save_pretrained(folder)
    assert next(MagicalPipeline.from_pretrained(folder).verifier.parameters()).flatten()[0].item() == 2
    assert not leavings(folder)


@pytest.mark.parametrize("kills", KILLS)
def test_exports(labelled, make_pipeline, tmp_path, kills):
    """A folder of a dataset is whole or not there; images and a Zarr go on; a TIFF is whole or not there."""
    pytest.importorskip("zarr")
    pipe = make_pipeline(channels=3, class_names=["QFN", "BGA", "SOIC"])
    large = MagicalPipeline(
        SeamlessGenerator(
            rows=8, cols=8, image_size=(1024, 1024), base_width=8, max_width=8, latent_dim=8, style_dim=8
        )
    )
    many = datasets.concatenate_datasets([labelled] * 60)
    moments, half = random.Random(kills), 0
    acts: list[tuple[str, Callable[[Path], Any]]] = [
        ("set", lambda place: write_dataset(many, place, "imagefolder")),
        ("images", lambda place: write_imagefolder(pipe, place, 200)),
        ("a.zarr", lambda place: write(large, place, "zarr")),
        ("a.tif", lambda place: write(large, place, "tiff")),
    ]
    for name, act in acts[:kills]:
        act(tmp_path / "once" / name)
    whole = contents(tmp_path / "once")

    def kill(name: str, act: Callable[[Path], Any], place: Path) -> bool:
        place.mkdir()
        at_work = killed(lambda: act(place / name), lambda: any(place.iterdir()), 0.3, moments)
        if name in ("set", "a.tif") and (place / name).exists():
            assert contents(place / name).items() <= contents(tmp_path / "once" / name).items()
        for file in (place / name).rglob("*.png"):
            Image.open(file).load()
        unfinished = not (place / name / "metadata.jsonl").exists() or (place / name / ".rows.jsonl").exists()
        if not (place / name).exists() or (name == "images" and unfinished):
            act(place / name)
        return at_work

    for number in range(kills):
        name, act = acts[number % len(acts)]
        place = tmp_path / f"killed-{number}"
        half += kill(name, act, place)
        made = contents(place)
        assert made.keys() == {file for file in whole if file.startswith(name)} and not leavings(place)
        assert not [file for file in made if made[file] != whole[file] and not file.endswith(".json")]
    assert half, "none was killed at work: give it more to write"


def contents(folder: Path) -> dict[str, bytes]:
    """Of the files in a folder; of a file, itself."""
    if folder.is_file():
        return {folder.name: folder.read_bytes()}
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_killed_generate_goes_on(make_pipeline, tmp_path):
    pipe = make_pipeline(channels=3, class_names=["QFN", "BGA", "SOIC"])
    folder = tmp_path / "images"
    moments = random.Random(0)
    there = lambda: len([*folder.glob("*.png")]) > 9  # noqa: E731
    assert killed(lambda: write_imagefolder(pipe, folder, 400), there, 0.05, moments)
    left = {path: path.stat().st_mtime_ns for path in folder.glob("*.png")}
    assert 9 < len(left) < 400 and not (folder / "metadata.jsonl").exists()
    rows = write_imagefolder(pipe, folder, 400)
    kept = [path for path, when in left.items() if path.stat().st_mtime_ns == when]
    assert len(kept) > len(left) - 17 and len(rows) == 400  # all but those of the batch that was at work
    once = write_imagefolder(pipe, tmp_path / "once", 400)
    assert json.loads(json.dumps(rows)) == json.loads(json.dumps(once))
    assert contents(folder).keys() == contents(tmp_path / "once").keys()


@pytest.mark.parametrize(
    "left", [[], [".lock"], [".rows.jsonl"], [".00000.png.0123456789abcdef.incomplete", ".rows.jsonl"]]
)
def test_a_generate_that_was_killed_before_its_first_image(pipe, tmp_path, left):
    for name in left:
        (tmp_path / name).touch()
    assert len(write_imagefolder(pipe, tmp_path, 2)) == 2
    names = {"00000.png", "00001.png", "metadata.jsonl", "provenance.json"}
    assert {path.name for path in tmp_path.iterdir()} == names
    (tmp_path / ".rows.jsonl").touch()  # as if killed at the very end
    with pytest.raises(ConfigError, match="holds images of another request: repeat it"):
        write_imagefolder(pipe, tmp_path, 3)
    write_imagefolder(pipe, tmp_path, 2)
    assert {path.name for path in tmp_path.iterdir()} == names


def test_a_read_only_folder_whose_saving_was_cut_off(pipe_folder, tmp_path, monkeypatch):
    folder = Path(shutil.copytree(pipe_folder, tmp_path / "checkpoint"))
    shutil.copytree(pipe_folder, folder / ".saved")

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("os.replace", refuse)
    with pytest.raises(CheckpointError, match=r"can't be finished here .Read-only file system."):
        MagicalPipeline.from_pretrained(folder)
    monkeypatch.undo()
    MagicalPipeline.from_pretrained(folder)
    assert not (folder / ".saved").exists()
