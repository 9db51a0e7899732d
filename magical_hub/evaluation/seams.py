"""Do images break where their sub-regions meet?"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from magical_hub.evaluation.evidence import Evidence
from magical_hub.evaluation.images import ImageSet
from magical_hub.evaluation.plots import heat_maps, sheet
from magical_hub.evaluation.section import LeftOut, Section, Verdict, worst
from magical_hub.grid import Grid
from magical_hub.metrics import halves_interval, line_differences, relative_ratio, seam_energies

QUESTION = "Do images break where their sub-regions meet?"
WORST = 8
"""Images in the picture of the worst seams."""
SLACK = 2.0
"""Outside the interval of real images by no more than this factor, a ratio is weak, and not bad."""


class Lines(NamedTuple):
    """The `seam_energies` of an image set, and its maps of `line_differences`."""

    energies: np.ndarray
    down: np.ndarray
    along: np.ndarray


def measure(evidence: Evidence) -> Section:
    """The relative seam ratio, beside the interval that real images show against each other."""
    grid, seed = evidence.grid, evidence.seed
    if not evidence.has_grid:
        raise LeftOut("the grid is not known: give rows and cols")
    if len(evidence.reference) < 4:
        raise LeftOut(f"{len(evidence.reference)} real images have no two halves to compare: there must be at least 4")
    ours, theirs = _line_energies(evidence.compared, grid), _line_energies(evidence.reference, grid)
    ratio = relative_ratio(ours.energies, theirs.energies)
    low, high = halves_interval(theirs.energies, seed=seed)
    verdicts = [_verdict(*one) for one in zip(ratio, low, high, strict=True)]
    scores: dict[str, float | None] = {}
    for name, value, least, most in zip(ratio._fields, ratio, low, high, strict=True):
        scores |= {f"seam_ratio_{name}": value, f"seam_ratio_{name}_low": least, f"seam_ratio_{name}_high": most}
    shown = ", ".join(
        f"{name} {value:.2f} (real halves {least:.2f} to {most:.2f})"
        for name, value, least, most in zip(ratio._fields, ratio, low, high, strict=True)
        if np.isfinite(value)
    )
    verdict = worst(*verdicts)
    words = {
        Verdict.GOOD: "Seams do not differ from the rest of the image",
        Verdict.NONE: "Nothing varies at the seams",
    }
    return Section(
        name="seams",
        question=QUESTION,
        verdict=verdict,
        statement=f"{words.get(verdict, 'Steps at the seams are not those of real images')}: relative seam ratio of "
        f"{shown}; 1 is right, more is a visible seam, less a smeared one.",
        scores=scores,
        details={
            "grid": [grid.rows, grid.cols],
            "generated": len(evidence.compared),
            "reference": len(evidence.reference),
            "interval": "95 % of the relative ratios of random halves of the reference",
            "weak_up_to": f"a factor of {SLACK} outside the interval",
        },
        pictures={
            "Mean step from one pixel line to the next, real on the left, generated on the right": heat_maps(
                {
                    "real, from row to row": theirs.down,
                    "generated, from row to row": ours.down,
                    "real, from column to column": theirs.along,
                    "generated, from column to column": ours.along,
                }
            ),
            "Generated images with the sharpest seams": sheet(
                _sharpest(evidence.compared, ours.energies), columns=WORST
            ),
        },
    )


def _line_energies(images: ImageSet, grid: Grid) -> Lines:
    energies = []
    down, along = np.zeros((grid.height - 1, grid.width)), np.zeros((grid.height, grid.width - 1))
    for batch in images.batches("seams"):
        energies.append(seam_energies(batch, grid))
        some_down, some_along = line_differences(batch)
        down += some_down * len(batch) / len(images)
        along += some_along * len(batch) / len(images)
    return Lines(np.concatenate(energies), down, along)


def _verdict(value: float, low: float, high: float) -> Verdict:
    if not np.isfinite([value, low, high]).all():
        return Verdict.NONE
    if low <= value <= high:
        return Verdict.GOOD
    return Verdict.WEAK if low / SLACK <= value <= high * SLACK else Verdict.BAD


def _sharpest(images: ImageSet, energies: np.ndarray) -> np.ndarray:
    at_seams, inside = np.moveaxis(np.nan_to_num(energies), 2, 0)
    sharpness = (at_seams / np.maximum(inside, 1e-6)).max(1)
    return images.read(np.argsort(-sharpness)[:WORST])
