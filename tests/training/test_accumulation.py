"""A batch in several passes gives the weights that it gives at once.

In float64: Adam divides a gradient by its own size, so that in float32 rounding alone can turn a weight's step round.
"""

from __future__ import annotations

import pytest
from float64 import float64
from safetensors.torch import load_file

from magical_hub import train
from magical_hub.errors import ConfigError


def weights(run):
    folder = run / "checkpoints" / "step-00000003"
    return {
        f"{name}.{key}": value
        for name in ("generator", "critic", "ema")
        for key, value in load_file(folder / f"{name}.safetensors").items()
    }


@pytest.fixture(scope="module")
def at_once(tiny_config, tmp_path_factory):
    """A RUN of three steps whose batches are whole."""
    folder = tmp_path_factory.mktemp("at_once") / "run"
    with float64():
        train(tiny_config(folder, max_steps=3))
    return folder


@pytest.mark.parametrize(
    "settings",
    [
        {},
        pytest.param(
            {"adversarial": "wasserstein", "critic_input": "sub_regions", "n_critic": 2, "max_grad_norm": 0.1},
            marks=pytest.mark.slow,
        ),
    ],
)
@float64()
def test_passes_equal_the_batch_at_once(at_once, tiny_config, tmp_path, settings):
    runs = {} if settings else {1: weights(at_once)}
    several = (2, 4) if settings else (2,)  # of four windows, two are a pair
    for passes in (1, *several) if settings else several:
        folder = tmp_path / str(passes)
        train(tiny_config(folder, max_steps=3, gradient_accumulation=passes, **settings))
        runs[passes] = weights(folder)
    for passes in several:
        gaps = {name: float((value - runs[1][name]).abs().max()) for name, value in runs[passes].items()}
        assert {name: gap for name, gap in gaps.items() if gap > 1e-9} == {}


@float64()
def test_passes_may_change_from_session_to_session(at_once, tiny_config, tmp_path):
    train(tiny_config(tmp_path / "run", max_steps=2))
    train(tiny_config(tmp_path / "run", max_steps=3, resume=True, gradient_accumulation=2))
    ours, theirs = weights(tmp_path / "run"), weights(at_once)
    assert max(float((ours[name] - theirs[name]).abs().max()) for name in ours) < 1e-9


def test_same_location_pairs_are_not_separated(tiny_config, tmp_path):
    with pytest.raises(ConfigError, match="batch_size 4 in 4 parts would separate same-location pairs"):
        train(tiny_config(tmp_path / "run", gradient_accumulation=4))
    train(tiny_config(tmp_path / "odd", batch_size=3, gradient_accumulation=3, max_steps=1))


def test_a_batch_that_cannot_be_cut_is_refused(tiny_config, tmp_path):
    with pytest.raises(ConfigError, match="batch_size 4 cannot be cut into gradient_accumulation 3 equal parts"):
        tiny_config(tmp_path / "run", gradient_accumulation=3)
