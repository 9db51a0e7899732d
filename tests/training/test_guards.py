"""Failures: a loss that is not finite rolls a run back or stops it; out of memory halves what runs at once."""

from __future__ import annotations

import json
import re
import shutil

import pytest
from safetensors import safe_open
from safetensors.torch import load_file

from magical_hub import train
from magical_hub.errors import ConfigError, TrainingError

EXPLODES = 2.4e6
"""A critic's rate that overflows float32 within a step. So may a half or a quarter of it; an eighth doesn't."""


def about(run, step):
    return json.loads((run / "checkpoints" / f"step-{step:08d}" / "about.json").read_text())


def rate(run, step, player="critic"):
    file = run / "checkpoints" / f"step-{step:08d}" / f"{player}_optimizer.safetensors"
    with safe_open(file, "pt") as opened:
        return json.loads(opened.metadata()["settings"])["param_groups"][0]["lr"]


@pytest.mark.parametrize("warmup", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_run_goes_back_and_on_at_lower_rates(tiny_config, tmp_path, caplog, warmup):
    """To its last checkpoint or, before the first, to its start. (The first step of a warm-up has a rate of 0.)"""
    settings = {"critic_lr": EXPLODES, "warmup_steps": warmup, "on_nan": "roll_back", "checkpoint_every": 1}
    result = train(tiny_config(tmp_path / "run", max_steps=1 + warmup, **settings))
    assert result.steps == 1 + warmup and (tmp_path / "run" / "model_index.json").exists()
    good = "the last good checkpoint is step-00000001" if warmup else "no checkpoint was written yet"
    warnings = [record.message for record in caplog.records if "is not finite" in record.message]
    assert 1 <= len(warnings) <= 3
    assert f"is not finite at step {1 + warmup}: rolled back, with learning rates times 0.5; {good}" in warnings[0]
    assert "/" in warnings[0].split()[0]
    assert about(tmp_path / "run", 1 + warmup)["roll_backs"] == len(warnings)
    assert rate(tmp_path / "run", 1 + warmup) == EXPLODES / 2 ** len(warnings)
    assert rate(tmp_path / "run", 1 + warmup, "generator") == 2e-3 / 2 ** len(warnings)
    steps = [json.loads(line)["step"] for line in (tmp_path / "run" / "history.jsonl").read_text().splitlines()]
    assert steps == list(range(1, 2 + warmup))


def test_a_run_that_no_rate_helps_stops(tiny_config, tmp_path, caplog):
    with pytest.raises(
        TrainingError, match=r"\w+/\w+ is not finite at step 2 \(the last good checkpoint is step-00000001"
    ):
        train(tiny_config(tmp_path / "run", critic_lr=1e30, warmup_steps=1, on_nan="roll_back", checkpoint_every=1))
    assert len([record for record in caplog.records if "learning rates times" in record.message]) == 3
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-00000001"]


def test_the_lower_rates_outlive_a_session(tiny_config, tmp_path):
    """A run that went back once, in two sessions and in one."""
    weights = {}
    train(tiny_config(tmp_path / "begun", max_steps=2, warmup_steps=3))
    file = tmp_path / "begun" / "checkpoints" / "step-00000002" / "about.json"
    file.write_text(json.dumps({**about(tmp_path / "begun", 2), "roll_backs": 1}))
    for name, ends in (("once", [4]), ("twice", [3, 4])):
        shutil.copytree(tmp_path / "begun", tmp_path / name)
        for end in ends:
            train(tiny_config(tmp_path / name, max_steps=end, warmup_steps=3, resume=True))
        assert rate(tmp_path / name, 4) == 1e-3
        weights[name] = load_file(tmp_path / name / "checkpoints" / "step-00000004" / "critic.safetensors")
    assert all(bool((weights["once"][key] == value).all()) for key, value in weights["twice"].items())


LIMITED = """
import resource, sys, torch
from pathlib import Path
from magical_hub import TrainingConfig, train
from magical_hub.errors import MagicalError
torch.set_num_threads(1)
data, run, auto = sys.argv[1:]
settings = dict(image_size=32, rows=2, cols=2, base_width=8, max_width=16, latent_dim=16, mixed_precision="no")
settings.update(data=data, sample_every=100, batch_size=512, checkpoint_every=1)
train(TrainingConfig(output_dir=run, max_steps=1, gradient_accumulation=16, **settings))  # all is loaded now
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 150 * 2**20,) * 2)
try:
    train(TrainingConfig(output_dir=run, max_steps=2, resume=True, auto_batch_size=auto == "auto", **settings))
except MagicalError as error:
    print("error:", error, file=sys.stderr)
    sys.exit(2)
"""

GIVING_BACK = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "65536"}
"""What is freed goes back to the system: the limit is on addresses, which glibc would keep for later."""


@pytest.mark.slow
def test_out_of_memory_names_what_lowers_it(run_python, elpv_folder, tmp_path):
    ran = run_python(LIMITED, elpv_folder, tmp_path / "run", "plain", **GIVING_BACK)
    assert ran.returncode == 2, ran.stderr[-2000:]
    assert re.fullmatch(
        r"error: out of memory with 512 windows of 2 x 2 sub-regions at once \(.+\): raise gradient_accumulation "
        r"\(the result stays\), lower batch_size or base_width, or cut 32 x 32 px into smaller "
        r"sub-regions by more rows and cols",
        ran.stderr.splitlines()[-1],
    )
    assert about(tmp_path / "run", 1)["step"] == 1


@pytest.mark.slow
def test_out_of_memory_with_auto_batch_size_goes_on_with_less_at_once(run_python, elpv_folder, tiny_config, tmp_path):
    ran = run_python(LIMITED, elpv_folder, tmp_path / "run", "auto", **GIVING_BACK)
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert "out of memory: continuing with gradient_accumulation 2" in ran.stderr
    assert about(tmp_path / "run", 2)["auto_passes"] in (2, 4, 8, 16, 32)
    train(tiny_config(tmp_path / "free", batch_size=512, max_steps=2))
    ours, theirs = (
        load_file(tmp_path / run / "checkpoints" / "step-00000002" / "generator.safetensors")
        for run in ("run", "free")
    )
    assert max(float((ours[key] - theirs[key]).abs().max()) for key in ours) < 1e-4  # of the same batch


@pytest.mark.parametrize("settings", [{"on_nan": "ignore"}, {"gradient_accumulation": 0}])
def test_settings_out_of_range_are_refused(tiny_config, tmp_path, settings):
    with pytest.raises(ConfigError, match=rf"^{next(iter(settings))} is .*: it must be "):
        tiny_config(tmp_path, **settings)
