"""Paired differences of the scores of two arms, with their intervals: over draws, or over seeds and test images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

RESAMPLES = 20_000
LEAST = 3
"""Draws from which on there is an interval."""


@dataclass(frozen=True)
class Difference:
    """The difference of two arms over the draws that both have.

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


def difference_over_draws(ours: np.ndarray, theirs: np.ndarray) -> Difference:
    """The paired difference of scores (draws,)."""
    from scipy import stats  # here: it takes half a second

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


def difference_over_resamples(
    ours: np.ndarray, theirs: np.ndarray, rng: np.random.Generator, level: float
) -> tuple[float, float, float]:
    """The mean difference of two arms that share their seeds and test images, and its percentile interval.

    Args:
        ours, theirs: (S, 1 + B), a score for each seed: first with the test images as they are, then with each of B
            resamples of them.
        rng: draws the seeds of each resample.
        level: the confidence of the interval, 0 to 1.

    Returns:
        Difference, lower and upper end.
    """
    differences = (ours - theirs).astype(np.float64)
    seeds, resamples = differences.shape[0], differences.shape[1] - 1
    drawn = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=resamples) / seeds
    means = np.einsum("bs,sb->b", drawn, differences[:, 1:])
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(differences[:, 0].mean()), float(low), float(high)
