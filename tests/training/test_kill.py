"""`kill -9` at random moments, signals, a full disk: nothing done is lost, and the weights come out the same."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from forks import start, start_command

from magical_hub import train
from magical_hub.training.run.checkpoints import checkpoint_step, last_checkpoint


def steps_done(run: Path) -> int:
    last = last_checkpoint(run / "checkpoints")
    return checkpoint_step(last) if last else 0


def weights(run: Path) -> dict[str, bytes]:
    last = last_checkpoint(run / "checkpoints")
    assert last is not None
    return {file.name: file.read_bytes() for file in last.glob("*.safetensors")}


@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_at_random_moments_it_ends_with_the_same_weights(tiny_config, tmp_path, kills):
    """With an augmentation that adapts on the way."""
    settings = {"checkpoint_every": 2, "sample_every": 20, "max_steps": 16 * kills + 16}
    settings |= {"augment_target": 0.0, "augment_windows": 64}
    once = start(partial(train, tiny_config(tmp_path / "once", **settings)))
    moments = random.Random(kills)
    resumed_from = []
    while len(resumed_from) < kills:
        before = steps_done(tmp_path / "killed")
        child = start(partial(train, tiny_config(tmp_path / "killed", **settings, resume=before > 0)))
        written = []  # when two checkpoints were, which says how fast this machine is
        while len(written) < 2 and child.is_alive():
            if steps_done(tmp_path / "killed") > before + 2 * len(written):
                written.append(time.monotonic())
            time.sleep(0.002)
        pace = written[-1] - written[0] if written else 0.0
        time.sleep(moments.uniform(0, 2 * pace))  # within a step, a checkpoint being written, a sample
        assert child.is_alive(), "it ended before it was killed: give it more steps"
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        resumed_from.append(steps_done(tmp_path / "killed"))
    assert min(resumed_from) > 0
    train(tiny_config(tmp_path / "killed", **settings, resume=True))
    once.join()
    assert once.exitcode == 0
    assert weights(tmp_path / "killed") == weights(tmp_path / "once")
    once_adapted, killed_adapted = (adapted(tmp_path / name) for name in ("once", "killed"))
    assert len(once_adapted) > 1 and killed_adapted == once_adapted


def adapted(run: Path) -> dict[int, tuple[float, float]]:
    """The overfitting that was measured and the strength that followed, by step; rounding decides their values."""
    lines = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    names = "augmentation/overfitting", "augmentation/strength"
    return {line["step"]: (line[names[0]], line[names[1]]) for line in lines if names[0] in line}


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_signal_writes_a_checkpoint_and_says_how_to_go_on(elpv_folder, tmp_path, number):
    sizes = ("--image-size", 32, "--rows", 2, "--cols", 2, "--base-width", 8, "--max-width", 16, "--batch-size", 4)
    child, stderr = start_command(
        "train", "--data", elpv_folder, "--output-dir", tmp_path / "run", *sizes, "--log-every", 1
    )
    history = tmp_path / "run" / "history.jsonl"
    while not (history.exists() and history.stat().st_size) and child.is_alive():
        time.sleep(0.01)
    assert child.pid is not None
    os.kill(child.pid, number)
    with stderr:
        errors = stderr.read()
    child.join()
    assert child.exitcode == 1 and "Traceback" not in errors
    assert errors.splitlines()[-1] == (
        f"stopped by {number.name} at step {steps_done(tmp_path / 'run')}: continue with --resume"
    )
    assert steps_done(tmp_path / "run") > 0


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_loses_nothing(elpv_folder, tmp_path):
    """A limit on the size of files stands for the full disk: the kernel refuses the write in the same place."""
    options = ["--image-size", "32", "--rows", "2", "--cols", "2", "--base-width", "8", "--max-width", "16"]
    command = [sys.executable, "-m", "magical_hub.cli", "train", "--data", str(elpv_folder), *options]
    command += ["--output-dir", str(tmp_path / "run"), "--resume", "--checkpoint-every", "1"]
    assert subprocess.run([*command, "--max-steps", "1"], capture_output=True).returncode == 0
    before = weights(tmp_path / "run")

    def fill_the_disk() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))

    full = subprocess.run([*command, "--max-steps", "2"], capture_output=True, text=True, preexec_fn=fill_the_disk)
    assert full.returncode == 1 and "Traceback" not in full.stderr
    assert full.stderr.splitlines()[-1].startswith("error: File too large"), full.stderr[-2000:]
    assert steps_done(tmp_path / "run") == 1 and weights(tmp_path / "run") == before
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-00000001"]
