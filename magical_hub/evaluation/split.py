"""Are the held-out images held out, or do they show objects that were trained on?"""

from __future__ import annotations

import numpy as np

from magical_hub.evaluation.evidence import Evidence
from magical_hub.evaluation.hashes import NEAR, near_pairs
from magical_hub.evaluation.plots import sheet
from magical_hub.evaluation.section import LeftOut, Section, Verdict

QUESTION = "Are the held-out images held out?"
WARNING = (
    ": where both show the same object, figures measured on it are too good, and copies of it cannot be detected. "
    "Split by group, unless they are different objects that look alike."
)
SHOWN = 6
"""Pairs in the picture."""


def measure(evidence: Evidence) -> Section:
    """Near-duplicates across the split, by perceptual hash. Exact ones were refused before."""
    if evidence.holdout is None:
        raise LeftOut("no held-out images are known: give holdout")
    train, holdout = evidence.train, evidence.holdout
    pairs = near_pairs(evidence.cache.hashes(holdout), evidence.cache.hashes(train))
    touched = np.unique(pairs[:, 0])
    share = len(touched) / len(holdout)
    pictures = {}
    if len(pairs):
        first = pairs[np.unique(pairs[:, 0], return_index=True)[1]]
        first = first[np.argsort(first[:, 2], kind="stable")][:SHOWN]
        both = np.stack([holdout.read(first[:, 0]), train.read(first[:, 1])], axis=1)
        pictures = {
            "Held-out images, each with its near-duplicate in training": sheet(both.reshape(-1, *both.shape[2:]), 4)
        }
    return Section(
        name="split",
        question=QUESTION,
        verdict=Verdict.WEAK if len(touched) else Verdict.GOOD,
        statement=f"{len(touched)} of {len(holdout)} held-out images have a near-duplicate among {len(train)} "
        f"training images{WARNING if len(touched) else '.'}",
        scores={"split_near_duplicate_share": share},
        details={
            "train": len(train),
            "holdout": len(holdout),
            "hash": f"perceptual hash of 256 bits, {NEAR} of which may differ",
            "pairs": [
                {"holdout": holdout.names[held], "train": train.names[trained], "bits": int(bits)}
                for held, trained, bits in pairs[:50]
            ],
        },
        pictures=pictures,
    )
