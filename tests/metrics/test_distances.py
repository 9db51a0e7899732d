import sys

import numpy as np
import pytest
import scipy.linalg
import torch

from magical_hub.errors import DataError, MissingPackageError
from magical_hub.metrics import extract, frechet_distance, kid


def plain_kid(real, fake):
    """The unbiased estimator, term by term as in the paper."""

    def kernel(x, y):
        return (x @ y.T / x.shape[1] + 1) ** 3

    n, m = len(real), len(fake)
    within_real, within_fake = kernel(real, real), kernel(fake, fake)
    return (
        (within_real.sum() - np.trace(within_real)) / (n * (n - 1))
        + (within_fake.sum() - np.trace(within_fake)) / (m * (m - 1))
        - 2 * kernel(real, fake).mean()
    )


def test_kid_is_the_mean_of_the_plain_estimator_over_the_seeds_subsets(cell_features):
    real, fake = cell_features[:50].astype(float), cell_features[50:].astype(float)
    draw = torch.Generator().manual_seed(3)
    values = []
    for _ in range(10):
        chosen_real = torch.randperm(50, generator=draw)[:10].numpy()
        chosen_fake = torch.randperm(40, generator=draw)[:10].numpy()
        values.append(plain_kid(real[chosen_real], fake[chosen_fake]))
    result = kid(real, fake, subsets=10, subset_size=10, seed=3)
    assert result.mean == pytest.approx(np.mean(values))
    assert result.standard_error == pytest.approx(np.std(values) * np.sqrt(10 / (40 - 10)))


def test_kid_repeats_with_its_seed_and_leaves_the_callers_random_state(cell_features):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, again, other = (kid(cell_features[:45], cell_features[45:], subsets=5, seed=s) for s in (1, 1, 2))
    assert first == again != other
    assert torch.equal(before, torch.get_rng_state())


def test_standard_error_is_how_much_kid_varies_from_sample_to_sample():
    draw = np.random.default_rng(0)
    results = [kid(draw.normal(size=(60, 6)), draw.normal(0.5, 1, (60, 6)), subsets=20) for _ in range(30)]
    observed = np.std([result.mean for result in results])
    claimed = np.mean([result.standard_error for result in results])
    assert 0.7 < claimed / observed < 1.5


def test_halves_of_the_real_images_are_as_good_as_equal_and_blurred_ones_are_not(cells, cell_features, network):
    real, other = cell_features[:45], cell_features[45:]
    blurred_cells = cells[45:].reshape(45, 1, 32, 4, 32, 4).mean((3, 5)).repeat(4, axis=2).repeat(4, axis=3)
    blurred = extract(blurred_cells, network)
    halves, bad = kid(real, other), kid(real, blurred)
    assert abs(halves.mean) < 3 * halves.standard_error
    assert bad.mean > 10 * bad.standard_error
    assert frechet_distance(real, blurred) > 3 * frechet_distance(real, other)


def test_frechet_distance_is_that_of_scipys_matrix_root(cell_features):
    liveliest = cell_features.std(0).argsort()[-20:]  # fewer features than images: the root is well conditioned
    features = cell_features[:, liveliest].astype(float)
    real, fake = features[:45], 1.5 * features[45:] + 0.1
    cov_real, cov_fake = np.cov(real, rowvar=False), np.cov(fake, rowvar=False)
    expected = np.square(real.mean(0) - fake.mean(0)).sum() + np.trace(
        cov_real + cov_fake - 2 * scipy.linalg.sqrtm(cov_real @ cov_fake).real
    )
    assert frechet_distance(real, fake) == pytest.approx(expected, rel=1e-6)


def test_frechet_distance_of_a_shift_is_its_square(cell_features):
    features = cell_features[:, :200]  # more features than images, as in use: the covariance has no inverse
    assert frechet_distance(features, features + np.float32(0.5)) == pytest.approx(0.25 * 200, rel=1e-3)
    assert frechet_distance(features, features) == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("measure", [kid, frechet_distance])
@pytest.mark.parametrize(
    ("real", "fake", "message"),
    [
        (np.zeros((1, 4)), np.zeros((9, 4)), "real features"),
        (np.zeros((9, 4)), np.zeros((9, 5)), "fake features"),
        (np.zeros((9, 4)), np.zeros((9, 2, 2)), "fake features"),
        (np.zeros((9, 4)), np.full((9, 4), np.nan), "fake features hold NaN"),
    ],
)
def test_unfit_features_are_refused(measure, real, fake, message):
    with pytest.raises(DataError, match=message):
        measure(real, fake)


@pytest.mark.parametrize("size", [1, 8, 9])
def test_subsets_must_be_smaller_than_the_sets(size):
    with pytest.raises(DataError, match="give 2 to 7"):
        kid(np.zeros((8, 4)), np.zeros((12, 4)), subset_size=size)


@pytest.mark.parametrize(("measure", "module"), [(kid, "kid"), (frechet_distance, "fid")])
def test_missing_torchmetrics_says_how_to_get_it(measure, module, monkeypatch):
    monkeypatch.setitem(sys.modules, f"torchmetrics.image.{module}", None)
    with pytest.raises(MissingPackageError, match=r"magical-hub\[eval\]"):
        measure(np.eye(8), np.eye(8))
