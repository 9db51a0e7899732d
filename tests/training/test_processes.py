"""Two processes of the command equal one with the same global batch."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from float64 import float64
from safetensors.torch import load_file

from magical_hub import TrainingConfig, train
from magical_hub.training.run.checkpoints import checkpoint_step

CONFIG = Path("examples") / "accelerate" / "two_cpu_processes.yaml"
TESTS = Path(__file__).parents[1]
"""Holds float64.py, which is the command in float64."""
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
    "balance-at": 0.0,
}


@pytest.fixture(scope="module")
def launch(run_command, elpv_folder, repo):
    """Trains in two processes, on the CPU and in float64; with more folders and batch sizes, one after the other."""
    settings = [part for name, value in SETTINGS.items() for part in (f"--{name}", value)]
    common = ["train", "--data", elpv_folder, *settings, "--json"]

    def run(*trainings: tuple[object, ...], **environment: str):
        """Each training: output_dir, batch_size and more options."""
        environment = {"ACCELERATE_USE_CPU": "true", **environment}
        commands: list[object] = []
        for output_dir, batch_size, *more in trainings:
            commands += ["--then"] if commands else []
            commands += [*common, "--output-dir", output_dir, "--batch-size", batch_size, *more]
        launcher = ["--config_file", repo / CONFIG, "-m", "float64"]
        return run_command(*launcher, *commands, module="accelerate.commands.launch", cwd=TESTS, **environment)

    return run


def gradients(run: Path) -> dict[str, torch.Tensor]:
    """The gradients of the first step: Adam's first moments, since nothing else goes into them where beta_1 is 0."""
    folder = run / "checkpoints" / "step-00000001"
    files = {name: load_file(folder / f"{name}_optimizer.safetensors") for name in ("critic", "generator")}
    return {f"{n}.{key}": v for n, state in files.items() for key, v in state.items() if key.endswith("exp_avg")}


@pytest.fixture(scope="module")
def alone(elpv_folder, tmp_path_factory):
    """Runs of one process, this one, of two seeds. Not to be changed."""
    folder = tmp_path_factory.mktemp("alone")
    settings = {name.replace("-", "_"): value for name, value in SETTINGS.items()} | {"batch_size": 8}
    with float64(), pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACCELERATE_USE_CPU", "true")
        for seed in (0, 1):
            train(TrainingConfig(data=str(elpv_folder), output_dir=str(folder / str(seed)), seed=seed, **settings))
    return [folder / str(seed) for seed in (0, 1)]


@pytest.mark.parametrize("passes", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_the_gradients_of_two_processes_are_those_of_one(launch, alone, tmp_path, passes):
    """The penalty's double backward included; the weights are not a yardstick: Adam makes a step of any rounding.

    In float64, since in float32 the order of the sums, which is each CPU's own, decides the third digit. The first
    training is refused: proof that the launch runs two processes, and not one or two of one each.
    """
    ran = launch((tmp_path / "refused", 3), (tmp_path / "two", 8, "--gradient-accumulation", passes))
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert "error: batch_size 3 cannot be shared by 2 processes: give a multiple of their number" in ran.stderr
    assert ran.stdout.count("\n") == 1 and json.loads(ran.stdout)["steps"] == 2  # one of the two reports

    one, two, other = (gradients(run) for run in (alone[0], tmp_path / "two", alone[1]))
    assert one.keys() == two.keys() and len(one) > 50
    for name, gradient in one.items():
        assert gradient.dtype == torch.float64 and float(gradient.norm()) > 0, name
        assert float((gradient - two[name]).norm() / gradient.norm()) < 1e-9, name
    apart = [float((one[name] - other[name]).norm() / one[name].norm()) for name in one]
    assert sorted(apart)[len(apart) // 2] > 0.5  # the yardstick: another seed's gradients

    # The figures are those of all windows, not of the first process's. They are kept in float32: 6e-8 apart at most.
    ours, theirs = (json.loads((run / "history.jsonl").open().readline()) for run in (alone[0], tmp_path / "two"))
    terms = [name for name in ours if name.startswith(("critic/", "generator/"))]
    assert ours.keys() == theirs.keys() and len(terms) >= 6
    assert [theirs[name] for name in terms] == pytest.approx([ours[name] for name in terms], rel=1e-6, abs=1e-6)


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU: set CUDA_VISIBLE_DEVICES= to run it")
def test_processes_that_would_train_each_for_itself_are_refused(launch, tmp_path):
    """What Accelerate makes of a launch on a CPU without its variable: two trainings in one folder."""
    ran = launch((tmp_path / "run", 4), ACCELERATE_USE_CPU="false")
    assert ran.returncode != 0
    assert "error: 2 processes were launched, and Accelerate does not join them" in ran.stderr, ran.stderr[-3000:]
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_signal_to_launcher_and_processes_alike_writes_a_checkpoint(elpv_folder, repo, tmp_path):
    """As the terminal sends it. The launcher then passes on what the processes had already."""
    launcher = ["--config_file", repo / CONFIG, "-m", "magical_hub.cli"]
    settings = [part for name, value in SETTINGS.items() for part in (f"--{name}", value)]
    options = [*settings, "--data", elpv_folder, "--output-dir", tmp_path / "run", "--batch-size", 4]
    options += ["--max-steps", 10**6, "--checkpoint-every", 10**6]
    child = subprocess.Popen(
        [*map(str, (sys.executable, "-m", "accelerate.commands.launch", *launcher, "train", *options))],
        env={**os.environ, "ACCELERATE_USE_CPU": "true"},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    history = tmp_path / "run" / "history.jsonl"
    while not (history.exists() and history.stat().st_size) and child.poll() is None:
        time.sleep(0.01)
    os.killpg(child.pid, signal.SIGINT)
    _, errors = child.communicate(timeout=120)
    assert child.returncode != 0 and "stopped by SIGINT at step" in errors, errors[-3000:]
    (checkpoint,) = (tmp_path / "run" / "checkpoints").iterdir()
    assert f"at step {checkpoint_step(checkpoint)}: continue with --resume" in errors
