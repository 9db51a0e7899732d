"""From scores to words, on scores whose answer is known."""

from __future__ import annotations

import re

import numpy as np
import pytest

from magical_hub.evaluation import Verdict
from magical_hub.usefulness.answering import answer
from magical_hub.usefulness.arms import CLASSICAL, PAINTED, PASTED, PLACEBO, WHOLE
from magical_hub.usefulness.results import Result, Task

WITHOUT = (0.50, 0.55, 0.48, 0.52, 0.51, 0.49, 0.53, 0.54)


def answered(draws: int = 8, quick: bool = False, **changes: tuple[float, ...] | float):
    """The answer where each arm changes the scores without synthetic images by so much."""
    arms = {"painted": PAINTED, "pasted": PASTED, "placebo": PLACEBO, "whole": WHOLE}
    results = {}
    for name, change in {"none": 0.0, **changes}.items():
        added = np.broadcast_to(change, len(WITHOUT))
        for draw in range(draws):
            task = Task(arms.get(name, CLASSICAL), 10, draw)
            score = WITHOUT[draw] + float(added[draw])
            results[task] = Result(task, "mAP", {"spot": score}, score, 60.0, 0, 0.3)
    return answer(results, 10, quick)


UNEVEN = (0.05, -0.04, 0.06, -0.03, 0.05, -0.05, 0.04, 0.02)
GAIN = (0.05, 0.04, 0.06, 0.03, 0.05, 0.05, 0.02, 0.02)


@pytest.mark.parametrize(
    ("change", "outcome", "verdict", "headline", "advice"),
    [
        (
            GAIN,
            "helps",
            Verdict.GOOD,
            "Yes: painted defects make",
            "Use them: .* 30 % of each batch, with magical-hub",
        ),
        (tuple(-x for x in GAIN), "harms", Verdict.BAD, "No: .* worse", "Use no painted defects"),
        (tuple(x / 50 - 0.001 for x in UNEVEN), "no gain", Verdict.BAD, "No: .* no gain worth", "Use no painted"),
        (tuple(x / 200 for x in GAIN), "no gain", Verdict.BAD, "No: .* no gain worth", "Use no painted"),
        (UNEVEN, "not shown", Verdict.WEAK, "Not enough evidence", "Use none until it is settled"),
    ],
)
def test_what_is_shown(change, outcome, verdict, headline, advice):
    found = answered(painted=change)
    assert found.main.outcome == outcome and found.verdict is verdict
    assert re.match(headline, found.headline) and re.match(advice, found.advice), found
    assert f"{np.mean(change):+.3f}" in found.statement and "8 draws of 10 images" in found.statement


def test_few_draws_show_nothing_and_say_how_many_would():
    """With three draws no sign-flip test can fall below a quarter, however far apart the arms are."""
    found = answered(draws=3, painted=GAIN)
    assert found.main.outcome == "not shown" and found.main.difference.p == 0.25
    assert "--draws 6, which keeps what is finished and takes one core about 6 min more" in found.advice
    assert "nothing can be said of how certain" in answered(draws=2, painted=GAIN).statement


def test_many_draws_are_not_advised():
    noise = tuple(5 * x for x in UNEVEN)
    assert "add images with defects" in answered(painted=noise).advice
    quick = answered(painted=noise, quick=True)
    assert "without --quick" in quick.advice and quick.statement.endswith("may give another answer.")


def test_detectors_that_learned_nothing_show_nothing():
    """Two arms of zeros are as alike as can be, and no gain is ruled out by that."""
    found = answered(painted=tuple(-x for x in WITHOUT), none=tuple(-x for x in WITHOUT))
    assert found.main.outcome == "not shown" and "give more --steps" in found.advice


def test_the_other_arms_are_told():
    found = answered(painted=GAIN, pasted=tuple(2 * x for x in GAIN))
    assert "Plain copy-paste was better still (+0.040)" in found.advice
    found = answered(painted=GAIN, placebo=tuple(x + 0.001 for x in GAIN))
    assert "further good images alone did as much" in found.advice
    found = answered(painted=tuple(-x for x in GAIN), pasted=GAIN, whole=tuple(-2 * x for x in GAIN))
    assert "Plain copy-paste did help (+0.040)" in found.advice
    assert "Whole images of the checkpoint change it by -0.080 (harms)" in found.statement
    assert {(claim.ours, claim.theirs) for claim in found.others} == {
        (PASTED, CLASSICAL),
        (WHOLE, CLASSICAL),
        (PAINTED, PASTED),
    }
