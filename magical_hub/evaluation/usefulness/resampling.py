"""Scores over resampled test images.

They take weights of the test images and give one figure for each row of weights, so that thousands of resamples
are a few matrix products; scikit-learn, which the tests compare them with, would take minutes.
"""

from __future__ import annotations

import numpy as np


def image_weights(labels: np.ndarray, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """How often each test image is drawn, each class for itself so that none vanishes.

    Args:
        labels: (N,).
        resamples: how many times all are drawn anew.
        rng: draws.

    Returns:
        (1 + resamples, N) float32; the first row is all ones: the test images as they are.
    """
    weights = np.ones((1 + resamples, len(labels)), np.float32)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        weights[1:, members] = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), size=resamples)
    return weights


def auroc(scores: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Area under the ROC curve: the chance that a positive image scores above a negative one, ties counting half.

    With more than two classes, the mean over classes of each against the rest.

    Args:
        scores: (N, C), column c for class c.
        labels: (N,) from 0 to C - 1.
        weights: (B, N).

    Returns:
        (B,) from 0 to 1.
    """
    classes = range(scores.shape[1]) if scores.shape[1] > 2 else [1]
    return np.mean([_auroc(scores[:, c], labels == c, weights) for c in classes], axis=0)


def _auroc(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> np.ndarray:
    ours, theirs = weights[:, positive], weights[:, ~positive]
    steps = np.sign(scores[positive][:, None] - scores[~positive][None])
    wins = ((steps + 1) / 2).astype(np.float32)
    return ((ours @ wins) * theirs).sum(1, dtype=np.float64) / (ours.sum(1) * theirs.sum(1))


def macro_f1(scores: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean over classes of F1 of the class with the highest score; arguments and result as of `auroc`."""
    return np.mean(
        [2 * hit / (truly + predicted) for hit, truly, predicted in _counts(scores, labels, weights)], axis=0
    )


def balanced_accuracy(scores: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean over classes of the share that is found; arguments and result as of `auroc`."""
    return np.mean([hit / truly for hit, truly, _ in _counts(scores, labels, weights)], axis=0)


def _counts(
    scores: np.ndarray, labels: np.ndarray, weights: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """The numbers of images of each class that are found, that are of it, and that are predicted: (B,) each."""
    predicted = scores.argmax(1)
    of_class = [(labels == c, predicted == c) for c in range(scores.shape[1])]
    return [(weights @ (true & guess), weights @ true, weights @ guess) for true, guess in of_class]
