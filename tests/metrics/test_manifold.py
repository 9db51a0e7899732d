import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from magical_hub.errors import DataError
from magical_hub.metrics import ManifoldScores, manifold_scores


def plain_scores(real, fake, k):
    """The definitions, an image at a time."""

    def radius(features, i):
        return sorted(np.linalg.norm(features - features[i], axis=1))[k]  # the 0th is the image itself

    real_radii = [radius(real, i) for i in range(len(real))]
    fake_radii = [radius(fake, j) for j in range(len(fake))]
    inside = [[np.linalg.norm(r - f) <= real_radii[i] for f in fake] for i, r in enumerate(real)]
    return ManifoldScores(
        precision=np.mean([any(inside[i][j] for i in range(len(real))) for j in range(len(fake))]),
        recall=np.mean([any(np.linalg.norm(r - f) <= fake_radii[j] for j, f in enumerate(fake)) for r in real]),
        density=sum(sum(row) for row in inside) / (k * len(fake)),
        coverage=np.mean([any(row) for row in inside]),
    )


def as_tuple(scores):
    return scores.precision, scores.recall, scores.density, scores.coverage


@pytest.mark.parametrize("k", [1, 3, 5])
def test_scores_are_those_of_the_definitions(cell_features, k):
    real, fake = cell_features[:40], cell_features[40:] * np.float32(1.05)
    assert as_tuple(manifold_scores(real, fake, k)) == pytest.approx(as_tuple(plain_scores(real, fake, k)))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(3, 20), m=st.integers(3, 20), k=st.integers(1, 2))
def test_scores_are_those_of_the_definitions_on_any_points(seed, n, m, k):
    draw = np.random.default_rng(seed)
    real, fake = draw.normal(size=(n, 3)), draw.normal(size=(m, 3))
    assert as_tuple(manifold_scores(real, fake, k)) == pytest.approx(as_tuple(plain_scores(real, fake, k)))


def test_scores_by_hand():
    real = np.array([[0.0], [1.0], [10.0], [11.0]])  # with k = 1 each neighbourhood has a radius of 1
    fake = np.array([[0.5], [0.6], [5.0], [5.1]])  # the nearest neighbours: 0.1 away
    scores = manifold_scores(real, fake, k=1)
    assert as_tuple(scores) == (0.5, 0.0, 1.0, 0.5)


def test_exact_copies_are_inside_and_far_images_outside(cell_features):
    assert as_tuple(manifold_scores(cell_features, cell_features))[:2] == (1, 1)
    assert as_tuple(manifold_scores(cell_features, cell_features + 100)) == (0, 0, 0, 0)
    one_image_again_and_again = np.repeat(cell_features[:1], 10, axis=0)
    scores = manifold_scores(cell_features, one_image_again_and_again)
    assert scores.precision == 1 and scores.recall == 1 / len(cell_features)


def test_halves_of_the_real_images_cover_each_other(cell_features):
    scores = manifold_scores(cell_features[:45], cell_features[45:])
    assert scores.precision > 0.7 and scores.recall > 0.7 and scores.coverage > 0.7
    assert 0.7 < scores.density < 1.4


def test_too_few_images_are_refused():
    with pytest.raises(DataError, match="N of 4 or more"):
        manifold_scores(np.zeros((9, 2)), np.zeros((3, 2)))
