"""From finished detectors to an answer in words: whether synthetic rows help, by how much, and what to do."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from magical_hub.evaluation.section import Outcome, Verdict
from magical_hub.metrics import holm
from magical_hub.metrics.paired import LEAST, Difference, difference_over_draws
from magical_hub.usefulness.arms import CLASSICAL, PAINTED, PASTED, PLACEBO, WHOLE
from magical_hub.usefulness.options import QUICK_DRAWS
from magical_hub.usefulness.results import Result, Task, paired, scores

NAMES = {
    CLASSICAL: "no synthetic images",
    PAINTED: "painted defects",
    PASTED: "plain copy-paste",
    PLACEBO: "further good images",
    WHOLE: "whole synthetic images",
}
"""The arms of the report, in its order."""
OTHERS = ((PASTED, CLASSICAL), (WHOLE, CLASSICAL), (PLACEBO, CLASSICAL), (PAINTED, PASTED), (PAINTED, PLACEBO))
"""What is compared beside painted defects with no synthetic images; Holm's correction is over these."""
LEVEL = 0.05
WORTH = 0.01
"""Average precision below which a gain is not worth having."""
LEARNED = 0.05
"""Average precision below which, in all arms, detectors have learned too little to compare anything."""
MANY_DRAWS = 40
"""Draws beyond which no advice is to train more detectors."""
POWER = 1.96 + 0.84
"""Standard errors that a mean must be away from 0 to be found at a level of 0.05 in four of five cases."""


@dataclass(frozen=True)
class Claim:
    """Two arms compared.

    Attributes:
        ours, theirs: the arms.
        difference: of their scores, paired by draw.
        outcome: "helps" and "harms" where the whole interval and the sign-flip test say so, after Holm's correction
            for the claims beside the main one; "no gain" where a gain of 0.01 or more is ruled out the same way.
    """

    ours: str
    theirs: str
    difference: Difference
    outcome: Outcome


@dataclass(frozen=True)
class Answer:
    """What the report says first.

    Attributes:
        verdict: good where painted defects help, weak where nothing is shown, bad where they do not.
        headline: in a few words.
        statement: by how much, and how certain that is.
        advice: what to do.
        main: painted defects against no synthetic images.
        others: all further claims.
    """

    verdict: Verdict
    headline: str
    statement: str
    advice: str
    main: Claim
    others: tuple[Claim, ...]


def answer(results: Mapping[Task, Result], count: int, quick: bool) -> Answer:
    """Of all finished detectors with so many defective images.

    Args:
        results: those of the arms CLASSICAL and PAINTED for one draw or more, and of others.
        count: defective images of a draw.
        quick: whether it was the quick form.
    """
    ours, theirs = (_means(results, arm, count) for arm in (PAINTED, CLASSICAL))
    found = difference_over_draws(ours, theirs)
    main = Claim(PAINTED, CLASSICAL, found, _outcome(found, ours, theirs))
    others = _others(results, count)
    measure = next(iter(results.values())).measure
    statement = (
        f"The {measure} of the detector (0: nothing is found; 1: every defect, and no false alarm) is "
        f"{theirs.mean():.3f} without synthetic images and {ours.mean():.3f} with painted defects, in the mean of "
        f"{found.draws} draws of {count} images with defects: {found.mean:+.3f}. {_certainty(found)}"
    )
    whole = next((claim for claim in others if claim.ours == WHOLE), None)
    if whole is not None:
        statement += (
            f" Whole images of the checkpoint change it by {whole.difference.mean:+.3f} ({whole.outcome}); if it was "
            "trained on test images of this data, that figure is too good."
        )
    if quick:
        statement += " This is the quick form: detectors that are trained for longer may give another answer."
    verdict, headline = {
        "helps": (Verdict.GOOD, "Yes: painted defects make the detector better."),
        "harms": (Verdict.BAD, "No: painted defects make the detector worse."),
        "no gain": (Verdict.BAD, "No: painted defects bring no gain worth having."),
        "not shown": (Verdict.WEAK, "Not enough evidence to say."),
    }[main.outcome]
    return Answer(verdict, headline, statement, _advice(main, others, results, count, quick), main, others)


def _means(results: Mapping[Task, Result], arm: str, count: int) -> np.ndarray:
    return np.array([result.mean for result in scores(results, arm, count).values()])


def _others(results: Mapping[Task, Result], count: int) -> tuple[Claim, ...]:
    known = [(pair, found) for pair in OTHERS if (found := paired(results, *pair, count)) is not None]
    shown = holm([found.p for _, found in known], LEVEL)
    return tuple(
        Claim(*pair, found, "not shown" if not alarm else "helps" if found.mean > 0 else "harms")
        for (pair, found), alarm in zip(known, shown, strict=True)
    )


def _outcome(found: Difference, ours: np.ndarray, theirs: np.ndarray) -> Outcome:
    if max(ours.mean(), theirs.mean()) < LEARNED:
        return "not shown"
    low, high = _printed(found)
    if found.p <= LEVEL and (low > 0 or high < 0):
        return "helps" if low > 0 else "harms"
    less = difference_over_draws(ours, theirs + WORTH)
    return "no gain" if less.p <= LEVEL and less.high < 0 else "not shown"


def _printed(found: Difference) -> tuple[float, float]:
    """The interval as the report prints it: what is 0 there is neither gain nor loss."""
    return round(found.low, 3), round(found.high, 3)


def _certainty(found: Difference) -> str:
    if found.draws < LEAST:
        return f"From fewer than {LEAST} draws nothing can be said of how certain that is."
    low, high = _printed(found)
    side = "all of it gain" if low > 0 else "all of it loss" if high < 0 else "so it may be nothing"
    return (
        f"The 95 % interval of this mean reaches from {low:+.3f} to {high:+.3f}, {side}; chance alone "
        f"makes as large a difference in {100 * found.p:.1f} % of cases."
    )


def _advice(main: Claim, others: tuple[Claim, ...], results: Mapping[Task, Result], count: int, quick: bool) -> str:
    beside = {(claim.ours, claim.theirs): claim for claim in others}
    pasted, better = beside.get((PASTED, CLASSICAL)), beside.get((PAINTED, PASTED))
    copying = ", which --tune tries too" if pasted is not None else ""
    if main.outcome == "helps":
        share = next(result.share for task, result in results.items() if task.arm == PAINTED)
        advice = (
            f"Use them: put painted defects into training until they are {100 * share:.0f} % of each batch, with "
            "magical-hub augment --data DATA --num-images N --output-dir OUT."
        )
        if better is not None and better.outcome == "harms":
            return f"{advice} Plain copy-paste was better still ({-better.difference.mean:+.3f}){copying}."
        placebo = beside.get((PAINTED, PLACEBO))
        if placebo is not None and placebo.difference.mean <= 0:
            return f"{advice} But further good images alone did as much: add those first."
        return advice
    helped = pasted is not None and pasted.outcome == "helps"
    copied = f" Plain copy-paste did help ({pasted.difference.mean:+.3f}){copying}." if pasted and helped else ""
    if main.outcome != "not shown":
        return f"Use no painted defects: train with real images and classical augmentation alone.{copied}"
    return f"Use none until it is settled. {_what_would_settle(main, results, count, quick)}{copied}"


def _what_would_settle(main: Claim, results: Mapping[Task, Result], count: int, quick: bool) -> str:
    ours, theirs = (_means(results, arm, count) for arm in (PAINTED, CLASSICAL))
    if max(ours.mean(), theirs.mean()) < LEARNED:
        return "The detectors have learned next to nothing: give more --steps, and another output folder."
    draws, mean = main.difference.draws, main.difference.mean
    spread = float(np.std(ours - theirs, ddof=1)) if draws > 1 else float("nan")
    needed = QUICK_DRAWS
    if spread > 0:
        far = max(mean, WORTH - mean)  # from no gain, or from a gain worth having
        needed = max(QUICK_DRAWS, draws + 2, math.ceil((POWER * spread / far) ** 2))
    if needed <= MANY_DRAWS:
        arms = {task.arm for task in results if task.count == count}
        seconds = float(np.mean([result.seconds for result in results.values()])) * len(arms) * (needed - draws)
        return (
            f"About {needed} draws would: give the same command with --draws {needed}, which keeps what is finished "
            f"and takes one core about {math.ceil(seconds / 60)} min more."
        )
    if quick:
        return "Longer training may: give the command without --quick, and another output folder."
    return (
        f"More draws hardly would, for they differ by {spread:.3f} (standard deviation) and the mean is {mean:+.3f}: "
        "add images with defects."
    )
