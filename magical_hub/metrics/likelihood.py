"""How likely real images are under the generated ones: of poor, of narrow and of copied images less so."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from magical_hub.errors import DataError

STEPS = 50
"""The most rounds of fitting; they stop earlier where nothing changes."""
FLOOR = 1e-3
"""The least variance of a Gaussian, as a share of what all of them start from: that of a copy would be 0."""


class Likelihood(NamedTuple):
    """Mean log likelihood of an image, in nats for 100 features: of those the mixture was fitted to, and of others."""

    fitted: float
    held_out: float


def mixture_likelihood(generated: np.ndarray, train: np.ndarray, held_out: np.ndarray) -> Likelihood:
    """How likely real images are under a mixture of Gaussians around the generated ones.

    After the feature likelihood divergence of Jiralerspong et al. (NeurIPS 2023): each generated image is the middle
    of a round Gaussian of equal weight, whose variance is fitted to the training images (here by expectation and
    maximisation, which has no rates to choose). The Gaussian of a copy shrinks to the training image that it copies:
    that one becomes very likely, and held-out images lose a Gaussian. So copying lowers the likelihood of held-out
    images, and widens the gap to that of the training images.

    Features are brought to a mean of 0 and a deviation of 1 over the training images; what never varies is left out.

    Args:
        generated, train, held_out: features (N, F), (M, F) and (K, F).

    Returns:
        Two figures; they can be compared where F, the network and the number of generated images are the same.

    Raises:
        DataError: where fewer than 2 images are given of a kind, or all of training are alike.
    """
    for name, features in (("generated", generated), ("training", train), ("held-out", held_out)):
        if len(features) < 2:
            raise DataError(f"{len(features)} {name} images have no likelihood: there must be at least 2")
    varies = np.asarray(train).std(0) > 1e-6
    if not varies.any():
        raise DataError("all training images have the same features: look at the images that they come from")
    mean, deviation = np.asarray(train)[:, varies].mean(0), np.asarray(train)[:, varies].std(0)
    centres, fitted, scored = (
        torch.from_numpy((np.asarray(some)[:, varies] - mean) / deviation).float()
        for some in (generated, train, held_out)
    )
    squares = _squares(fitted, centres)
    dimensions = int(varies.sum())
    variances = _fit(squares, dimensions)
    densities = (_log_densities(some, variances, dimensions) for some in (squares, _squares(scored, centres)))
    return Likelihood(*(100 / dimensions * float(some.logsumexp(1).mean()) for some in densities))


def _squares(points: Tensor, centres: Tensor) -> Tensor:
    """Squared distances (N, M), by differences: those of a copy are rounded away by a product of matrices."""
    return torch.cdist(points, centres, compute_mode="donot_use_mm_for_euclid_dist").double().square()


def _fit(squares: Tensor, dimensions: int) -> Tensor:
    """Variances (M,) of the Gaussians that make points at squared distances (N, M) most likely."""
    start = squares.amin(1).mean().clamp(min=1e-12) / dimensions
    variances = start.expand(squares.shape[1])
    for _ in range(STEPS):
        shares = _log_densities(squares, variances, dimensions).softmax(1)  # of each Gaussian in each point
        weights = shares.sum(0)
        # A Gaussian that no point is near to keeps the variance that it had.
        better = torch.where(weights > 1e-9, (shares * squares).sum(0) / (dimensions * weights), variances)
        better = better.clamp(min=FLOOR * float(start))
        done = torch.allclose(better, variances, rtol=1e-6)
        variances = better
        if done:
            break
    return variances


def _log_densities(squares: Tensor, variances: Tensor, dimensions: int) -> Tensor:
    """Log of each Gaussian's part in each point's density, (N, M)."""
    constant = dimensions * torch.log(2 * torch.pi * variances) / 2 + np.log(len(variances))
    return -squares / (2 * variances) - constant
