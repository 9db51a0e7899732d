"""Files and folders appear whole or not at all, for one writer at a time, and never through a link."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset, Features, Image
from PIL import Image as pillow

from magical_hub import MagicalPipeline, TrainingConfig, train
from magical_hub.errors import ConfigError, DataError
from magical_hub.export import write, write_dataset, write_imagefolder
from magical_hub.files import only_maker, only_writer, remove_leftovers, write_text, written_whole

fork = multiprocessing.get_context("fork")
LEFT = ".{}.0123456789abcdef.incomplete"
"""The name of what a killed writer leaves."""


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder that no run may touch."""
    folder = tmp_path / "outside"
    (folder / ".ssh").mkdir(parents=True)
    (folder / ".ssh" / "id").write_text("key")
    (folder / "file").write_text("precious")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def trained(tiny_config: Callable[..., TrainingConfig], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A RUN of four steps."""
    run = tmp_path_factory.mktemp("run") / "run"
    train(tiny_config(run, max_steps=4, checkpoint_every=2, sample_every=4))
    return run


@pytest.mark.parametrize(
    "place",
    ["checkpoints", "samples", "data", "generator", "history.jsonl", "curves.png", "split.json", "logs", "samples/a"],
)
def test_a_run_with_a_link_in_it_is_not_resumed(trained, outside, tmp_path, tiny_config, place):
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    if (run / place).is_dir():
        shutil.rmtree(run / place)
    (run / place).unlink(missing_ok=True)
    (run / place).symlink_to(outside if "." not in place else outside / "file")
    before = contents(outside)
    with pytest.raises(DataError, match="is a symbolic link") as error:
        train(tiny_config(run, max_steps=8, resume=True))
    assert "\n" not in str(error.value) and contents(outside) == before


@pytest.mark.parametrize("place", ["history.jsonl.incomplete", ".history.jsonl.0123456789abcdef.incomplete", ".lock"])
def test_nothing_is_written_through_a_link_beside(trained, outside, tmp_path, tiny_config, place):
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    (run / place).symlink_to(outside / "file")
    if place == ".lock":
        with pytest.raises(ConfigError, match=r"\.lock is a link, where a lock belongs"):
            train(tiny_config(run, max_steps=5, resume=True))
    else:
        train(tiny_config(run, max_steps=5, resume=True))
    assert (outside / "file").read_text() == "precious"


def test_a_hard_link_and_a_pipe_in_a_run(trained, outside, tmp_path, tiny_config):
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    (run / "history.jsonl").unlink()
    os.link(outside / "file", run / "history.jsonl")
    train(tiny_config(run, max_steps=5, resume=True, log_every=1))
    assert (outside / "file").read_text() == "precious"
    (run / "split.json").unlink()
    os.mkfifo(run / "split.json")
    with pytest.raises(DataError, match=r"split\.json is neither a file nor a folder"):
        train(tiny_config(run, max_steps=6, resume=True))


def test_what_is_not_ours_among_the_checkpoints_stays(trained, tmp_path, tiny_config):
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    folder = run / "checkpoints"
    for name in (".DS_Store", ".gitignore", ".nfs0001", "step-00000001", "notes"):
        (folder / name).write_text("mine")
    for name in (".git", "step-00000002.bak", "step-00000000", ".step-00000003.incomplete"):
        (folder / name).mkdir()
    mine = {path.name for path in folder.iterdir()} - {"step-00000002", "step-00000004"}
    (folder / LEFT.format("step-00000003")).mkdir()
    train(tiny_config(run, max_steps=8, checkpoint_every=2, resume=True))
    assert {path.name for path in folder.iterdir()} == mine | {"step-00000006", "step-00000008"}


def test_two_trainings_of_one_run(trained, tmp_path, tiny_config):
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    with only_writer(run), pytest.raises(ConfigError, match="is being written by another process"):
        train(tiny_config(run, max_steps=5, resume=True))
    assert train(tiny_config(run, max_steps=5, resume=True)).steps == 5


def _hold(folder: Path) -> None:
    with only_writer(folder), written_whole(folder / "half") as beside:
        beside.write_text("half of it")
        (folder / "ready").touch()
        time.sleep(600)


def test_a_dead_writers_lock_and_its_half_written_file_are_noticed(tmp_path):
    child = fork.Process(target=_hold, args=(tmp_path,))
    child.start()
    while not (tmp_path / "ready").exists():
        time.sleep(0.01)
    with pytest.raises(ConfigError, match="is being written by another process"), only_writer(tmp_path):
        pass
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    assert len(list(tmp_path.iterdir())) == 3
    with only_writer(tmp_path):
        assert {path.name for path in tmp_path.iterdir()} == {".lock", "ready"}
    assert {path.name for path in tmp_path.iterdir()} == {"ready"}


@pytest.mark.parametrize("fails", [False, True])
def test_locks_leave_no_trace(tmp_path, fails):
    for hold, place in ((only_writer, tmp_path / "a" / "new"), (only_maker, tmp_path / "b")):
        try:
            with hold(place):
                if fails:
                    raise DataError("no good")
        except DataError:
            pass
        assert not place.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_only_ones_own_leavings_are_cleared(tmp_path, outside):
    mine = ["set.incomplete", ".set.incomplete", ".a.0123.incomplete", ".b.0123456789ABCDEF.incomplete"]
    for name in mine:
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    (tmp_path / LEFT.format("link")).symlink_to(outside)
    (tmp_path / LEFT.format("x")).mkdir()
    (tmp_path / LEFT.format("y")).touch()
    remove_leftovers(tmp_path, "x")
    assert not (tmp_path / LEFT.format("x")).exists() and (tmp_path / LEFT.format("y")).exists()
    remove_leftovers(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {*mine, "outside", LEFT.format("link")}
    assert (outside / "file").read_text() == "precious"


def test_a_link_of_the_name_is_replaced_and_not_followed(tmp_path, outside):
    (tmp_path / "x").symlink_to(outside / "file")
    write_text(tmp_path / "x", "new")
    assert (tmp_path / "x").read_text() == "new" and not (tmp_path / "x").is_symlink()
    assert (outside / "file").read_text() == "precious"


def test_a_name_as_long_as_file_systems_allow(tmp_path):
    path = tmp_path / ("n" * 250)
    with only_maker(path):
        write_text(path, "x")
    assert path.read_text() == "x" and len(list(tmp_path.iterdir())) == 1


def dataset(value: int, count: int = 3) -> Dataset:
    image = pillow.fromarray(np.full((8, 8), value, np.uint8))
    return Dataset.from_dict({"image": [image] * count}, features=Features({"image": Image()}))


def test_folders_of_the_users_own_beside_an_export(tmp_path):
    (tmp_path / "set.incomplete").mkdir()
    (tmp_path / "set.incomplete" / "mine").touch()
    write_dataset(dataset(1), tmp_path / "set", "imagefolder", label_column=None)
    assert (tmp_path / "set.incomplete" / "mine").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set", "set.incomplete"]


def test_two_exports_into_one_folder(tmp_path):
    with only_maker(tmp_path / "set"), pytest.raises(ConfigError, match="is being written by another process"):
        write_dataset(dataset(1), tmp_path / "set", "imagefolder", label_column=None)
    write_dataset(dataset(1), tmp_path / "set", "imagefolder", label_column=None)
    with pytest.raises(DataError, match="holds something already"):
        write_dataset(dataset(2), tmp_path / "set", "imagefolder", label_column=None)


def test_images_beside_links(pipe_folder, tmp_path, outside):
    pipe = MagicalPipeline.from_pretrained(pipe_folder)
    (tmp_path / "images").mkdir()
    for name in ("00000.png.incomplete", "metadata.jsonl", "provenance.json.incomplete"):
        (tmp_path / "images" / name).symlink_to(outside / "file")
    write_imagefolder(pipe, tmp_path / "images", 1)
    assert (outside / "file").read_text() == "precious"
    assert (tmp_path / "images" / "metadata.jsonl").read_text().startswith('{"file_name"')


def test_a_zarr_that_somebody_else_began(pipe_folder, tmp_path, outside):
    pytest.importorskip("zarr", reason="zarr needs Python 3.11 or later: run it with one")
    pipe = MagicalPipeline.from_pretrained(pipe_folder)
    (tmp_path / "a.zarr.incomplete").mkdir()
    (tmp_path / "a.zarr.incomplete" / "mine").touch()
    with pytest.raises(ConfigError, match="holds something of another program"):
        write(pipe, tmp_path / "a.zarr", "zarr")
    assert (tmp_path / "a.zarr.incomplete" / "mine").exists()
    (tmp_path / "b.zarr.incomplete").symlink_to(outside)
    with pytest.raises(DataError, match="is a symbolic link"):
        write(pipe, tmp_path / "b.zarr", "zarr")
    write(pipe, tmp_path / "c.zarr", "zarr")
    (tmp_path / "c.zarr").rename(tmp_path / "c.zarr.incomplete")
    shutil.rmtree(tmp_path / "c.zarr.incomplete" / "0" / "c")
    (tmp_path / "c.zarr.incomplete" / "0" / "c").symlink_to(outside)
    with pytest.raises(DataError, match="is a symbolic link"):
        write(pipe, tmp_path / "c.zarr", "zarr")
    assert set(contents(outside)) == {".ssh/id", "file"}


@pytest.mark.parametrize("place", ["generator", "generator/config.json", "model_index.json", "provenance.json"])
def test_a_pipeline_is_not_saved_through_a_link(pipe_folder, tmp_path, outside, place):
    pipe = MagicalPipeline.from_pretrained(pipe_folder)
    pipe.origin = {"record": {"made": "checkpoint"}}
    target = tmp_path / "target" / place
    target.parent.mkdir(parents=True)
    target.symlink_to(outside if place == "generator" else outside / "file")
    before = contents(outside)
    with pytest.raises(DataError, match="is a symbolic link"):
        pipe.save_pretrained(tmp_path / "target")
    assert contents(outside) == before


def test_a_save_that_was_cut_off_after_all_was_written_is_finished_by_the_next_reader(
    make_pipeline: Callable[..., Any], tmp_path: Path
) -> None:
    from magical_hub.models import MagicalGenerator

    old, new = make_pipeline(MagicalGenerator), make_pipeline(MagicalGenerator)
    new.generator.load_state_dict({name: value + 1 for name, value in new.generator.state_dict().items()})
    old.origin = {"record": {"made": "checkpoint", "steps": 1}}
    old.save_pretrained(tmp_path / "a")
    new.save_pretrained(tmp_path / "b")
    shutil.copytree(tmp_path / "b", tmp_path / "a" / ".saved")
    (tmp_path / "a" / ".saved" / "generator" / "config.json").unlink()  # moved before the kill
    loaded = MagicalPipeline.from_pretrained(tmp_path / "a")
    for name, value in loaded.generator.state_dict().items():
        assert value.equal(new.generator.state_dict()[name])
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
