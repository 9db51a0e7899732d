"""Do the sub-regions of a generated image belong to one image?"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from magical_hub.evaluation.evidence import Evidence
from magical_hub.evaluation.images import ImageSet
from magical_hub.evaluation.plots import bars
from magical_hub.evaluation.section import LeftOut, Section, Verdict, at_least, at_most, worst
from magical_hub.grid import Grid
from magical_hub.metrics import Coherence, brightness_and_contrast, coherence_of, frechet_distance

QUESTION = "Do the sub-regions of a generated image belong to one image?"
PAIRED = 160
"""The most images whose pairs are compared: every pair costs two passes through the network."""
PLACES = 8
"""At how many places of the grid the pairs are: images with a pair at the same place are shuffled among each other."""
COMPONENTS = 32
"""Principal components of the features of a sub-region that are kept: fewer than there are images."""
LEAST = 32
"""Images below which the distance of pairs says nothing."""
SHUFFLES = 5
GOOD, WEAK = 0.7, 0.3
"""The share of real images' coherence from which generated ones are good, and weak."""
GOOD_GAP, WEAK_GAP = 0.1, 0.25
"""The difference of a correlation to that of real images up to which it is good, and weak."""


class Pairs(NamedTuple):
    """Two sub-regions an image: where the first is, and the features of both, (N, F)."""

    places: np.ndarray
    first: np.ndarray
    second: np.ndarray


def measure(evidence: Evidence) -> Section:
    """How brightness, contrast and features of two sub-regions go together, beside real images."""
    if not evidence.has_grid:
        raise LeftOut("the grid is not known: give rows and cols")
    if len(evidence.compared) < 3:
        raise LeftOut(f"{len(evidence.compared)} images have no correlation: there must be at least 3")
    verdicts = []
    scores: dict[str, float | None] = {}
    ours, theirs = (_correlations(images, evidence.grid) for images in (evidence.compared, evidence.reference))
    for name, our, their in zip(ours._fields, ours, theirs, strict=True):
        scores |= {f"coherence_{name}": our, f"coherence_{name}_real": their}
        verdicts.append(at_most(abs(our - their), GOOD_GAP, WEAK_GAP))
    kinds = _kinds(evidence.grid) if len(evidence.compared) >= LEAST else {}
    for kind, (first, second) in kinds.items():
        figures = _joint(evidence, kind, first, second)
        verdicts.append(at_least(figures[f"coherence_{kind}"], GOOD, WEAK))
        scores |= figures
    verdict = worst(*verdicts)
    kept = ", ".join(f"{kind} ones {scores[f'coherence_{kind}']:.2f}" for kind in kinds)
    return Section(
        name="coherence",
        question=QUESTION,
        verdict=verdict,
        statement=f"Brightness of two sub-regions correlates by {ours.brightness:.2f} (real {theirs.brightness:.2f}), "
        f"contrast by {ours.contrast:.2f} (real {theirs.contrast:.2f})"
        + (f"; what two sub-regions show agrees as in real images (1) or not at all (0): {kept}." if kept else "."),
        scores=scores,
        details={
            "generated": len(evidence.compared),
            "reference": len(evidence.reference),
            "pairs": {kind: min(PAIRED, len(evidence.compared)) for kind in kinds},
            "pairs_left_out": None if kinds else f"fewer than {LEAST} images",
            "network": evidence.cache.network_name,
            "components": COMPONENTS,
            "good_from": GOOD,
            "weak_from": WEAK,
        },
        pictures=_picture(kinds, scores) if kinds and verdict is not Verdict.NONE else {},
    )


def _correlations(images: ImageSet, grid: Grid) -> Coherence:
    parts = [brightness_and_contrast(batch, grid) for batch in images.batches("coherence")]
    return coherence_of(*(np.concatenate(some) for some in zip(*parts, strict=True)))


def _kinds(grid: Grid) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Pairs of locations: neighbours, and those opposite each other through the middle; each (n,) and (n,)."""
    beside = [
        (location, location + step)
        for window, step in (((1, 2), 1), ((2, 1), grid.cols))
        if window[0] <= grid.rows and window[1] <= grid.cols
        for location in grid.window_locations(window)
    ]
    opposite = [(one, grid.num_locations - 1 - one) for one in range(grid.num_locations // 2)]
    some = {"adjacent": beside, "opposite": opposite}
    return {kind: _spread(np.array(pairs)) for kind, pairs in some.items()}


def _spread(pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    chosen = pairs[np.unique(np.linspace(0, len(pairs) - 1, PLACES).round().astype(int))]
    return chosen[:, 0], chosen[:, 1]


def _joint(evidence: Evidence, kind: str, first: np.ndarray, second: np.ndarray) -> dict[str, float]:
    """The Frechet distance on joint features of pairs, and what shuffling the pairs adds to it.

    The distance alone would also say how well single sub-regions are drawn. What is lost by shuffling, the second
    sub-regions among images with a pair at the same place, is due to their going together and nothing else.
    """
    reference, other, generated = (
        _pairs(evidence, images, first, second) for images in (evidence.reference, evidence.other, evidence.compared)
    )
    both = np.concatenate([reference.first, reference.second])
    centre = both.mean(0)
    axes = np.linalg.svd(both - centre, full_matrices=False)[2][: min(COMPONENTS, len(both) // 16)].T

    def joint(pairs: Pairs, order: np.ndarray | None = None) -> np.ndarray:
        second = pairs.second if order is None else pairs.second[order]
        return np.concatenate([(pairs.first - centre) @ axes, (second - centre) @ axes], axis=1)

    def shuffled(pairs: Pairs) -> float:
        return float(
            np.mean([frechet_distance(real, joint(pairs, _shuffle(pairs.places, n))) for n in range(SHUFFLES)])
        )

    real = joint(reference)
    distance, floor = (frechet_distance(real, joint(pairs)) for pairs in (generated, other))
    ours, theirs = shuffled(generated), shuffled(other)
    return {
        f"coherence_{kind}": (ours - distance) / (theirs - floor) if theirs > floor else float("nan"),
        f"pairs_{kind}": distance,
        f"pairs_{kind}_shuffled": ours,
        f"pairs_{kind}_floor": floor,
        f"pairs_{kind}_floor_shuffled": theirs,
    }


def _pairs(evidence: Evidence, images: ImageSet, first: np.ndarray, second: np.ndarray) -> Pairs:
    some = images.take(PAIRED)
    places = np.arange(len(some)) % len(first)  # of image i the same in every set
    features: tuple[list[np.ndarray], list[np.ndarray]] = [], []
    done = 0
    for batch in some.batches("pairs"):
        here = places[done : done + len(batch)]
        done += len(batch)
        for found, locations in zip(features, (first, second), strict=True):
            found.append(evidence.cache.features_of(evidence.grid.crop(batch, locations[here])))
    return Pairs(places, *(np.concatenate(found) for found in features))


def _shuffle(places: np.ndarray, seed: int) -> np.ndarray:
    """An order of the images in which every one is followed at its place by another with a pair at the same place."""
    order = np.arange(len(places))
    for place in np.unique(places):
        members = np.random.default_rng([seed, int(place)]).permutation(np.flatnonzero(places == place))
        order[members] = np.roll(members, 1)
    return order


def _picture(kinds: dict[str, tuple[np.ndarray, np.ndarray]], scores: dict[str, float | None]) -> dict[str, bytes]:
    series = {
        "generated": "", "generated, shuffled": "_shuffled", "real": "_floor", "real, shuffled": "_floor_shuffled"
    }  # fmt: skip
    values = {name: [float(scores[f"pairs_{kind}{end}"] or 0) for kind in kinds] for name, end in series.items()}
    caption = (
        "Distance of pairs of sub-regions to real pairs; where shuffling adds as much as in real images, all is well"
    )
    return {caption: bars(list(kinds), values, "Frechet distance of pairs")}
