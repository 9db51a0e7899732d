"""What hangs on the critic's lead: when the feature critic joins in, and how heavy the penalties are."""

from __future__ import annotations

import json
import math

import pytest
from float64 import float64
from safetensors.torch import load_file

from magical_hub import MagicalPipeline, train
from magical_hub.training.balance import HALVING, LIGHTEST, Balance


def test_penalties_are_lightened_while_the_critic_guesses_and_come_back_when_it_leads():
    balance = Balance(0.65)
    for number in range(400):
        balance.adapt(math.log(2))
        if number < 20:  # the running mean starts at zero: a few even steps are no balance
            assert not balance.reached and balance.penalty_share == 1
    assert balance.reached and balance.penalty_share == LIGHTEST
    for _ in range(10):  # until the mean has followed
        balance.adapt(0.1)
    before = balance.penalty_share
    for _ in range(HALVING):
        balance.adapt(0.1)
    assert balance.penalty_share == pytest.approx(2 * before)
    for _ in range(1000):
        balance.adapt(0.1)
    assert balance.penalty_share == 1 and balance.reached  # what has joined in stays


def test_it_goes_on_from_where_it_was():
    one, other = Balance(0.65), Balance(0.65)
    for loss in [0.7] * 60 + [0.2] * 7:
        one.adapt(loss)
    other.load_state_dict(json.loads(json.dumps(one.state_dict())))
    one.adapt(0.3)
    other.adapt(0.3)
    assert one.state_dict() == other.state_dict()


def history(run):
    return [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]


def test_the_feature_critic_joins_in_when_balance_is_reached(tiny_config, tmp_path):
    """A mean of 0.02 is passed at step 8, the first adjustment, and the ninth step is the first with both critics."""
    train(tiny_config(tmp_path / "run", balance_at=0.02, max_steps=10))
    for line in history(tmp_path / "run"):
        for name in ("critic/features", "generator/features"):
            assert (name in line) == (line["step"] > 8), line["step"]
    folder = tmp_path / "run" / "checkpoints" / "step-00000010"
    state = load_file(folder / "feature_critic.safetensors")
    assert state and all(key.startswith("heads.") for key in state)  # nothing of the frozen network
    assert json.loads((folder / "about.json").read_text())["balance"]["reached"] is True
    assert MagicalPipeline.from_pretrained(tmp_path / "run").components.keys() == {"generator", "critic", "verifier"}


@pytest.mark.slow
def test_it_learns_and_the_generator_hears_it(tiny_config, tmp_path):
    train(tiny_config(tmp_path / "with", balance_at=0.0, max_steps=30, critic_lr=5e-3))
    lines = history(tmp_path / "with")
    assert lines[-1]["critic/features"] < 0.55 < lines[0]["critic/features"]

    train(tiny_config(tmp_path / "weightless", balance_at=0.0, lambda_f=1e-9, max_steps=2))
    train(tiny_config(tmp_path / "heard", balance_at=0.0, max_steps=2))
    weights = [
        load_file(tmp_path / run / "checkpoints" / "step-00000002" / "generator.safetensors")
        for run in ("weightless", "heard")
    ]
    assert any((weights[0][key] - value).abs().max() > 1e-4 for key, value in weights[1].items())


@pytest.mark.slow
@float64()
def test_its_game_is_the_same_in_several_passes(tiny_config, tmp_path):
    lines = {}
    for passes in (1, 2, 4):
        settings = {"balance_at": 0.0, "batch_size": 8, "max_steps": 1}  # two windows a pass are a pair
        train(tiny_config(tmp_path / str(passes), gradient_accumulation=passes, **settings))
        (lines[passes],) = history(tmp_path / str(passes))
    terms = [name for name in lines[1] if name.startswith(("critic/", "generator/"))]
    assert {"critic/features", "generator/features"} <= set(terms)
    for passes in (2, 4):
        figures = [lines[passes][name] for name in terms]
        assert figures == pytest.approx([lines[1][name] for name in terms], rel=1e-6, abs=1e-6)  # kept in float32


@pytest.mark.parametrize("settings", [{"lambda_f": 0.0}, {"adversarial": "wasserstein"}])
def test_without_it_nothing_of_it_is_there(tiny_config, tmp_path, settings):
    train(tiny_config(tmp_path / "run", balance_at=0.0, max_steps=2, **settings))
    assert not any("features" in name for line in history(tmp_path / "run") for name in line)
    assert not (tmp_path / "run" / "checkpoints" / "step-00000002" / "feature_critic.safetensors").exists()
