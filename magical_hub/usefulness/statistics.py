"""Paired differences over draws: their sign-flip test and their bootstrap interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

RESAMPLES = 20_000
LEAST = 3
"""Draws from which on there is an interval."""


@dataclass(frozen=True)
class Difference:
    """Of two arms over the draws that both have.

    Attributes:
        draws: how many.
        mean: of the differences.
        low, high: the 95 % percentile bootstrap interval of the mean over draws; NaN with fewer than three draws.
        p: two-sided p-value of the sign-flip test, exact where there are few draws.
    """

    draws: int
    mean: float
    low: float
    high: float
    p: float


def difference(ours: np.ndarray, theirs: np.ndarray) -> Difference:
    """Of paired scores (draws,)."""
    values = np.asarray(ours, np.float64) - np.asarray(theirs, np.float64)
    if len(values) < LEAST or not values.any():
        nothing = float(values.mean()) if len(values) else float("nan")
        return Difference(len(values), nothing, float("nan"), float("nan"), 1.0)
    flipped = stats.permutation_test(
        (values,), np.mean, permutation_type="samples", n_resamples=RESAMPLES, rng=np.random.default_rng(0)
    )
    drawn = stats.bootstrap(
        (values,), np.mean, n_resamples=RESAMPLES, method="percentile", rng=np.random.default_rng(0)
    )
    low, high = drawn.confidence_interval
    return Difference(len(values), float(values.mean()), float(low), float(high), float(flipped.pvalue))


def share_closed(ours: np.ndarray, real: np.ndarray, oracle: np.ndarray) -> float:
    """The share of the way from the real defects to the oracle that an arm closes, in the mean of its draws."""
    way = float(np.mean(oracle) - np.mean(real))
    return float((np.mean(ours) - np.mean(real)) / way) if way > 0 else float("nan")
