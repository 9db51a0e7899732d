"""Does a generated image copy a training image?

Three views (features, pixels, sub-regions) and four tests in each, whose alarms are false once in a hundred reports:

- nearer: generated images are nearer to the training images than held-out ones are, and to the training images than
  to the held-out ones. Either alone can be had without copying: the first by a generator that leaves out odd images,
  the second by a split that isn't one by chance.
- nearer somewhere: the same among the images around one kind of training image (Meehan et al., AISTATS 2020).
- a crowd: more generated than held-out images are suspiciously near to a single training image.
- single images: one is nearer to a training image than generated images ever are to held-out ones, which the generator
  never saw. It finds a few copies among many images.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from magical_hub.data.canvas import digest
from magical_hub.evaluation.evidence import Evidence
from magical_hub.evaluation.planted import Planted, plant
from magical_hub.evaluation.plots import histograms, sheet
from magical_hub.evaluation.section import LeftOut, Section, Verdict
from magical_hub.evaluation.views import Matches, View, match, num_parts, views
from magical_hub.metrics import Neighbours
from magical_hub.metrics.copying import crowd_test, holm, membership_test, nearer_test, single_tests
from magical_hub.metrics.optional import eval_extra

LEVEL = 0.01
"""The chance of a false alarm of all tests together."""
LEAST = 30
"""Held-out (and training) images below which nothing is tested but equality."""
KINDS, KIND_SIZE, KIND_SAMPLE = 8, 20, 10_000
"""Kinds of image at the most, the images of either set that a kind needs, and what the kinds are found from."""
POWER = 0.5
"""The share of each kind of planted copy that a search must find to be called good."""
SHOWN = 6
QUESTION = "Does a generated image copy a training image?"


class Compared(NamedTuple):
    """What one view shows."""

    view: View
    train: list[np.ndarray]
    generated: Matches
    """Generated images among training images,"""
    held_out: Matches
    """held-out images among training images,"""
    unseen: Matches
    """and generated images among held-out ones."""
    parts: int

    def p_values(self, matches: Matches) -> np.ndarray:
        """Of single images: (N,), before it is counted how many are tested."""
        return np.minimum(1, self.parts * single_tests(matches.worst, self.unseen.worst))


def measure(evidence: Evidence) -> Section:
    """All tests, the positive control, and the closest pairs."""
    exact = _exact_copies(evidence)
    unseen = evidence.reference if evidence.holdout is not None else None
    few = min(len(evidence.train), 0 if unseen is None else len(unseen), len(evidence.compared)) < LEAST
    if unseen is None or few:
        reason = "no held-out images are known" if unseen is None else f"a test needs {LEAST} images of each kind"
        if not exact:
            raise LeftOut(f"{reason}; no generated image equals a training image to the pixel, and no more was tested")
        return _only_exact(exact, reason)
    kinds = _kinds(evidence)
    compared = [_compare(view, evidence) for view in views(evidence)]
    tests = {f"{one.view.name}, {name}": p for one in compared for name, p in _tests(one, kinds, evidence).items()}
    alarms = dict(zip(tests, holm(list(tests.values()), LEVEL), strict=True))
    bound = LEVEL / len(tests) / len(evidence.generated)  # what a single image alarms at, whatever else is found
    control = {kind: _found(copies, compared, evidence, bound) for kind, copies in plant(evidence).items()}
    p_values = np.stack([one.p_values(one.generated) for one in compared])
    suspicious = np.flatnonzero(p_values.min(0) <= bound)
    copies = sorted({*suspicious.tolist(), *(row for row, _ in exact)})
    copied = bool(copies) or any(alarms.values())
    weakest = min(found["share"] for found in control.values())
    return Section(
        name="leakage",
        question=QUESTION,
        verdict=Verdict.BAD if copied else Verdict.GOOD if weakest >= POWER else Verdict.WEAK,
        statement=_statement(copies, alarms, control),
        scores={
            "copies_found": float(len(copies)),
            "exact_copies": float(len(exact)),
            "leakage_p_value": min(1.0, len(tests) * min(tests.values())),
            **{f"planted_found_{kind.replace(' ', '_')}": found["share"] for kind, found in control.items()},
        },
        details={
            "level": LEVEL,
            "tests": [{"test": name, "p_value": tests[name], "alarm": alarms[name]} for name in tests],
            "single_image_bound": bound,
            "generated": len(evidence.generated),
            "train": len(evidence.train),
            "held_out": len(unseen),
            "parts_of_train": compared[0].parts,
            "kinds": int(kinds[0].max()) + 1,
            "positive_control": control,
            "exact_copies": _named(exact, evidence),
            "suspicious": _suspicious(suspicious, p_values, compared, evidence),
            "memorisation": dict(
                zip(evidence.generated.names, np.round(compared[0].generated.worst, 4).tolist(), strict=True)
            ),
        },
        pictures=_pictures(compared, evidence),
    )


def _exact_copies(evidence: Evidence) -> list[tuple[int, int]]:
    """Rows of generated images, and of the training images that they equal."""
    known = {its: row for row, its in enumerate(evidence.train.digests)}
    return [(row, known[its]) for row, its in enumerate(evidence.generated.digests) if its in known]


def _named(exact: list[tuple[int, int]], evidence: Evidence) -> list[dict[str, Any]]:
    return [{"image": evidence.generated.names[row], "train": evidence.train.names[own]} for row, own in exact]


def _only_exact(exact: list[tuple[int, int]], reason: str) -> Section:
    return Section(
        name="leakage",
        question=QUESTION,
        verdict=Verdict.BAD,
        statement=f"COPIES FOUND: {len(exact)} generated images are training images. No more was tested: {reason}.",
        scores={"copies_found": float(len(exact)), "exact_copies": float(len(exact))},
    )


def _kinds(evidence: Evidence) -> tuple[np.ndarray, np.ndarray]:
    """The kind of each generated and each held-out image: the nearest of the means of the training images."""
    with eval_extra():
        from scipy.cluster.vq import kmeans2, vq

    features = evidence.computed.features
    some = features(evidence.train.shuffled(evidence.seed).take(KIND_SAMPLE))
    kinds = max(1, min(KINDS, len(evidence.reference) // (2 * KIND_SIZE)))
    means, _ = kmeans2(np.asarray(some, np.float64), kinds, minit="++", rng=np.random.default_rng(evidence.seed))
    made, held_out = (vq(features(images), means)[0] for images in (evidence.compared, evidence.reference))
    return made, held_out


def _compare(view: View, evidence: Evidence) -> Compared:
    train, unseen, made = (view.of(images) for images in (evidence.train, evidence.reference, evidence.generated))
    parts = num_parts(len(evidence.train), len(evidence.reference))
    return Compared(
        view,
        train,
        match(view, made, train, parts, "generated"),
        match(view, unseen, train, parts, "held-out"),
        match(view, made, unseen, 1, "generated, among held-out"),
        parts,
    )


def _tests(one: Compared, kinds: tuple[np.ndarray, np.ndarray], evidence: Evidence) -> dict[str, float]:
    """The p-values of a view."""
    count = len(evidence.compared)
    generated, unseen = one.generated.first(count), one.unseen.first(count)
    somewhere = []
    for kind in np.unique(kinds[0]):
        made, real = (its == kind for its in kinds)
        if min(made.sum(), real.sum()) >= KIND_SIZE:
            somewhere.append(_nearer(generated.where(made), unseen.where(made), one.held_out.where(real), evidence))
    return {
        "nearer": _nearer(generated, unseen, one.held_out, evidence),
        "nearer somewhere": min(1.0, len(somewhere) * min(somewhere, default=1.0)),
        "a crowd": crowd_test(generated.worst, one.held_out.worst),
        "single images": min(1.0, len(evidence.generated) * float(one.p_values(one.generated).min())),
    }


def _nearer(generated: Matches, unseen: Matches, held_out: Matches, evidence: Evidence) -> float:
    def flat(matches: Matches) -> Neighbours:
        return Neighbours(matches.distances.reshape(-1, 1), matches.nearest.reshape(-1, 1))

    return max(
        nearer_test(generated.distances.mean(0), held_out.distances.mean(0)),
        membership_test(flat(generated), flat(unseen), len(evidence.train), len(evidence.reference), evidence.seed),
    )


def _found(planted: Planted, compared: list[Compared], evidence: Evidence, bound: float) -> dict[str, Any]:
    """How many planted copies the tests of single images, or the content hash, would have found."""
    with eval_extra():
        from scipy.stats import binomtest

    digests = [digest([image]) for image in planted.images]
    found = np.array([its == evidence.train.digests[own] for its, own in zip(digests, planted.sources, strict=True)])
    for one in compared:
        matches = match(one.view, one.view.of_pixels(planted.images), one.train, one.parts, "planted")
        found |= (one.p_values(matches) <= bound) & (matches.worst_suspect == planted.sources)
    interval = binomtest(int(found.sum()), len(found)).proportion_ci(0.95, method="exact")
    return {
        "planted": len(found),
        "found": int(found.sum()),
        "share": float(found.mean()),
        "interval_95": [float(interval.low), float(interval.high)],
    }


def _statement(copies: list[int], alarms: dict[str, bool], control: dict[str, dict[str, Any]]) -> str:
    planted = "; ".join(
        "{} {} of {} ({:.0%} to {:.0%})".format(kind, found["found"], found["planted"], *found["interval_95"])
        for kind, found in control.items()
    )
    sensitivity = f"Of planted copies this search finds: {planted}."
    if copies:
        return f"COPIES FOUND: {len(copies)} generated images. {sensitivity}"
    ringing = ", ".join(name for name, alarm in alarms.items() if alarm)
    if ringing:
        return f"COPYING FOUND, though no single image can be named: {ringing}. {sensitivity}"
    return f"No copying found at this sensitivity. {sensitivity}"


def _suspicious(
    rows: np.ndarray, p_values: np.ndarray, compared: list[Compared], evidence: Evidence
) -> list[dict[str, Any]]:
    """Images that alarm, the worst first, with the view that shows it."""
    listed = []
    for row in rows[np.argsort(p_values[:, rows].min(0))]:
        one = compared[int(p_values[:, row].argmin())]
        listed.append(
            {
                "image": evidence.generated.names[row],
                "train": evidence.train.names[one.generated.worst_suspect[row]],
                "view": one.view.name,
                "location": int(one.generated.worst_place[row]) if one.generated.scores.shape[0] > 1 else None,
                "p_value": float(p_values[:, row].min()),
            }
        )
    return listed


def _pictures(compared: list[Compared], evidence: Evidence) -> dict[str, bytes]:
    panels = {
        one.view.name: {
            "generated, to training": one.generated.worst,
            "held-out, to training": one.held_out.worst,
            "generated, to held-out": one.unseen.worst,
        }
        for one in compared
    }
    pictures = {"Memorisation score of each image: near 0 is a copy": histograms(panels, "nearest / mean of the next")}
    for one in compared:
        rows = np.argsort(one.generated.worst)[:SHOWN]
        pair = evidence.generated.read(rows), evidence.train.read(one.generated.worst_suspect[rows])
        if one.generated.scores.shape[0] > 1:
            places = one.generated.worst_place[rows]
            pair = evidence.grid.crop(pair[0], places), evidence.grid.crop(pair[1], places)
        both = np.stack(pair, axis=1)
        caption = f"Closest pairs by {one.view.name}: each generated image with its training image"
        pictures[caption] = sheet(both.reshape(-1, *both.shape[2:]), 4)
    return pictures
