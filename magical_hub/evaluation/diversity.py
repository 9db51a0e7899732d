"""Are the generated images as varied as real ones?"""

from __future__ import annotations

import numpy as np

from magical_hub.evaluation.evidence import Evidence
from magical_hub.evaluation.hashes import near_pairs
from magical_hub.evaluation.images import ImageSet
from magical_hub.evaluation.plots import bars, sheet
from magical_hub.evaluation.section import Section, at_least, at_most, worst
from magical_hub.metrics import manifold_scores, relative_variety

QUESTION = "Are the generated images as varied as real ones?"
NEIGHBOURS = 3
MOST = 5000
"""The most images: the measures compare every pair."""
GOOD, WEAK = 0.5, 0.2
"""Recall over its floor from which images are good, and weak; also variety, where 1 is right."""
GOOD_SHARE, WEAK_SHARE = 0.02, 0.1
"""The share of images with a near-duplicate, above that of real images, up to which it is good, and weak."""


def measure(evidence: Evidence) -> Section:
    """Precision, recall, density and coverage beside their floors; near-duplicates; coverage class by class."""
    reference, other, generated = (
        images.take(MOST) for images in (evidence.reference, evidence.other, evidence.compared)
    )
    real, more, made = (np.asarray(evidence.cache.features(images)) for images in (reference, other, generated))
    ours, floor = (manifold_scores(real, some, NEIGHBOURS) for some in (made, more))
    small = [evidence.cache.whole(images)[:, None] for images in (generated, other, reference)]
    variety, variety_floor = (relative_variety(some, small[2]) for some in small[:2])
    share, share_real = (_near_duplicate_share(evidence, images) for images in (generated, reference))
    verdicts = [
        at_least(ours.recall / floor.recall if floor.recall else float("nan"), GOOD, WEAK),
        at_least(variety, GOOD, WEAK),
        at_most(share - share_real, GOOD_SHARE, WEAK_SHARE),
    ]
    scores: dict[str, float | None] = {}
    for name in ("precision", "recall", "density", "coverage"):
        scores |= {name: getattr(ours, name), f"{name}_floor": getattr(floor, name)}
    scores |= {"variety": variety, "variety_floor": variety_floor}
    scores |= {"near_duplicate_share": share, "near_duplicate_share_real": share_real}
    classes = _by_class(reference, real, made, more)
    pictures = {"Generated images": sheet(generated.read(np.arange(min(16, len(generated)))), 8)}
    pictures["Real images"] = sheet(reference.read(np.arange(min(16, len(reference)))), 8)
    if classes:
        series = {key: [row[key] for row in classes.values()] for key in ("generated", "real")}
        pictures["Coverage of each class"] = bars(list(classes), series, "coverage")
    return Section(
        name="diversity",
        question=QUESTION,
        verdict=worst(*verdicts),
        statement=f"{ours.precision:.0%} of the generated images lie among real ones (precision; of real images "
        f"{floor.precision:.0%}), and {ours.recall:.0%} of the real ones among generated ones (recall; "
        f"{floor.recall:.0%}). Relative variety {variety:.2f} (1 is right); {share:.1%} have a near-duplicate "
        f"(of real ones {share_real:.1%}).",
        scores=scores,
        details={
            "network": evidence.cache.network_name,
            "neighbours": NEIGHBOURS,
            "generated": len(generated),
            "reference": len(reference),
            "coverage_by_class": classes or "no classes are known",
        },
        pictures=pictures,
    )


def _near_duplicate_share(evidence: Evidence, images: ImageSet) -> float:
    hashes = evidence.cache.hashes(images)
    pairs = near_pairs(hashes, hashes)
    return len(np.unique(pairs[pairs[:, 0] != pairs[:, 1], 0])) / len(images)


def _by_class(
    reference: ImageSet, real: np.ndarray, made: np.ndarray, more: np.ndarray
) -> dict[str, dict[str, float]]:
    """Coverage of the real images of each class, those with too few images left out."""
    rows = {}
    for number, name in enumerate(reference.store.class_names or []):
        of_class = real[reference.labels == number]
        if len(of_class) > NEIGHBOURS:
            ours, floor = (manifold_scores(of_class, some, NEIGHBOURS).coverage for some in (made, more))
            rows[name] = {"images": len(of_class), "generated": ours, "real": floor}
    return rows
