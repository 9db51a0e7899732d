"""How far the generated images' features are from the real ones', as two distributions: KID and the Frechet distance.

torchmetrics does the sums. It is imported where it is used, since it takes a second and comes with the extra `eval`.
"""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from magical_hub.errors import DataError
from magical_hub.extras import extra
from magical_hub.metrics.features import checked_features


class KID(NamedTuple):
    """Kernel distance: about 0 for two samples of one distribution (it may be just below); often shown times 1000."""

    mean: float
    standard_error: float


class _Extracted(nn.Identity):
    """A stand-in for the feature network of torchmetrics, since the features are computed already."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features


def kid(real: np.ndarray, fake: np.ndarray, subsets: int = 100, subset_size: int | None = None, seed: int = 0) -> KID:
    """Kernel inception distance (Binkowski et al., "Demystifying MMD GANs", ICLR 2018).

    The squared maximum mean discrepancy under the kernel (x.y / F + 1)^3, averaged over subsets drawn at random.
    Unbiased, so the one to use for few images.

    Args:
        real, fake: features, (N, F) and (M, F).
        subsets: how many subsets to average over.
        subset_size: images of each kind in a subset; half of the smaller set unless given.
        seed: of the subsets. The caller's random state is left as it was.

    Returns:
        The mean, and its standard error by the delete-d jackknife (Shao & Wu, 1989): the deviation over subsets times
        sqrt(m / (n - m)) for subsets of m out of n, the smaller set. The larger set varies less: then it is an upper
        estimate.

    Raises:
        DataError: where the features are unfit, or a subset can't be smaller than either set and larger than 1.
        MissingPackageError: without the extra `eval`.
    """
    real_features, fake_features = checked_features(real, fake, at_least=4)
    smaller = min(len(real), len(fake))
    size = smaller // 2 if subset_size is None else subset_size
    if not 2 <= size < smaller:
        raise DataError(f"subset_size is {size}: give 2 to {smaller - 1} for sets of {len(real)} and {len(fake)}")
    with extra("eval"):
        from torchmetrics.image.kid import KernelInceptionDistance

    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.filterwarnings("ignore", "Metric `Kernel Inception Distance`")  # it keeps the features
        torch.default_generator.manual_seed(seed)  # torchmetrics draws on the CPU; torch.manual_seed would touch GPUs
        metric = KernelInceptionDistance(_Extracted(real.shape[1]), subsets=subsets, subset_size=size)
        metric.update(real_features, real=True)
        metric.update(fake_features, real=False)
        mean, deviation = metric.compute()
    return KID(float(mean), float(deviation) * (size / (smaller - size)) ** 0.5)


def frechet_distance(real: np.ndarray, fake: np.ndarray) -> float:
    """Frechet distance between the Gaussians of both sets (Heusel et al., "TTUR", NeurIPS 2017).

    0 where they are equal. Biased upwards by few images: compare figures only at equal numbers, and with what two
    halves of the real images give.

    Args:
        real, fake: features, (N, F) and (M, F).

    Raises:
        DataError: where the features are unfit.
        MissingPackageError: without the extra `eval`.
    """
    real_features, fake_features = checked_features(real, fake, at_least=2)
    with extra("eval"):
        from torchmetrics.image.fid import FrechetInceptionDistance

    metric = FrechetInceptionDistance(_Extracted(real.shape[1]))
    metric.update(real_features, real=True)
    metric.update(fake_features, real=False)
    return float(metric.compute())
