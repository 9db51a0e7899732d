"""The scores against scikit-learn's, and how often an interval of no difference misses zero."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score, roc_auc_score

from magical_hub.evaluation.usefulness.resampling import auroc, balanced_accuracy, image_weights, macro_f1
from magical_hub.metrics.paired import difference_over_resamples


@pytest.fixture(params=[2, 4], ids=["two classes", "four classes"])
def answers(request):
    """Probabilities (90, C), classes, and weights of five resamples."""
    rng = np.random.default_rng(request.param)
    labels = np.arange(90) % request.param
    logits = rng.normal(size=(90, request.param)) + 1.5 * np.eye(request.param)[labels]
    scores = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return scores.round(2), labels, image_weights(labels, 5, rng)


def test_scores_are_those_of_scikit_learn(answers):
    scores, labels, weights = answers
    for row, weight in enumerate(weights):
        drawn = np.repeat(np.arange(len(labels)), weight.astype(int))
        said, truth = scores[drawn], labels[drawn]
        one_a_class = [roc_auc_score(truth == c, said[:, c]) for c in range(scores.shape[1])]
        assert auroc(scores, labels, weights)[row] == pytest.approx(np.mean(one_a_class), abs=1e-2)
        assert macro_f1(scores, labels, weights)[row] == pytest.approx(
            f1_score(truth, said.argmax(1), average="macro")
        )
        assert balanced_accuracy(scores, labels, weights)[row] == pytest.approx(
            balanced_accuracy_score(truth, said.argmax(1))
        )


def test_ties_count_half():
    scores = np.array([[0.5, 0.5], [0.5, 0.5], [0.1, 0.9], [0.5, 0.5]])
    assert auroc(scores, np.array([0, 0, 1, 1]), np.ones((1, 4), np.float32)) == pytest.approx(0.75)


def test_weights_keep_the_number_of_images_of_every_class():
    labels = np.array([0] * 20 + [1] * 3)
    weights = image_weights(labels, 50, np.random.default_rng(0))
    assert (weights[0] == 1).all() and len(np.unique(weights[1:], axis=0)) > 40
    assert (weights[:, :20].sum(1) == 20).all() and (weights[:, 20:].sum(1) == 3).all()


def test_an_interval_of_no_difference_seldom_misses_zero_and_one_of_a_great_one_always_does():
    """Two arms of the same skill on 60 test images under 8 seeds, 200 times over, at 95 %."""
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 2
    missed = found = 0
    for _ in range(200):
        weights = image_weights(labels, 300, rng)
        ease = rng.normal(size=60)
        arms = []
        for skill in (1.0, 1.0, 4.0):
            own = ease + rng.normal(size=60)  # what one arm finds hard, under every seed
            logits = [skill * (2 * labels - 1) + own + 0.3 * rng.normal(size=60) for _ in range(8)]
            arms.append(np.stack([auroc(np.stack([-one, one], 1), labels, weights) for one in logits]))
        _, low, high = difference_over_resamples(arms[1], arms[0], rng, 0.95)
        missed += low > 0 or high < 0
        found += difference_over_resamples(arms[2], arms[0], rng, 0.95)[1] > 0
    assert missed <= 20  # 5 % are 10; more than 20 come once in 500 times
    assert found >= 195
