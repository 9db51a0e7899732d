"""Does a generated image copy a training image? What the search for copies found, and what it would have found."""

from __future__ import annotations

from typing import Any

import numpy as np

from magical_hub.errors import DataError
from magical_hub.evaluation.evidence import Evidence
from magical_hub.evaluation.plots import histograms, sheet
from magical_hub.evaluation.search import LEAST, LEVEL, Compared, Search, control, search
from magical_hub.evaluation.section import LeftOut, Section, Verdict
from magical_hub.metrics import mixture_likelihood

MOST = 1000
"""The most Gaussians, and a third of the training images that they are fitted to: every pair is compared."""
POWER = 0.5
"""The share of each kind of planted copy that a search must find to be called good."""
SHOWN = 6
QUESTION = "Does a generated image copy a training image?"


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
    found = search(evidence)
    planted = control(evidence, found)
    p_values = found.p_values
    suspicious = np.flatnonzero(p_values.min(0) <= found.bound)
    copies = sorted({*suspicious.tolist(), *(row for row, _ in exact)})
    copied = bool(copies) or any(found.alarms.values())
    weakest = min(kind["share"] for kind in planted.values())
    return Section(
        name="leakage",
        question=QUESTION,
        verdict=Verdict.BAD if copied else Verdict.GOOD if weakest >= POWER else Verdict.WEAK,
        statement=_statement(copies, found.alarms, planted),
        scores={
            "copies_found": float(len(copies)),
            "exact_copies": float(len(exact)),
            "leakage_p_value": min(1.0, len(found.tests) * min(found.tests.values())),
            **_likelihood_gaps(evidence),
            **{
                f"planted_found_{kind.replace(' ', '_')}": found_of_kind["share"]
                for kind, found_of_kind in planted.items()
            },
        },
        details={
            "level": LEVEL,
            "tests": [{"test": name, "p_value": p, "alarm": found.alarms[name]} for name, p in found.tests.items()],
            "single_image_bound": found.bound,
            "generated": len(evidence.generated),
            "train": len(evidence.train),
            "held_out": len(unseen),
            "parts_of_train": found.compared[0].parts,
            "kinds": found.kinds,
            "positive_control": planted,
            "exact_copies": _named(exact, evidence),
            "suspicious": _suspicious(suspicious, p_values, found, evidence),
            "memorisation": dict(
                zip(evidence.generated.names, np.round(found.compared[0].generated.worst, 4).tolist(), strict=True)
            ),
        },
        pictures=_pictures(found.compared, evidence),
    )


def _exact_copies(evidence: Evidence) -> list[tuple[int, int]]:
    """Rows of generated images, and of the training images that they equal."""
    known = {sha: row for row, sha in enumerate(evidence.train.digests)}
    return [(row, known[sha]) for row, sha in enumerate(evidence.generated.digests) if sha in known]


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


def _likelihood_gaps(evidence: Evidence) -> dict[str, float | None]:
    """How much likelier training images are than held-out ones under the generated images; and under other training
    images in their place, neither of which is a copy of those that the mixture is fitted to."""
    order = evidence.train.shuffled(evidence.seed)
    count = min(len(evidence.compared), len(order) // 2, MOST)
    real, made = order.take(count), evidence.compared.take(count)
    fitted, held_out = order.after(count).take(3 * MOST), evidence.reference.take(MOST)
    features = [np.asarray(evidence.cache.features(images)) for images in (made, real, fitted, held_out)]
    try:
        ours, theirs = (mixture_likelihood(centres, *features[2:]) for centres in features[:2])
    except DataError:  # all training images are alike
        return {"likelihood_gap": None, "likelihood_gap_real": None}
    return {"likelihood_gap": ours.fitted - ours.held_out, "likelihood_gap_real": theirs.fitted - theirs.held_out}


def _statement(copies: list[int], alarms: dict[str, bool], control: dict[str, dict[str, Any]]) -> str:
    planted = "; ".join(
        "{} {} of {} ({:.0%} to {:.0%})".format(kind, found["found"], found["planted"], *found["interval_95"])
        for kind, found in control.items()
    )
    sensitivity = f"Of planted copies this search finds: {planted}."
    if copies:
        return f"COPIES FOUND: {len(copies)} generated images. {sensitivity}"
    alarming = ", ".join(name for name, alarm in alarms.items() if alarm)
    if alarming:
        return f"COPYING FOUND, though no single image can be named: {alarming}. {sensitivity}"
    return f"No copying found at this sensitivity. {sensitivity}"


def _suspicious(rows: np.ndarray, p_values: np.ndarray, found: Search, evidence: Evidence) -> list[dict[str, Any]]:
    """Images that alarm, the worst first, with the view that shows it."""
    listed = []
    for row in rows[np.argsort(p_values[:, rows].min(0))]:
        one = found.compared[int(p_values[:, row].argmin())]
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
