"""Two processes of the command equal one with the same global batch."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

LAUNCH = (
    "--multi_gpu --num_processes 2 --num_machines 1 --mixed_precision no --dynamo_backend no --main_process_port 0"
)
SETTINGS = {
    "image-size": 32,
    "rows": 2,
    "cols": 2,
    "base-width": 8,
    "max-width": 16,
    "latent-dim": 16,
    "max-steps": 2,
    "checkpoint-every": 1,
    "log-every": 1,
    "mixed-precision": "no",
}


@pytest.fixture(scope="module")
def launch(run_command, elpv_folder):
    """Trains in one process, or in two, on the CPU."""
    settings = [part for name, value in SETTINGS.items() for part in (f"--{name}", value)]
    common = ["train", "--data", elpv_folder, *settings, "--json"]

    def run(output_dir: Path, batch_size: int, processes: int, *more: object):
        options = [*common, "--output-dir", output_dir, "--batch-size", batch_size, *more]
        if processes == 1:
            return run_command(*options, ACCELERATE_USE_CPU="true")
        launcher = [*LAUNCH.split(), "-m", "magical_hub.cli"]
        return run_command(*launcher, *options, module="accelerate.commands.launch", ACCELERATE_USE_CPU="true")

    return run


def weights(run: Path, step: int) -> dict[str, torch.Tensor]:
    folder = run / "checkpoints" / f"step-{step:08d}"
    files = {name: load_file(folder / f"{name}.safetensors") for name in ("generator", "critic", "ema")}
    return {f"{name}.{key}": value for name, state in files.items() for key, value in state.items()}


@pytest.fixture(scope="module")
def alone(launch, tmp_path_factory):
    """The run of one process. Not to be changed."""
    folder = tmp_path_factory.mktemp("alone") / "run"
    assert launch(folder, 4, processes=1).returncode == 0
    return folder


def test_two_processes_equal_one(launch, alone, tmp_path):
    ran = launch(tmp_path / "two", 4, processes=2)
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert ran.stdout.count("\n") == 1 and json.loads(ran.stdout)["steps"] == 2  # one of the two reports
    assert_equal(alone, tmp_path / "two")
    # The yardstick: a single step moves the weights by far more than that.
    first, second = weights(alone, 1), weights(alone, 2)
    assert max(float((first[name] - second[name]).abs().max()) for name in first) > 1e-3


def test_the_gradients_of_passes_are_shared_once_whole(launch, alone, tmp_path):
    ran = launch(tmp_path / "two", 4, 2, "--gradient-accumulation", 2)
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert_equal(alone, tmp_path / "two")


def assert_equal(one: Path, two: Path) -> None:
    """The same weights after each step, and in history.jsonl the same figures, which are then those of all windows."""
    for step in (1, 2):
        ours, theirs = weights(one, step), weights(two, step)
        assert ours.keys() == theirs.keys()
        gaps = {name: float((ours[name] - theirs[name]).abs().max()) for name in ours}
        assert {name: gap for name, gap in gaps.items() if gap > 1e-4} == {}
    histories = [[json.loads(line) for line in (run / "history.jsonl").open()] for run in (one, two)]
    for ours, theirs in zip(*histories, strict=True):
        assert ours.keys() == theirs.keys() and ours["step"] == theirs["step"]
        terms = [name for name in ours if name.startswith(("critic/", "generator/"))]
        assert len(terms) >= 6
        assert [ours[name] for name in terms] == pytest.approx([theirs[name] for name in terms], rel=1e-3, abs=1e-5)


def test_they_are_two_and_the_batch_must_be_shared_out(launch, tmp_path):
    """Proof that the launch above runs two processes, and not one or two of one each."""
    ran = launch(tmp_path / "run", 3, processes=2)
    assert ran.returncode != 0
    assert "error: batch_size 3 cannot be shared by 2 processes: give a multiple of their number" in ran.stderr
