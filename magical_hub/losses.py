"""The losses of MAGICal (Chang, Choi and Han 2023), each a pure function of tensors, in the paper's order.

The critic minimises   -wasserstein + gradient_penalty + location term on real (and, at choice, fake) sub-regions;
the generator minimises -mean(D(fake)) + location term on fake sub-regions + boundary.

The default replaces wasserstein and gradient_penalty by relativistic and zero_centred_penalty, which train faster
(docs/quality.md has the figures).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F

from magical_hub.grid import Grid

Score = Callable[[torch.Tensor], torch.Tensor]
"""From images (B, C, h, w) to scores (B,); the score of an image may depend on that image alone."""

LAMBDA_GP = 10.0
"""Weight of the gradient penalty in the paper."""

LAMBDA_B = 205.0
"""Weight of the boundary loss in the authors' code."""


def wasserstein(real_scores: torch.Tensor, fake_scores: torch.Tensor) -> torch.Tensor:
    """L_W = E[D(x)] - E[D(G(z, c'))]: the critic maximises it, the generator its part -E[D(G(z, c'))].

    Args:
        real_scores: (B,) scores of real sub-regions.
        fake_scores: (B,) scores of generated ones.

    Returns:
        A scalar.
    """
    return real_scores.mean() - fake_scores.mean()


def gradient_penalty(
    score: Score,
    real: torch.Tensor,
    fake: torch.Tensor,
    coefficients: torch.Tensor,
    weight: float = LAMBDA_GP,
) -> torch.Tensor:
    """L_GP = lambda_GP * E[(norm2(grad_xhat D(xhat)) - 1)^2], xhat = a * real + (1 - a) * fake.

    Gulrajani et al. 2017, as the paper uses it: `real` and `fake` pair up sub-regions of the same location.

    Args:
        score: from images (B, C, h, w) to scores (B,); the score of an image may depend on that image alone.
        real: (B, C, h, w).
        fake: (B, C, h, w).
        coefficients: (B,) the random a in [0, 1], one per sample.
        weight: lambda_GP.

    Returns:
        A scalar that can be differentiated again.
    """
    # Plain arithmetic, since torch.lerp has no second derivative for all of its forms.
    a = coefficients.view(-1, 1, 1, 1)
    between = (a * real.detach() + (1 - a) * fake.detach()).requires_grad_()
    (gradient,) = torch.autograd.grad(score(between).sum(), between, create_graph=True)
    # A norm of exactly zero has no finite derivative: the tiny term keeps the penalty's gradient finite there.
    norm = (gradient.flatten(1).square().sum(1) + 1e-12).sqrt()
    return weight * (norm - 1).square().mean()


def relativistic(better: torch.Tensor, worse: torch.Tensor) -> torch.Tensor:
    """E[softplus(-(D(better) - D(worse)))] over pairs (Jolicoeur-Martineau 2019; Huang et al. 2024, "R3GAN").

    The critic minimises it with the real image of each pair as `better`, the generator with the fake one. The two
    share a location, so that only their content differs. Since every real image is in a pair, a generator that drops a
    mode has a loss at every real image of that mode.

    Args:
        better: (B,) scores that should be the higher ones.
        worse: (B,) scores of their partners.

    Returns:
        A scalar.
    """
    return F.softplus(worse - better).mean()


def zero_centred_penalty(score: Score, images: torch.Tensor, weight: float | torch.Tensor) -> torch.Tensor:
    """weight / 2 * E[norm2(grad_x D(x))^2] (Mescheder et al. 2018): R1 on real images, R2 on generated ones.

    Args:
        score: from images (B, C, h, w) to scores (B,); the score of an image may depend on that image alone.
        images: (B, C, h, w).
        weight: gamma.

    Returns:
        A scalar that can be differentiated again.
    """
    images = images.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(score(images).sum(), images, create_graph=True)
    return weight / 2 * gradient.flatten(1).square().sum(1).mean()


def auxiliary_classifier(logits: torch.Tensor, labels: torch.Tensor, weight: float = 1.0) -> torch.Tensor:
    """One term of -L_C = -E[log P(C = c' given x)], to be minimised: a cross-entropy.

    Called with real sub-regions (the critic) and with fake ones (the generator and, as the formula says, the critic).

    Args:
        logits: (B, classes).
        labels: (B,) int64.
        weight: of samples whose label is not 0. It is a constant, and the mean is not divided by the sum of weights,
            so that the mean over equal parts of a batch is that over the whole.

    Returns:
        A scalar.
    """
    each = F.cross_entropy(logits.float(), labels, reduction="none")
    return torch.where(labels > 0, weight * each, each).mean()


def boundary(windows: torch.Tensor, grid: Grid, thickness: int = 1, weight: float = LAMBDA_B) -> torch.Tensor:
    """L_B: squared difference of the last pixel lines of a band of sub-regions and the first lines of the next.

    weight * (mean over row seams of (r_i,bottom - r_i+1,top)^2
              + mean over column seams of (c_i,right - c_i+1,left)^2)

    The means run over seams, pixels, channels and images. The paper's sum over the n - 1 seams divided by n is
    (n - 1) / n of that in each direction. With a thickness t > 1, line j of the last t is compared with line j of the
    first t.

    Args:
        windows: (B, C, H, W) windows of sub-regions of one latent each, joined.
        grid: the grid of the window (`grid.window((3, 3))`), not of the whole image.
        thickness: lines on each side of a seam.
        weight: lambda_B.

    Returns:
        A scalar; zero for a window of a single sub-region.
    """
    loss = windows.new_zeros((), dtype=torch.float32)
    for first, second in grid.seam_lines(windows, thickness):
        if first.numel():  # a single band has no inner seam
            loss = loss + F.mse_loss(first.float(), second.float())
    return weight * loss
