"""What people look at: a good image with and without painted defects, and the arms beside each other."""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from magical_hub.errors import DataError
from magical_hub.evaluation.plots import as_png
from magical_hub.pictures import enlarged, with_labels
from magical_hub.seeds import image_seed
from magical_hub.usefulness.answering import NAMES, Answer, Claim
from magical_hub.usefulness.arms import CLASSICAL, Draw, bank_of
from magical_hub.usefulness.comparing import scores
from magical_hub.usefulness.images import picture
from magical_hub.usefulness.results import Result, Task

TRIED, MADE = 60, 9
"""Good images that are tried, until so many have a defect; one of middling size of defects is shown."""
GAP = 12
COLOURS = {"helps": "tab:green", "harms": "tab:red", "no gain": "tab:red", "not shown": "tab:gray"}


def example(draw: Draw) -> bytes:
    """A good image, and the same with painted defects in their boxes, as a PNG file.

    Raises:
        DataError: where not one good image has a place for a defect.
    """
    bank = bank_of(draw)
    made = []
    for number in range(TRIED):
        seed = image_seed(draw.seed, number)
        target = picture(draw.good.labelled.images[seed % len(draw.good)])
        painted = bank.paint(target, seed=seed)
        made += [(target, painted)] if painted.objects else []
        if len(made) == MADE:
            break
    if not made:
        raise DataError(
            f"none of {TRIED} good images has a place for one of the defects, so there is nothing to compare: give "
            "good images of the same kind, or references"
        )
    made.sort(key=lambda pair: np.count_nonzero(pair[1].changed))
    target, painted = made[len(made) // 2]
    left, right = enlarged(target), with_labels(painted.image, painted.objects, None, bank.classes)
    sheet = Image.new("RGB", (left.width + GAP + right.width, left.height), "white")
    sheet.paste(left, (0, 0))
    sheet.paste(right, (left.width + GAP, 0))
    file = io.BytesIO()
    sheet.save(file, format="PNG")
    return file.getvalue()


def chart(results: Mapping[Task, Result], count: int, found: Answer) -> bytes:
    """The scores of each arm by draw, and what each changes with its interval, as a PNG file."""
    arms = [arm for arm in NAMES if scores(results, arm, count)]
    claims = [found.main, *(claim for claim in found.others if claim.theirs == CLASSICAL)]
    figure = Figure(figsize=(5.4, 1.7 + 0.42 * (len(arms) + len(claims))), layout="constrained")
    upper, lower = figure.subplots(2, 1, height_ratios=[len(arms), len(claims)])
    for place, arm in enumerate(arms):
        values = [result.mean for result in scores(results, arm, count).values()]
        upper.plot(values, np.full(len(values), place), "o", alpha=0.4, color="tab:blue", markersize=5)
        upper.plot(np.mean(values), place, "|", markersize=16, markeredgewidth=2.5, color="black")
    measure = next(iter(results.values())).measure
    upper.set(title=f"{measure}, a point a draw; the line is the mean")
    upper.set_yticks(range(len(arms)), [NAMES[arm] for arm in arms])
    for place, claim in enumerate(claims):
        _draw_claim(lower, place, claim)
    lower.axvline(0, color="black", linewidth=0.8)
    lower.set(title="change against none, 95 % interval")
    lower.set_yticks(range(len(claims)), [NAMES[claim.ours] for claim in claims])
    for axis in (upper, lower):
        axis.set_ylim(axis.get_yticks()[-1] + 0.6, -0.6)
        axis.grid(axis="x", alpha=0.3)
    return as_png(figure)


def _draw_claim(axis: object, place: int, claim: Claim) -> None:
    difference, colour = claim.difference, COLOURS[claim.outcome]
    axis.plot([difference.low, difference.high], [place, place], color=colour, linewidth=3)  # type: ignore[attr-defined]
    axis.plot(difference.mean, place, "o", color=colour, markersize=8)  # type: ignore[attr-defined]
