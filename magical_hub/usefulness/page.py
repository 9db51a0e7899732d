"""The section of the report: its first page, and the figures behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from magical_hub.detectors import LabelledImages
from magical_hub.evaluation.section import Section
from magical_hub.usefulness.answering import NAMES, Answer, Claim, answer
from magical_hub.usefulness.arms import CLASSICAL, PAINTED, PASTED, PLACEBO, WHOLE
from magical_hub.usefulness.pictures import chart
from magical_hub.usefulness.results import Result, Task, scores

QUESTION = "Do painted defects make a detector better?"
WHAT = {
    CLASSICAL: "images with defects and good ones, mirrored, turned, scaled, brightened, blurred; so are all below",
    PAINTED: "also good images with the defects of the draw put onto them, as magical-hub augment does",
    PASTED: "also good images with the same defects copied to random places, nothing matched",
    PLACEBO: "also further good images, in the place of synthetic ones",
    WHOLE: "also whole images of the checkpoint",
}


def section_of(
    results: Mapping[Task, Result],
    count: int,
    test: LabelledImages,
    example: bytes,
    quick: bool,
    left_out: Mapping[str, str],
    settings: Mapping[str, Any],
) -> Section:
    """What was found, as a section with a first page.

    Args:
        results: all finished detectors.
        count: defective images of a draw.
        test: what they were tested on.
        example: a picture of a good image and of the same with painted defects.
        quick: whether it was the quick form.
        left_out: arms that could not be compared, with the reason.
        settings: all that the figures depend on.
    """
    found = answer(results, count, quick)
    arms = {arm: scores(results, arm, count) for arm in NAMES}
    arms = {arm: own for arm, own in arms.items() if own}
    means = {arm: [result.mean for result in own.values()] for arm, own in arms.items()}
    classes = _classes(arms, test)
    return Section(
        name="usefulness",
        question=QUESTION,
        verdict=found.verdict,
        statement=found.statement,
        scores={
            "detector_without": float(np.mean(means[CLASSICAL])),
            "detector_with_painted": float(np.mean(means[PAINTED])),
            "detector_difference": found.main.difference.mean,
        },
        details={
            "outcome": found.main.outcome,
            "measure": next(iter(results.values())).measure,
            "defective_images_of_a_draw": count,
            "arms": means,
            "classes": classes,
            "differences": [_as_json(claim) for claim in (found.main, *found.others)],
            "left_out": dict(left_out),
            "settings": dict(settings),
        },
        pictures={
            "A good image, and the same with painted defects, each in its box": example,
            "What detectors found on the test images": chart(results, count, found),
        },
        headline=found.headline,
        advice=found.advice,
        tables={
            "What each detector was trained with": _arms_table(means, left_out),
            "Paired differences over draws": _claims_table(found),
            "Average precision of each class, in the mean of the draws": _classes_table(classes),
        },
    )


def _as_json(claim: Claim) -> dict[str, Any]:
    numbers = {name: None if value != value else value for name, value in asdict(claim.difference).items()}
    return {"arm": claim.ours, "against": claim.theirs, **numbers, "outcome": claim.outcome}


def _classes(arms: Mapping[str, Mapping[int, Result]], test: LabelledImages) -> dict[str, dict[str, Any]]:
    """Of each class how many test images have it, and its average precision with each arm."""
    found: dict[str, dict[str, Any]] = {}
    for place, name in enumerate(test.class_names):
        if test.masks is not None:
            images = int((test.masks == 1 + place).any((1, 2)).sum())
        else:
            images = sum(bool((kinds == place).any()) for kinds in test.categories or ())
        found[name] = {"test_images": images}
        for arm, own in arms.items():
            values = [result.classes[name] for result in own.values() if name in result.classes]
            if values:
                found[name][arm] = float(np.mean(values))
    return found


def _arms_table(means: Mapping[str, Sequence[float]], left_out: Mapping[str, str]) -> list[list[str]]:
    rows = [["detector with", "what that is", "draws", "mean", "lowest and highest"]]
    for arm, values in means.items():
        spread = f"{min(values):.3f} to {max(values):.3f}"
        rows.append([NAMES[arm], WHAT[arm], str(len(values)), f"{np.mean(values):.3f}", spread])
    return rows + [[NAMES[arm], f"left out: {reason}", "", "", ""] for arm, reason in left_out.items()]


def _claims_table(found: Answer) -> list[list[str]]:
    rows = [["what is compared", "difference", "95 % interval", "p", "shown"]]
    for claim in (found.main, *found.others):
        difference = claim.difference
        interval = "" if difference.low != difference.low else f"{difference.low:+.3f} to {difference.high:+.3f}"
        names = f"{NAMES[claim.ours]} against {NAMES[claim.theirs]}"
        rows.append([names, f"{difference.mean:+.3f}", interval, f"{difference.p:.3f}", claim.outcome])
    return rows


def _classes_table(classes: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    arms = [arm for arm in NAMES if any(arm in figures for figures in classes.values())]
    rows = [["class", "test images", *(NAMES[arm] for arm in arms), "painted, change"]]
    for name, figures in classes.items():
        cells = [f"{figures[arm]:.3f}" if arm in figures else "" for arm in arms]
        both = PAINTED in figures and CLASSICAL in figures
        change = f"{figures[PAINTED] - figures[CLASSICAL]:+.3f}" if both else ""
        rows.append([name, str(figures["test_images"]), *cells, change])
    return rows
