"""The two games that can be played, a class each: the paper's, and the one that learns faster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch

from magical_hub import losses
from magical_hub.training.balance import Balance
from magical_hub.training.config import TrainingConfig

Score = Callable[[torch.Tensor], torch.Tensor]


class Game(Protocol):
    """What critic and generator minimise against each other."""

    def critic(self, real_scores: torch.Tensor, fake_scores: torch.Tensor) -> torch.Tensor:
        """The critic's loss."""

    def penalty(
        self, score: Score, real: torch.Tensor, fake: torch.Tensor, coefficients: torch.Tensor, number: int
    ) -> torch.Tensor | None:
        """What keeps the critic smooth, or None where update `number` goes without."""

    def generator(self, fake_scores: torch.Tensor, real_scores: Callable[[], torch.Tensor]) -> torch.Tensor:
        """The generator's loss; the real scores are worked out where they are asked for."""


class Wasserstein:
    """The paper's: L_W, and L_GP at every update."""

    def __init__(self, weight: float) -> None:
        self.weight = weight

    def critic(self, real_scores: torch.Tensor, fake_scores: torch.Tensor) -> torch.Tensor:
        return -losses.wasserstein(real_scores, fake_scores)

    def penalty(
        self, score: Score, real: torch.Tensor, fake: torch.Tensor, coefficients: torch.Tensor, number: int
    ) -> torch.Tensor | None:
        return losses.gradient_penalty(score, real, fake, coefficients, self.weight)

    def generator(self, fake_scores: torch.Tensor, real_scores: Callable[[], torch.Tensor]) -> torch.Tensor:
        return -fake_scores.mean()


class Relativistic:
    """Relativistic pairs with R1 and R2, which come every so many updates and as much heavier (Karras et al. 2020)."""

    def __init__(self, weight: float, every: int, balance: Balance) -> None:
        self.weight, self.every, self.balance = weight, every, balance

    def critic(self, real_scores: torch.Tensor, fake_scores: torch.Tensor) -> torch.Tensor:
        return losses.relativistic(better=real_scores, worse=fake_scores)

    def penalty(
        self, score: Score, real: torch.Tensor, fake: torch.Tensor, coefficients: torch.Tensor, number: int
    ) -> torch.Tensor | None:
        if number % self.every:
            return None
        weight = self.weight * self.every * self.balance.penalty_share
        return losses.zero_centred_penalty(score, real, weight) + losses.zero_centred_penalty(score, fake, weight)

    def generator(self, fake_scores: torch.Tensor, real_scores: Callable[[], torch.Tensor]) -> torch.Tensor:
        return losses.relativistic(better=fake_scores, worse=real_scores())


def choose_game(config: TrainingConfig, balance: Balance) -> Game:
    """The game that the configuration names."""
    if config.adversarial == "wasserstein":
        return Wasserstein(config.lambda_gp)
    return Relativistic(config.lambda_r, config.penalty_every, balance)
