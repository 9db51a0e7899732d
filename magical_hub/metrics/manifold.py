"""Whether single images are real-looking and whether all kinds of real image occur, by neighbourhoods of features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from magical_hub.metrics.features import checked_features


@dataclass(frozen=True)
class ManifoldScores:
    """The neighbourhood of an image is the ball that reaches to its k-th nearest neighbour of its own kind.

    Attributes:
        precision: share of fake images in the neighbourhood of some real image, 0 to 1.
        recall: share of real images in the neighbourhood of some fake image, 0 to 1.
        density: mean number of real neighbourhoods that a fake image is in, over k. From 0; about 1 is right, above
            it the fakes crowd where real images are dense.
        coverage: share of real images with a fake image in their neighbourhood, 0 to 1. Unlike recall, an odd fake
            image with its wide neighbourhood doesn't raise it.
    """

    precision: float
    recall: float
    density: float
    coverage: float


def manifold_scores(real: np.ndarray, fake: np.ndarray, k: int = 3) -> ManifoldScores:
    """Precision and recall (Kynkaanniemi et al., NeurIPS 2019), density and coverage (Naeem et al., ICML 2020).

    All depend on the number of images: compare figures only at equal numbers.

    Args:
        real, fake: features, (N, F) and (M, F).
        k: which neighbour a neighbourhood reaches to, the image itself not counted.

    Raises:
        DataError: where the features are unfit, or there are not more than k images of either kind.
    """
    real_features, fake_features = checked_features(real, fake, at_least=k + 1)
    between = _distances(real_features, fake_features)
    near_real = between <= _radii(real_features, k)[:, None]  # (N, M): is this fake in that real's neighbourhood?
    near_fake = between <= _radii(fake_features, k)[None, :]  # (N, M): is that real in this fake's neighbourhood?
    return ManifoldScores(
        precision=near_real.any(dim=0).double().mean().item(),
        recall=near_fake.any(dim=1).double().mean().item(),
        density=near_real.double().sum(dim=0).mean().item() / k,
        coverage=near_real.any(dim=1).double().mean().item(),
    )


def _distances(left: Tensor, right: Tensor) -> Tensor:
    # By differences rather than by a matrix product, so that equal images are at a distance of exactly 0.
    return torch.cdist(left, right, compute_mode="donot_use_mm_for_euclid_dist")


def _radii(features: Tensor, k: int) -> Tensor:
    return _distances(features, features).fill_diagonal_(torch.inf).kthvalue(k, dim=1).values
