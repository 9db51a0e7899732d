"""One step against values worked out by hand: formulas of the paper in NumPy, for networks small enough for it.

The critic's score is s(x, c) = (u + e_c) . x + q |x|^2 / 2, with the gradient u + e_c + q x; its location logits are
V x. The generator makes the sub-region M_c z. The optimizers are plain gradient descent.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from float64 import float64
from torch import nn

from magical_hub import Grid, TrainingConfig
from magical_hub.models import CriticOutput
from magical_hub.training.adaptive import NUMBERS, AdaptiveAugmentation, AdaptivePenalty
from magical_hub.training.batch import Batch
from magical_hub.training.method import Method
from magical_hub.training.step import TrainingStep

GRID = Grid(2, 3, 4, 6)
PIXELS, LATENT, RATE, FACTOR = 4, 3, 0.05, 0.3
"""Of a sub-region of 2 x 2; of a latent; of both optimizers; by which lambda_r is multiplied."""
MEMBERS = np.array([[0, 1, 3, 4], [1, 2, 4, 5]])
"""Two windows of 2 x 2 sub-regions."""
PAPER = {"critic_input": "sub_regions", "adversarial": "wasserstein", "lambda_b": 205.0, "classify_fakes": True}


class Critic(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.u, self.e = nn.Parameter(torch.randn(PIXELS)), nn.Parameter(torch.randn(6, PIXELS))
        self.q, self.v = nn.Parameter(torch.randn(())), nn.Parameter(torch.randn(6, PIXELS))

    def forward(self, images, locations, class_labels=None, window=(1, 1), defect_labels=None, in_pairs=False):
        x = GRID.window(window).crop_all(images).flatten(0, 1).flatten(1)
        direction = self.u + self.e[GRID.members(locations, window).flatten()]
        return CriticOutput((x * direction).sum(1) + self.q * x.square().sum(1) / 2, x @ self.v.T)


class Generator(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.m = nn.Parameter(0.3 * torch.randn(6, PIXELS, LATENT))

    def forward(self, latents, locations, class_labels=None, defect_labels=None, seeds=None, window=(1, 1)):
        cells = torch.einsum("bnpl,bl->bnp", self.m[GRID.members(locations, window)], latents)
        return GRID.window(window).stitch(cells.unflatten(2, (1, 2, 2)))


class Case:
    """A step, its batch, and the same numbers in NumPy."""

    def __init__(self, number: int, **settings: Any) -> None:
        torch.manual_seed(0)
        common = {"data": "x", "output_dir": "y", "augment": "off", "batch_size": 2, "lambda_c": 0.7}
        self.config = TrainingConfig(**common, image_size=(4, 6), rows=2, cols=3, **settings)
        self.networks = {"critic": Critic(), "generator": Generator()}
        optimizers = {name: torch.optim.SGD(of.parameters(), RATE) for name, of in self.networks.items()}
        penalty = AdaptivePenalty(0.65, torch.device("cpu"))
        penalty.factor.fill_(FACTOR)
        augmentation = AdaptiveAugmentation(0.5, 100, 2, torch.device("cpu"))
        method = Method(self.config, self.networks, None, augmentation, penalty)
        self.step = TrainingStep(self.config, Accelerator(), method, self.networks, optimizers)
        self.batch = Batch(
            number=number,
            window=(2, 2),
            pixels=torch.randint(256, (2, 1, 4, 4), dtype=torch.uint8),
            locations=torch.from_numpy(MEMBERS[:, 0]),
            members=torch.from_numpy(MEMBERS),
            class_labels=None,
            defect_maps=None,
            latents=torch.randn(2, LATENT),
            noise_seeds=torch.arange(2),
            interpolation=torch.rand(2, 4),
            augmentation=torch.rand(2, 2, NUMBERS),
        )
        self.c = MEMBERS.flatten()
        self.z = self.batch.latents.numpy().repeat(4, 0)
        windows = self.batch.pixels.numpy() / 127.5 - 1
        self.real = np.array([x[0, i : i + 2, j : j + 2].ravel() for x in windows for i in (0, 2) for j in (0, 2)])
        self.fake = np.array([m @ z for m, z in zip(self.weights("generator")["m"][self.c], self.z, strict=True)])

    def weights(self, network: str) -> dict[str, np.ndarray]:
        return {name: value.detach().numpy().copy() for name, value in self.networks[network].named_parameters()}


def score(w: dict[str, np.ndarray], x: np.ndarray, c: np.ndarray) -> np.ndarray:
    return (x * (w["u"] + w["e"][c])).sum(1) + w["q"] * (x**2).sum(1) / 2


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def cross_entropy(w: dict[str, np.ndarray], x: np.ndarray, c: np.ndarray) -> float:
    return float(-np.log(softmax(x @ w["v"].T)[np.arange(len(c)), c]).mean())


def seams(cells: np.ndarray) -> tuple[float, np.ndarray]:
    """Squared differences of the lines that meet, the means over rows and columns added; and the gradient."""
    x = cells.reshape(2, 2, 2, 2, 2)  # window, row and column of the sub-region, row and column of the pixel
    gradient, total = np.zeros_like(x), 0.0
    for window in range(2):
        for other in range(2):
            for pixel in range(2):
                above, below = (window, 0, other, 1, pixel), (window, 1, other, 0, pixel)
                left, right = (window, other, 0, pixel, 1), (window, other, 1, pixel, 0)
                for one, two in ((above, below), (left, right)):
                    difference = x[one] - x[two]
                    total += difference**2 / 8  # 2 windows, 2 columns (or rows) of sub-regions, 2 pixels
                    gradient[one] += difference / 4
                    gradient[two] -= difference / 4
    return total, gradient.reshape(cells.shape)


@float64()
def test_a_step_of_the_paper_by_hand():
    """All terms with their signs, and the weights of both networks after an update."""
    case = Case(1, **PAPER)
    config, c, real, fake, n = case.config, case.c, case.real, case.fake, len(case.c)
    w, m = case.weights("critic"), case.weights("generator")["m"]
    terms = {name: float(value) for name, value in case.step([case.batch]).items()}

    a = case.batch.interpolation.numpy().reshape(-1, 1)
    between = a * real + (1 - a) * fake
    slope = w["u"] + w["e"][c] + w["q"] * between
    norm = np.sqrt((slope**2).sum(1, keepdims=True))
    assert terms["critic/adversarial"] == pytest.approx(-(score(w, real, c).mean() - score(w, fake, c).mean()))
    assert terms["critic/penalty"] == pytest.approx(10 * ((norm - 1) ** 2).mean())
    assert terms["critic/classification"] == pytest.approx(0.7 * cross_entropy(w, real, c))
    assert terms["critic/classification_fake"] == pytest.approx(0.7 * cross_entropy(w, fake, c))
    assert terms["critic/score_real"] == pytest.approx(score(w, real, c).mean())
    assert terms["critic/score_fake"] == pytest.approx(score(w, fake, c).mean())

    # The critic's gradients: -L_W + L_GP + L_C on real and on fake sub-regions.
    pull = 10 * 2 * (norm - 1) * slope / norm / n
    one_hot = np.eye(6)[c]
    by_sub_region = -(real - fake) / n + pull
    gradients = {
        "u": by_sub_region.sum(0),
        "e": one_hot.T @ by_sub_region,
        "q": -((real**2).sum() - (fake**2).sum()) / 2 / n + (pull * between).sum(),
        "v": 0.7 / n * sum((softmax(x @ w["v"].T) - one_hot).T @ x for x in (real, fake)),
    }
    updated = {name: w[name] - RATE * gradient for name, gradient in gradients.items()}
    for name, value in case.weights("critic").items():
        assert np.abs(value - updated[name]).max() < 1e-9, name
        assert np.abs(value - w[name]).max() > 1e-3, name

    # The generator, by the critic as it is now, minimises -E[D(G(z, c'))] + L_C + L_B of the same sub-regions.
    assert terms["generator/adversarial"] == pytest.approx(-score(updated, fake, c).mean())
    assert terms["generator/classification"] == pytest.approx(0.7 * cross_entropy(updated, fake, c))
    boundary, steps = seams(fake)
    assert terms["generator/boundary"] == pytest.approx(205 * boundary)
    by_pixel = -(updated["u"] + updated["e"][c] + updated["q"] * fake) / n
    by_pixel += 0.7 / n * (softmax(fake @ updated["v"].T) - one_hot) @ updated["v"]
    by_pixel += 205 * steps
    expected = m.copy()
    for location, pixels, z in zip(c, by_pixel, case.z, strict=True):
        expected[location] -= RATE * np.outer(pixels, z)
    assert np.abs(case.weights("generator")["m"] - expected).max() < 1e-9
    assert np.abs(expected - m).max() > 1e-3 and config.lambda_gp == 10


@float64()
@pytest.mark.parametrize("number", [4, 5])
def test_a_step_of_the_default_losses_by_hand(number):
    """Relativistic pairs of windows; R1 and R2 at every fourth update, four times as heavy, by the adapted factor."""
    case = Case(number)
    c, real, fake, w = case.c, case.real, case.fake, case.weights("critic")
    terms = {name: float(value) for name, value in case.step([case.batch]).items()}
    gap = score(w, real, c) - score(w, fake, c)
    assert terms["critic/adversarial"] == pytest.approx(np.log1p(np.exp(-gap)).mean())
    if number == 4:
        # Of a window, the mean of its four scores: its gradient is a quarter of each sub-region's.
        weight = 0.5 * 4 * FACTOR / 2
        slopes = [(w["u"] + w["e"][c] + w["q"] * x).reshape(2, -1) / 4 for x in (real, fake)]
        penalty = sum((slope**2).sum(1).mean() for slope in slopes)
        assert terms["critic/penalty"] == pytest.approx(weight * penalty)
    else:
        assert "critic/penalty" not in terms
    updated = case.weights("critic")
    gap = score(updated, fake, c) - score(updated, real, c)
    assert terms["generator/adversarial"] == pytest.approx(np.log1p(np.exp(-gap)).mean())
    assert terms["generator/boundary"] == 0  # the seamless generator's weight
    assert terms["critic/adversarial"] != pytest.approx(math.log(2), abs=1e-3)
