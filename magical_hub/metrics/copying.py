"""Tests of whether generated images are copies of training images, with held-out images for the null distribution.

Held-out images are not copies, and as near to the training images as other images of the product are. If
generated images are nearer than those, something was learned by heart. All distances are to one set, the training
images: distances to two sets of different sizes can't be compared, for among more images the nearest is nearer.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from magical_hub.metrics.neighbours import Neighbours

TAIL, LEAST_TAIL = 0.1, 15
"""Share of the null scores that the tail of their distribution is fitted to, and how many there are at least."""
PERMUTATIONS = 9999


def memorisation(neighbours: Neighbours) -> np.ndarray:
    """How much nearer the nearest image is than the next ones: the nearest distance over the mean of the others.

    After Carlini et al., "Extracting training data from diffusion models" (USENIX Security 2023). A blurred or an
    off-colour image is nearer to, or farther from, all images alike; a copy is near to one.

    Args:
        neighbours: of (N, k) distances, k of 2 and more.

    Returns:
        (N,), from 0, a copy, to 1, as near to many as to one. 1 too where all distances are 0: a sub-region that looks
        the same in many images is not a copy.
    """
    nearest, others = neighbours.distances[:, 0], neighbours.distances[:, 1:].mean(1)
    return np.divide(nearest, others, out=np.ones(len(nearest)), where=others > 0)


def nearer_test(generated: np.ndarray, held_out: np.ndarray) -> float:
    """Are generated images nearer to training images than held-out ones are (Meehan et al., AISTATS 2020)?

    Args:
        generated, held_out: (N,) and (M,), distances to the nearest training image.

    Returns:
        The p-value of Mann and Whitney's test, one-sided.
    """
    from scipy import stats  # here: it takes half a second

    return float(stats.mannwhitneyu(generated, held_out, alternative="less", method="asymptotic").pvalue)


def membership_test(
    train: Neighbours, held_out: Neighbours, num_train: int, num_held_out: int, seed: int = 0
) -> float:
    """Are generated images nearest to training images more often than chance would have it?

    Chance is the split: had the same images been shared out otherwise, the generated ones would have the same nearest
    real images, and as many of these in the training part as its size says. So the test holds for images of any
    quality, where a generator that leaves out odd images passes for a copier in `nearer_test`.

    Args:
        train: nearest training images of each generated image, or of each sub-region of it.
        held_out: nearest held-out images of the same.
        num_train, num_held_out: how many there are of either.
        seed: of the permutations.

    Returns:
        The p-value, one-sided, 1 / 10,000 at least.
    """
    from_train = train.distances[:, 0] <= held_out.distances[:, 0]
    own, other = train.indices[from_train, 0], held_out.indices[~from_train, 0]
    # How many generated images have a real image for their nearest one, and how many real images have so many of them.
    votes = np.concatenate([np.bincount(own, minlength=num_train), np.bincount(other, minlength=num_held_out)])
    weights, how_many = np.unique(votes, return_counts=True)
    draw = np.random.default_rng(seed)
    by_chance = draw.multivariate_hypergeometric(how_many, num_train, size=PERMUTATIONS, method="marginals") @ weights
    return float((1 + (by_chance >= len(own)).sum()) / (1 + PERMUTATIONS))


def crowd_test(generated: np.ndarray, held_out: np.ndarray, share: float = 0.02) -> float:
    """Are more generated than held-out images among the most suspicious?

    Args:
        generated, held_out: (N,) and (M,), scores; a low one is suspicious.
        share: which part of the held-out ones is called suspicious.

    Returns:
        The p-value: exact (negative hypergeometric), for the bound is itself drawn from few images.
    """
    from scipy import stats  # here: it takes half a second

    allowed = max(3, round(share * len(held_out)))
    bound = np.sort(held_out)[min(allowed, len(held_out)) - 1]
    found = int((generated < bound).sum())
    return float(stats.nhypergeom.sf(found - 1, len(generated) + len(held_out), len(generated), allowed))


def single_tests(scores: np.ndarray, null_scores: np.ndarray) -> np.ndarray:
    """Tests each image alone: whether it is more suspicious than images under the null hypothesis, without copying.

    A few blatant copies among many images shift no mean and no rank (Bhattacharjee et al., NeurIPS 2023). Their scores
    are beyond all null scores, where no count helps: the tail has to be continued. Distances to a nearest neighbour
    have a tail of a power, P(score < x) ~ x^a, with `a` the dimension that the images fill (Hill, 1975). Then
    log(bound / score) is exponential below a bound, and that of one more image over the sum of those of n null
    ones is above t with a chance of (1 + t)^-n: exact, whatever `a` is.

    Args:
        scores: (N,), of the images to test; a low one is suspicious.
        null_scores: (M,), scores that can't come from copying, 30 and more: those of generated images and images
            that were not used for training, as many as are searched for `scores`.

    Returns:
        p-values (N,); multiply by the number of images tested.
    """
    scores, ordered = np.maximum(scores, 1e-9), np.maximum(np.sort(null_scores), 1e-9)
    count = min(max(LEAST_TAIL, round(TAIL * len(ordered))), len(ordered) - 1)
    bound = ordered[count]
    logs = np.log(bound / ordered[:count]).sum()
    with np.errstate(divide="ignore", invalid="ignore"):
        beyond = (1 + np.log(bound / scores) / logs) ** -count
    return np.where(scores < bound, (count + 1) / (len(ordered) + 1) * beyond, 1.0)


def holm(p_values: Sequence[float], level: float) -> list[bool]:
    """Which of several tests alarm, so that all together give a false alarm with a chance of `level` at most.

    Holm, "A simple sequentially rejective multiple test procedure" (1979).
    """
    order = np.argsort(p_values)
    alarms = [False] * len(order)
    for rank, test in enumerate(order):
        if p_values[test] > level / (len(order) - rank):
            break
        alarms[test] = True
    return alarms
