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

    def run(output_dir: Path, batch_size: int, processes: int):
        options = [*common, "--output-dir", output_dir, "--batch-size", batch_size]
        if processes == 1:
            return run_command(*options, ACCELERATE_USE_CPU="true")
        launcher = [*LAUNCH.split(), "-m", "magical_hub.cli"]
        return run_command(*launcher, *options, module="accelerate.commands.launch", ACCELERATE_USE_CPU="true")

    return run


def weights(run: Path, step: int) -> dict[str, torch.Tensor]:
    folder = run / "checkpoints" / f"step-{step:08d}"
    files = {name: load_file(folder / f"{name}.safetensors") for name in ("generator", "critic", "ema")}
    return {f"{name}.{key}": value for name, state in files.items() for key, value in state.items()}


def test_two_processes_equal_one(launch, tmp_path):
    ran = launch(tmp_path / "two", 4, processes=2)
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert ran.stdout.count("\n") == 1 and json.loads(ran.stdout)["steps"] == 2  # one of the two reports
    assert launch(tmp_path / "one", 4, processes=1).returncode == 0

    for step in (1, 2):
        one, two = weights(tmp_path / "one", step), weights(tmp_path / "two", step)
        assert one.keys() == two.keys()
        assert {name: gap for name in one if (gap := float((one[name] - two[name]).abs().max())) > 1e-4} == {}
    # The yardstick: a single step moves the weights by far more than that.
    first, second = weights(tmp_path / "one", 1), weights(tmp_path / "one", 2)
    assert max(float((first[name] - second[name]).abs().max()) for name in first) > 1e-3

    history = [[json.loads(line) for line in (tmp_path / run / "history.jsonl").open()] for run in ("one", "two")]
    assert [line["step"] for line in history[1]] == [line["step"] for line in history[0]] == [1, 2]


def test_they_are_two_and_the_batch_must_be_shared_out(launch, tmp_path):
    """Proof that the launch above runs two processes, and not one or two of one each."""
    ran = launch(tmp_path / "run", 3, processes=2)
    assert ran.returncode != 0
    assert "error: batch_size 3 cannot be shared by 2 processes: give a multiple of their number" in ran.stderr
