"""What follows the critic's loss: when the feature critic is enabled, and how heavy the penalty is."""

from __future__ import annotations

import json
import math
import shutil

import pytest
import torch
from float64 import float64
from safetensors.torch import load_file

from magical_hub import MagicalPipeline, train
from magical_hub.training.adaptive import HALVING, SMALLEST_FACTOR, AdaptivePenalty

CPU = torch.device("cpu")


def test_penalties_are_lightened_while_the_critic_guesses_and_come_back_when_it_leads():
    penalty = AdaptivePenalty(0.65, CPU)
    for number in range(400):
        penalty.adapt(torch.tensor(math.log(2)))
        if number < 20:  # the running mean starts at zero: a few even steps do not count
            assert not penalty.balanced and float(penalty.factor) == 1
    assert penalty.balanced and float(penalty.factor) == SMALLEST_FACTOR
    for _ in range(10):  # until the mean has followed
        penalty.adapt(torch.tensor(0.1))
    before = float(penalty.factor)
    for _ in range(HALVING):
        penalty.adapt(torch.tensor(0.1))
    assert float(penalty.factor) == pytest.approx(2 * before)
    for _ in range(1000):
        penalty.adapt(torch.tensor(0.1))
    assert float(penalty.factor) == 1 and penalty.balanced  # what is enabled stays so


def test_it_goes_on_from_where_it_was():
    one, other = AdaptivePenalty(0.65, CPU), AdaptivePenalty(0.65, CPU)
    for loss in [0.7] * 60 + [0.2] * 7:
        one.adapt(torch.tensor(loss))
    other.load_state_dict(json.loads(json.dumps(one.state_dict())))
    one.adapt(torch.tensor(0.3))
    other.adapt(torch.tensor(0.3))
    assert one.state_dict() == other.state_dict()


def history(run):
    return [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def enabled(tiny_config, tmp_path_factory):
    """A RUN of ten steps: a mean of 0.02 is passed at step 8, the first adjustment. Not to be changed."""
    run = tmp_path_factory.mktemp("enabled") / "run"
    train(tiny_config(run, balance_at=0.02, max_steps=10))
    return run


def test_the_feature_critic_is_enabled_once_the_critic_has_no_advantage(enabled):
    """The ninth step is the first with both critics."""
    for line in history(enabled):
        for name in ("critic/feature_adversarial", "generator/feature_adversarial"):
            assert (name in line) == (line["step"] > 8), line["step"]
    folder = enabled / "checkpoints" / "step-00000010"
    state = load_file(folder / "feature_critic.safetensors")
    assert state and all(key.startswith("heads.") for key in state)  # nothing of the frozen network
    assert json.loads((folder / "about.json").read_text())["penalty"]["balanced"] is True
    assert MagicalPipeline.from_pretrained(enabled).components.keys() == {"generator", "critic", "verifier"}


def test_a_run_whose_critic_keeps_its_advantage_goes_on_with_a_lower_balance(tiny_config, tmp_path):
    """What is given counts from there on, and for the sessions after it that give none."""
    run = tmp_path / "run"
    train(tiny_config(run, max_steps=8))
    train(tiny_config(run, balance_at=0.02, max_steps=16, resume=True))
    train(tiny_config(run, max_steps=17, resume=True))
    assert json.loads((run / "training_config.json").read_text())["balance_at"] == 0.02
    for line in history(run):
        assert ("critic/feature_adversarial" in line) == (line["step"] > 16), line["step"]


@pytest.mark.slow
def test_it_learns_and_the_generator_learns_from_it(tiny_config, tmp_path):
    train(tiny_config(tmp_path / "with", balance_at=0.0, max_steps=30, critic_lr=5e-3))
    lines = history(tmp_path / "with")
    assert lines[-1]["critic/feature_adversarial"] < 0.55 < lines[0]["critic/feature_adversarial"]

    train(tiny_config(tmp_path / "weightless", balance_at=0.0, lambda_f=1e-9, max_steps=2))
    train(tiny_config(tmp_path / "heard", balance_at=0.0, max_steps=2))
    weights = [
        load_file(tmp_path / run / "checkpoints" / "step-00000002" / "generator.safetensors")
        for run in ("weightless", "heard")
    ]
    assert any((weights[0][key] - value).abs().max() > 1e-4 for key, value in weights[1].items())


@pytest.mark.slow
@float64()
def test_its_losses_are_the_same_in_several_passes(tiny_config, tmp_path):
    lines = {}
    for passes in (1, 2, 4):
        settings = {"balance_at": 0.0, "batch_size": 8, "max_steps": 1}  # two windows a pass are a pair
        train(tiny_config(tmp_path / str(passes), gradient_accumulation=passes, **settings))
        (lines[passes],) = history(tmp_path / str(passes))
    terms = [name for name in lines[1] if name.startswith(("critic/", "generator/"))]
    assert {"critic/feature_adversarial", "generator/feature_adversarial"} <= set(terms)
    for passes in (2, 4):
        figures = [lines[passes][name] for name in terms]
        assert figures == pytest.approx([lines[1][name] for name in terms], rel=1e-6, abs=1e-6)  # kept in float32


@pytest.mark.parametrize("settings", [{"lambda_f": 0.0}, {"adversarial": "wasserstein"}])
def test_without_it_nothing_of_it_is_there(tiny_config, tmp_path, settings):
    train(tiny_config(tmp_path / "run", balance_at=0.0, max_steps=2, **settings))
    assert not any("feature" in name for line in history(tmp_path / "run") for name in line)
    assert not (tmp_path / "run" / "checkpoints" / "step-00000002" / "feature_critic.safetensors").exists()


def test_a_checkpoint_in_the_names_of_earlier_versions_is_resumed(enabled, tiny_config, tmp_path):
    """What was called balance, penalty_share, reached, fallen and apart comes back by its new names."""
    shutil.copytree(enabled, tmp_path / "run")
    file = tmp_path / "run" / "checkpoints" / "step-00000010" / "about.json"
    about = json.loads(file.read_text())
    penalty, augmentation = about.pop("penalty"), about["augmentation"]
    about["balance"] = {
        "loss": penalty["loss"], "penalty_share": penalty["factor"], "reached": penalty["balanced"]
    }  # fmt: skip
    about["augmentation"] = {
        "strength": augmentation["strength"], "fallen": augmentation["held_out_gap"], "apart": augmentation["fake_gap"]
    }  # fmt: skip
    file.write_text(json.dumps(about))
    train(tiny_config(tmp_path / "run", max_steps=16, balance_at=0.02, resume=True))
    train(tiny_config(tmp_path / "once", max_steps=16, balance_at=0.02))
    ours, theirs = (
        load_file(tmp_path / run / "checkpoints" / "step-00000016" / "critic.safetensors") for run in ("run", "once")
    )
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
