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


def gradients(run: Path) -> dict[str, torch.Tensor]:
    """The gradients of the first step: Adam's first moments, since nothing else goes into them where beta_1 is 0."""
    folder = run / "checkpoints" / "step-00000001"
    files = {name: load_file(folder / f"{name}_optimizer.safetensors") for name in ("critic", "generator")}
    return {f"{n}.{key}": v for n, state in files.items() for key, v in state.items() if key.endswith("exp_avg")}


def test_the_gradients_of_two_processes_are_those_of_one(launch, tmp_path):
    """The penalty's double backward included; the weights are no yardstick: Adam makes a step of any rounding."""
    ran = launch(tmp_path / "two", 4, processes=2)
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert ran.stdout.count("\n") == 1 and json.loads(ran.stdout)["steps"] == 2  # one of the two reports
    assert launch(tmp_path / "one", 4, processes=1).returncode == 0
    assert launch(tmp_path / "other", 4, 1, "--seed", 1).returncode == 0

    one, two, other = (gradients(tmp_path / run) for run in ("one", "two", "other"))
    assert one.keys() == two.keys() and len(one) > 50
    for name, gradient in one.items():
        scale = float(gradient.norm()) + 1e-6
        assert float((gradient - two[name]).norm()) / scale < 2e-3, name
    apart = [float((one[name] - other[name]).norm()) / (float(one[name].norm()) + 1e-6) for name in one]
    assert sorted(apart)[len(apart) // 2] > 0.5  # the yardstick: another seed's gradients

    history = [[json.loads(line) for line in (tmp_path / run / "history.jsonl").open()] for run in ("one", "two")]
    assert [line["step"] for line in history[1]] == [line["step"] for line in history[0]] == [1, 2]


def test_they_are_two_and_the_batch_must_be_shared_out(launch, tmp_path):
    """Proof that the launch above runs two processes, and not one or two of one each."""
    ran = launch(tmp_path / "run", 3, processes=2)
    assert ran.returncode != 0
    assert "error: batch_size 3 cannot be shared by 2 processes: give a multiple of their number" in ran.stderr
