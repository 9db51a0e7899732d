"""JSON and JSON lines that a stranger or bad luck wrote: read, or refused in one line; history blocks nothing."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from magical_hub import MagicalPipeline, TrainingConfig, train
from magical_hub.checkpoint import describe
from magical_hub.errors import CheckpointError, DataError, MagicalError
from magical_hub.export import write_imagefolder
from magical_hub.provenance import chain, steps_of
from magical_hub.safety import parse_json, read_json, read_json_lines
from magical_hub.training import Split
from magical_hub.training.config import read_settings
from magical_hub.training.run.history import read_history

NO_JSON = {
    "empty": b"",
    "cut off": b'{"data":',
    "deep": b"[" * 100_000,
    "deep objects": b'{"a":' * 100_000,
    "no UTF-8": b'{"a": "\xff"}',
    "half a character": b'{"a": "\\ud800"}',
    "half a key": b'{"\\udc00": 1}',
    "NaN": b'{"a": NaN}',
    "infinity": b'{"a": -Infinity}',
    "infinity by its exponent": b'{"a": 1e999}',
    "a number of 10,000 digits": b'{"a": ' + b"9" * 10_000 + b"}",
    "two objects": b"{}{}",
    "a list": b"[1]",
    "a word": b"null",
    "a NUL": b'{"a": "\0"}',
    "a byte order mark": b"\xef\xbb\xbf{}",
}


@pytest.mark.parametrize("content", NO_JSON.values(), ids=NO_JSON)
def test_what_is_no_object_is_refused_in_one_line(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.json .*: correct it") as error:
        read_json(tmp_path / "a.json", tmp_path, DataError, "correct it")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", ["missing", "a folder", "a pipe", "a link out", "/dev/zero", "a circle", "too large"])
def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path, kind):
    folder = tmp_path / "in"
    folder.mkdir()
    path = folder / "a.json"
    (tmp_path / "out.json").write_text("{}")
    {
        "missing": lambda: None,
        "a folder": path.mkdir,
        "a pipe": lambda: os.mkfifo(path),
        "a link out": lambda: path.symlink_to(tmp_path / "out.json"),
        "/dev/zero": lambda: path.symlink_to("/dev/zero"),
        "a circle": lambda: path.symlink_to(path),
        "too large": lambda: path.write_text("{}" + " " * 200),
    }[kind]()
    with pytest.raises(DataError, match=r"a\.json"):
        read_json(path, folder, DataError, "correct it", most=100)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=80) | st.text('{}[]":,\\ud8001e9.NaIfinty-', max_size=30).map(str.encode))
def test_any_bytes_are_json_that_can_be_written_again_or_a_value_error(content):
    try:
        value = parse_json(content)
    except ValueError:
        return
    json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8")


def test_lines_that_are_damaged_are_left_out_and_counted(tmp_path):
    path = tmp_path / "a.jsonl"
    good = b'{"step": 1}\n'
    path.write_bytes(
        good + b'{"st\0ep": 1}\n' + b"\xff\xfe}\n" + b"[1]\n" + b"[" * 100_000 + b"\n" + good + b'{"step"'
    )
    assert read_json_lines(path) == ([{"step": 1}] * 2, 5)
    assert read_json_lines(path, most=30)[0] == [{"step": 1}]
    assert read_json_lines(tmp_path / "none") == ([], 0)
    os.mkfifo(tmp_path / "pipe")
    assert read_json_lines(tmp_path / "pipe") == ([], 0)
    path.write_text('{"a": 1}\n{"step": "x"}\n{"step": true}\n{"step": 2, "b": [1]}\n{"step": 3, "b": 0.5}\n')
    assert read_history(path) == ([{"step": 3, "b": 0.5}], 4)


@pytest.fixture(scope="module")
def trained(tiny_config: Callable[..., TrainingConfig], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A RUN of two steps."""
    run = tmp_path_factory.mktemp("json") / "run"
    train(tiny_config(run, max_steps=2, checkpoint_every=2, sample_every=2, log_every=1, lambda_f=0))
    return run


ABOUT = "checkpoints/step-00000002/about.json"


def changed(file: str, **values: Any) -> Callable[[Path], Any]:
    return lambda run: (run / file).write_text(json.dumps({**json.loads((run / file).read_text()), **values}))


def optimizer(act: Callable[[dict[str, Any]], Any]) -> Callable[[Path], Any]:
    def change(run: Path) -> None:
        file = run / "checkpoints/step-00000002/critic_optimizer.safetensors"
        settings: dict[str, Any] = {"param_groups": [{}], "state": {}}
        act(settings)
        save_file(load_file(file), file, metadata={"settings": json.dumps(settings)})

    return change


RUNS: dict[str, Callable[[Path], Any]] = {
    "a step in words": changed(ABOUT, step="x"),
    "another step": changed(ABOUT, step=10**30),
    "schedulers of none": changed(ABOUT, schedulers=[]),
    "schedulers with a method": changed(ABOUT, schedulers=[{"step": "x"}] * 2),
    "roll_backs in words": changed(ABOUT, roll_backs="x"),
    "roll_backs without end": changed(ABOUT, roll_backs=10**400),
    "an average in words": changed(ABOUT, ema_step="x"),
    "an augmentation that is a list": changed(ABOUT, augmentation=[]),
    "a balance of null": changed(ABOUT, balance=None),
    "a penalty of null": changed(ABOUT, penalty=None),
    "settings of an optimizer": optimizer(lambda settings: settings.update(param_groups={"a": 1})),
    "an optimizer of nothing": optimizer(lambda settings: settings.clear()),
    "a state of an optimizer": optimizer(lambda settings: settings.update(state={"x": 1})),
    "settings cut off": lambda run: (run / "training_config.json").write_bytes(b'{"data":'),
    "a grid in words": changed("training_config.json", rows="x"),
    "a canvas of halves": changed("training_config.json", image_size=[16.5, 16.5]),
    "a number out of range": changed("split.json", train=[10**9]),
    "a part twice": changed("split.json", holdout=[0, 0]),
    "a digest that is a number": changed("split.json", digests=[1] * 24),
}


UNSAID: dict[str, Any] = {"rows": None, "cols": None, "image_size": None, "channels": None}
"""What a resume takes from the run."""


@pytest.mark.parametrize("name", RUNS)
def test_a_run_is_refused_in_one_line(trained, tiny_config, tmp_path, name):
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    RUNS[name](run)
    with pytest.raises(MagicalError) as error:
        train(tiny_config(run, **UNSAID, max_steps=3, resume=True, lambda_f=0))
    assert str(error.value).isprintable() and str(run) in str(error.value)


def test_a_damaged_history_blocks_nothing_and_keeps_its_good_lines(trained, tiny_config, tmp_path):
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    before = (run / "history.jsonl").read_bytes()
    (run / "history.jsonl").write_bytes(b'{"st\0ep": 1}\n{"a": 1}\n\xff\xfe}\n' + before + b'{"step": 2, "cut')
    train(tiny_config(run, max_steps=3, resume=True, log_every=1, lambda_f=0))
    lines, damaged = read_history(run / "history.jsonl")
    assert [line["step"] for line in lines] == [1, 2, 3] and damaged == 0
    assert (run / "history.jsonl").read_bytes().startswith(before)


RECORDS: dict[str, Any] = {
    "from a string": {"made": "x", "from": "y"},
    "image a number": {"made": "x", "image": 3, "from": {"made": "y"}},
    "nothing made below": {"made": "x", "from": {"a": 1}},
    "made null": {"made": None},
    "data a list": {"made": "x", "data": [1]},
    "sessions a word": {"made": "x", "sessions": "y"},
    "sessions without steps": {"made": "x", "sessions": [{}]},
}


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_that_is_none(pipe_folder, tmp_path, name):
    folder = Path(shutil.copytree(pipe_folder, tmp_path / "checkpoint"))
    (folder / "provenance.json").write_text(json.dumps(RECORDS[name]))
    for use in (MagicalPipeline.from_pretrained, chain):
        with pytest.raises(DataError, match="holds no record of this library"):
            use(folder)


def test_a_record_of_a_thousand_steps(pipe_folder, tmp_path):
    folder = Path(shutil.copytree(pipe_folder, tmp_path / "checkpoint"))
    record: dict[str, Any] = {"made": "checkpoint"}
    for _ in range(150):
        record = {"made": "checkpoint", "from": record}
    (folder / "provenance.json").write_text(json.dumps(record))
    pipe = MagicalPipeline.from_pretrained(folder)
    write_imagefolder(pipe, tmp_path / "images", 1)
    assert len(steps_of(json.loads((tmp_path / "images" / "provenance.json").read_text()))) == 152


@pytest.mark.parametrize(
    "values",
    [
        *({"class_names": names} for names in (5, [1], {"a": 1}, "x", [None])),
        *({"defect_names": True}, {"rows": "x"}, {"image_size": [0, 0]}, {"image_size": 3}, {"latent_dim": None}),
        *({"_class_name": ["x"]}, {"_diffusers_version": {}}),
    ],
    ids=str,
)
def test_a_description_of_what_is_none(pipe_folder, tmp_path, values):
    folder = Path(shutil.copytree(pipe_folder, tmp_path / "checkpoint"))
    changed("generator/config.json", **values)(folder)
    with pytest.raises(CheckpointError, match="cannot be read as a checkpoint"):
        describe(folder)


def test_settings_and_splits_are_read_by_the_same_reader(tmp_path):
    for name, read in (("training_config.json", lambda file: read_settings(file.parent)), ("split.json", Split.load)):
        (tmp_path / name).write_bytes(b"[" * 100_000)
        with pytest.raises(DataError, match=r"nested too deep"):
            read(tmp_path / name)
