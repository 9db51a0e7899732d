"""Pictures of the report: a good image with and without painted defects, and the arms beside each other."""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from magical_hub.errors import DataError
from magical_hub.evaluation.plots import as_png, draw_differences, draw_scores
from magical_hub.pictures import enlarged, with_labels
from magical_hub.seeds import image_seed
from magical_hub.usefulness.answering import NAMES, Answer
from magical_hub.usefulness.arms import CLASSICAL, Draw, bank_of
from magical_hub.usefulness.images import picture
from magical_hub.usefulness.results import Result, Task, scores

TRIED, MADE = 60, 9
"""Good images that are tried, until so many have a defect; one of middling size of defects is shown."""
GAP = 12


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
    arms = {
        name: [result.mean for result in own.values()]
        for arm, name in NAMES.items()
        if (own := scores(results, arm, count))
    }
    claims = [found.main, *(claim for claim in found.others if claim.theirs == CLASSICAL)]
    figure = Figure(figsize=(5.4, 1.7 + 0.42 * (len(arms) + len(claims))), layout="constrained")
    upper, lower = figure.subplots(2, 1, height_ratios=[len(arms), len(claims)])
    draw_scores(upper, arms)
    measure = next(iter(results.values())).measure
    upper.set(title=f"{measure}, one point per draw; the line is the mean")
    shown = {NAMES[claim.ours]: (claim.difference, claim.outcome) for claim in claims}
    rows = {name: (of.mean, of.low, of.high, outcome) for name, (of, outcome) in shown.items()}
    draw_differences(lower, rows)
    lower.set(title="change against none, 95 % interval")
    return as_png(figure)
