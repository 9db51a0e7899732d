"""Steps in two sessions equal the same steps at once, to the bit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from magical_hub import MagicalPipeline, TrainingConfig, train
from magical_hub.errors import ConfigError, DataError
from magical_hub.training.networks import prepare
from magical_hub.training.processes import make_accelerator
from magical_hub.training.run.layout import prepare_run
from magical_hub.training.state import TrainingState
from magical_hub.training.step import TrainingStep


def contents(run: Path, step: int) -> dict[str, bytes]:
    folder = run / "checkpoints" / f"step-{step:08d}"
    files = sorted(folder.glob("*.safetensors"))
    assert {file.stem for file in files} >= {"generator", "critic", "ema", "generator_optimizer", "critic_optimizer"}
    return {
        f"{file.stem}.{name}": value.numpy().tobytes() for file in files for name, value in load_file(file).items()
    }


@pytest.mark.parametrize(
    "settings",
    [
        {},
        pytest.param({"mixed_precision": "bf16", "balance_at": 0.0}, marks=pytest.mark.slow),
        pytest.param(
            {"generator": "magical", "critic_input": "sub_regions", "adversarial": "wasserstein", "n_critic": 2},
            marks=pytest.mark.slow,
        ),
        pytest.param({"warmup_steps": 3, "max_grad_norm": 0.1, "window_cols": 1}, marks=pytest.mark.slow),
    ],
)
def test_two_sessions_equal_one(tiny_config, tiny_run, tmp_path, settings):
    run = Path((train(tiny_config(tmp_path / "once", **settings)) if settings else tiny_run).output_dir)
    train(tiny_config(tmp_path / "twice", **{**settings, "max_steps": 2}))
    halfway = contents(tmp_path / "twice", 2)
    result = train(tiny_config(tmp_path / "twice", **settings, resume=True))
    assert result.steps == 4

    once, twice = contents(run, 4), contents(tmp_path / "twice", 4)
    assert once.keys() == twice.keys()
    assert [name for name in once if once[name] != twice[name]] == []
    weights = [name for name in once if name.startswith(("generator.", "critic.")) and name.endswith("weight")]
    assert weights and [name for name in weights if once[name] == halfway[name]] == []  # it went on

    pipes = [MagicalPipeline.from_pretrained(folder) for folder in (run, tmp_path / "twice")]
    assert pipes[0](seeds=[3]).images[0].tobytes() == pipes[1](seeds=[3]).images[0].tobytes()


def test_the_settings_of_a_run_continue_it(tiny_config, tiny_run, tmp_path):
    """Those that are given override them, where they may change; the minutes are of a call."""
    train(tiny_config(tmp_path / "twice", max_steps=2, max_minutes=60, log_every=2))
    config = TrainingConfig.from_run(tmp_path / "twice", max_steps=4)
    assert (config.max_steps, config.log_every, config.max_minutes, config.resume) == (4, 2, None, True)
    assert train(config).steps == 4
    once, twice = contents(Path(tiny_run.output_dir), 4), contents(tmp_path / "twice", 4)
    assert [name for name in once if once[name] != twice[name]] == []
    with pytest.raises(ConfigError, match=r"batch_size is 8, and the run began with 4"):
        train(TrainingConfig.from_run(tmp_path / "twice", batch_size=8))
    with pytest.raises(DataError, match=r"training_config.json is missing"):
        TrainingConfig.from_run(tmp_path / "none")
    saved = tmp_path / "twice" / "training_config.json"
    saved.write_text(saved.read_text().replace(json.dumps(config.data), '"<Dataset>"'))
    with pytest.raises(ConfigError, match=r"began with a dataset in memory.*: give it again as data"):
        TrainingConfig.from_run(tmp_path / "twice")
    assert train(TrainingConfig.from_run(tmp_path / "twice", data=config.data)).steps == 4


def test_adam_of_an_earlier_version_goes_on_as_one_of_this(tiny_config, tiny_run, tmp_path):
    """It was written by an Adam without "fused": how Adam is computed is not taken from a checkpoint."""
    train(tiny_config(tmp_path / "twice", max_steps=2))
    for file in (tmp_path / "twice" / "checkpoints" / "step-00000002").glob("*_optimizer.safetensors"):
        with safe_open(file, "pt") as opened:
            settings = json.loads(opened.metadata()["settings"])
        assert [group["fused"] for group in settings["param_groups"]] == [True]
        settings["param_groups"][0]["fused"] = None
        save_file(load_file(file), file, metadata={"settings": json.dumps(settings)})
    train(tiny_config(tmp_path / "twice", resume=True))
    once, twice = contents(Path(tiny_run.output_dir), 4), contents(tmp_path / "twice", 4)
    assert [name for name in once if once[name] != twice[name]] == []


def test_what_a_checkpoint_brings_goes_to_the_device_of_the_run(tiny_config, tmp_path, monkeypatch):
    """The moments of all optimizers, those of the second critic too. A device without data stands in for a GPU."""
    train(tiny_config(tmp_path, max_steps=2, balance_at=0.0))
    config = tiny_config(tmp_path, max_steps=4, balance_at=0.0, resume=True)
    accelerator = make_accelerator(config)
    config, store, split = prepare_run(config, accelerator)
    last = tmp_path / "checkpoints" / "step-00000002"
    state = TrainingState(config, accelerator, store, np.array(split.train), last)
    monkeypatch.setitem(AcceleratorState._shared_state, "device", torch.device("meta"))
    torch.__future__.set_swap_module_params_on_conversion(True)  # the same parameters, as on the way to a GPU
    try:
        prepare(accelerator, state.networks, state.optimizers)
    finally:
        torch.__future__.set_swap_module_params_on_conversion(False)
    assert state.step == 2
    for optimizer in state.optimizers.values():
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        assert parameters and {p.device.type for p in parameters} == {"meta"}
        assert len(optimizer.state) == len(parameters)
        moments = [state[name] for state in optimizer.state.values() for name in ("exp_avg", "exp_avg_sq")]
        assert {moment.device.type for moment in moments} == {"meta"}


@pytest.mark.slow
def test_the_strength_of_the_augmentation_goes_on(tiny_config, tmp_path):
    """The second session starts where the strength has risen, and alters the critic's images from its first step."""
    settings = {"max_steps": 64, "augment_target": 0.0, "augment_windows": 64, "lambda_f": 0.0}
    train(tiny_config(tmp_path / "once", **settings))
    lines = [json.loads(line) for line in (tmp_path / "once" / "history.jsonl").read_text().splitlines()]
    strengths = {line["step"]: line["augmentation/strength"] for line in lines if "augmentation/strength" in line}
    halfway = next(step for step, strength in strengths.items() if strength > 0)
    assert halfway < 64, strengths
    train(tiny_config(tmp_path / "twice", **{**settings, "max_steps": halfway}))
    train(tiny_config(tmp_path / "twice", **settings, resume=True))
    once, twice = contents(tmp_path / "once", 64), contents(tmp_path / "twice", 64)
    assert [name for name in once if once[name] != twice[name]] == []


def test_a_session_that_died_between_checkpoints_equals_one(tiny_config, tiny_run, tmp_path):
    """Steps 3 and 4 were done and lost: they are done again from the checkpoint of step 2."""
    train(tiny_config(tmp_path / "died", max_steps=3, checkpoint_every=2))
    lost = tmp_path / "died" / "checkpoints" / "step-00000003"
    lost.rename(lost.with_name(".step-00000003.incomplete"))  # killed while it wrote this one
    train(tiny_config(tmp_path / "died", resume=True))
    once, died = contents(Path(tiny_run.output_dir), 4), contents(tmp_path / "died", 4)
    assert [name for name in once if once[name] != died[name]] == []


def test_deterministic_kernels_are_asked_for_and_put_back(tiny_config, tmp_path, monkeypatch):
    """That they are used throughout a run; what they cost and mend shows on a GPU alone."""
    asked = []
    step = TrainingStep.__call__

    def watched(self, batches):
        asked.append(torch.are_deterministic_algorithms_enabled())
        return step(self, batches)

    monkeypatch.setattr(TrainingStep, "__call__", watched)
    train(tiny_config(tmp_path / "run", deterministic=True, max_steps=2))
    assert asked == [True, True] and not torch.are_deterministic_algorithms_enabled()
    train(tiny_config(tmp_path / "other", max_steps=1))
    assert asked == [True, True, False]
