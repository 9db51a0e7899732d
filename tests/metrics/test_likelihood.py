"""Against scipy's own densities and its own search for the best variances."""

import numpy as np
import pytest
from scipy import optimize, stats

from magical_hub.errors import DataError
from magical_hub.metrics import mixture_likelihood


def sets(seed=0, dimensions=3, counts=(8, 60, 40)):
    draw = np.random.default_rng(seed)
    return [draw.normal(size=(count, dimensions)).astype(np.float32) for count in counts]


def by_scipy(generated, train, held_out):
    """Variances by a general optimiser, densities by scipy: nats for 100 features of both sets."""
    mean, deviation = train.mean(0), train.std(0)
    centres, fitted, scored = ((some - mean) / deviation for some in (generated, train, held_out))

    def likelihood(points, variances):
        parts = [
            stats.multivariate_normal(centre, variance).pdf(points)
            for centre, variance in zip(centres, variances, strict=True)
        ]
        return float(np.log(np.mean(parts, axis=0)).mean())

    start = np.full(len(centres), np.log(np.square(fitted[:, None] - centres).sum(2).min(1).mean() / train.shape[1]))
    found = optimize.minimize(lambda logs: -likelihood(fitted, np.exp(logs)), start, method="L-BFGS-B")
    scale = 100 / train.shape[1]
    return scale * likelihood(fitted, np.exp(found.x)), scale * likelihood(scored, np.exp(found.x))


@pytest.mark.parametrize("seed", range(3))
def test_it_is_that_of_scipy(seed):
    images = sets(seed)
    assert mixture_likelihood(*images) == pytest.approx(by_scipy(*images), rel=0.01)


def test_copies_widen_the_gap_and_other_images_do_not():
    generated, train, held_out = sets(seed=5, dimensions=12, counts=(60, 80, 60))
    gaps = []
    for copied in (0, 6, 30):
        some = generated.copy()
        some[:copied] = train[:copied]
        fitted, unseen = mixture_likelihood(some, train, held_out)
        gaps.append(fitted - unseen)
    assert gaps[0] + 5 < gaps[1] < gaps[2] - 5
    assert np.isfinite(gaps).all()  # the Gaussian of a copy has a least variance


def test_poor_images_make_real_ones_unlikely():
    generated, train, held_out = sets(seed=6, dimensions=12)
    assert mixture_likelihood(generated + 3, train, held_out).held_out < (
        mixture_likelihood(generated, train, held_out).held_out - 20
    )


def test_what_never_varies_does_not_count():
    images = sets()
    padded = [np.concatenate([some, np.full((len(some), 2), 7, np.float32)], axis=1) for some in images]
    assert mixture_likelihood(*padded) == pytest.approx(mixture_likelihood(*images))


def test_unfit_images_are_refused():
    generated, train, held_out = sets()
    with pytest.raises(DataError, match="1 generated images have no likelihood"):
        mixture_likelihood(generated[:1], train, held_out)
    with pytest.raises(DataError, match="the same features"):
        mixture_likelihood(generated, np.ones_like(train), held_out)
