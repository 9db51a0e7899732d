"""One step of MAGICal, in the paper's order.

Steps 2 to 6 of the paper draw sub-regions for the critic, sub-regions for the generator and a window for the boundary
loss. Here the generated sub-regions of a step ARE the sub-regions of its windows, each window of one latent: the
critic judges them, and the generator then gets the adversarial, the location and the boundary term of the same
sub-regions in one update and from one pass.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from accelerate import Accelerator
from torch import nn

from magical_hub import losses
from magical_hub.grid import Grid
from magical_hub.models import CriticOutput, MagicalCritic
from magical_hub.training.config import TrainingConfig
from magical_hub.training.sampling import Draw

Crop = Callable[[Draw], tuple[torch.Tensor, torch.Tensor | None]]
"""From a draw to its real windows (B, C, H, W) in [-1, 1] and their class labels (B,), or None."""


class TrainingStep:
    """The two players, their optimizers and the update of both.

    Args:
        config: the weights of the losses.
        grid: the grid of the canvas.
        accelerator: owns devices, precision and processes.
        generator, critic: as `accelerator.prepare` gave them.
        generator_optimizer, critic_optimizer: likewise.
        crop: gives the real windows of a draw.
    """

    def __init__(
        self,
        config: TrainingConfig,
        grid: Grid,
        accelerator: Accelerator,
        generator: nn.Module,
        critic: nn.Module,
        generator_optimizer: torch.optim.Optimizer,
        critic_optimizer: torch.optim.Optimizer,
        crop: Crop,
    ) -> None:
        self.config, self.grid, self.accelerator, self.crop = config, grid, accelerator, crop
        self.generator, self.critic = generator, critic
        self.generator_optimizer, self.critic_optimizer = generator_optimizer, critic_optimizer
        self.window = (config.window_rows, config.window_cols)
        # The generator's update needs no gradient of the critic's weights, so it goes round the wrapper that shares them.
        self.bare_critic: MagicalCritic = accelerator.unwrap_model(critic)

    def __call__(self, draws: list[Draw]) -> dict[str, torch.Tensor]:
        """One update of the generator and one of the critic a draw; returns each loss term and figure by name."""
        figures: dict[str, torch.Tensor] = {}
        for number, draw in enumerate(draws):
            real, labels = self.crop(draw)  # 1. crop: psi(x, c')
            draw = draw.to(real.device)
            with torch.set_grad_enabled(number == len(draws) - 1):  # only the last fakes train the generator
                fake = self.generator(  # 2. draw z and c', generate; 5. all sub-regions of a window from one z
                    draw.latents, draw.locations, labels, seeds=draw.noise_seeds, window=self.window
                )
            figures |= self.update_critic(real, fake.detach(), draw, labels)  # 3. train D
        return figures | self.update_generator(fake, draw, labels)  # 4. and 6. train G, boundary loss included

    def update_critic(
        self, real: torch.Tensor, fake: torch.Tensor, draw: Draw, labels: torch.Tensor | None
    ) -> dict[str, torch.Tensor]:
        """-L_W + L_GP + L_C on real (and, at choice, generated) sub-regions."""
        config = self.config
        twice = None if labels is None else torch.cat([labels, labels])
        judged = self.critic(torch.cat([real, fake]), torch.cat([draw.locations, draw.locations]), twice, self.window)
        real_score, fake_score = judged.score.chunk(2)
        members = self.grid.members(draw.locations, self.window).flatten()
        member_labels = None if labels is None else labels.repeat_interleave(len(members) // len(labels))
        on_real, on_fake = _halves(judged)
        terms = {
            "critic/wasserstein": -losses.wasserstein(real_score, fake_score),
            "critic/gradient_penalty": self._penalty(real, fake, draw.coefficients, members, member_labels),
            "critic/location": config.lambda_c * self._classify(on_real, members, member_labels),
        }
        if config.classify_fakes:
            terms["critic/location_fake"] = config.lambda_c * self._classify(on_fake, members, member_labels)
        self._update(self.critic_optimizer, terms)
        accuracy = (on_real.location_logits.argmax(1) == members).float().mean()
        return {**terms, "critic/location_accuracy": accuracy}

    def update_generator(
        self, fake: torch.Tensor, draw: Draw, labels: torch.Tensor | None
    ) -> dict[str, torch.Tensor]:
        """-E[D(G(z, c'))] + L_C on the generated sub-regions + L_B on the windows that they make up."""
        config = self.config
        self.bare_critic.requires_grad_(False)
        judged = self.bare_critic(fake, draw.locations, labels, self.window)
        self.bare_critic.requires_grad_(True)
        members = self.grid.members(draw.locations, self.window).flatten()
        member_labels = None if labels is None else labels.repeat_interleave(len(members) // len(labels))
        terms = {
            "generator/adversarial": -judged.score.mean(),
            "generator/location": config.lambda_c * self._classify(judged, members, member_labels),
            "generator/boundary": losses.boundary(
                fake, self.grid.window(self.window), config.boundary_thickness, config.lambda_b
            ),
        }
        self._update(self.generator_optimizer, terms)
        return terms

    def _penalty(
        self,
        real: torch.Tensor,
        fake: torch.Tensor,
        coefficients: torch.Tensor,
        members: torch.Tensor,
        labels: torch.Tensor | None,
    ) -> torch.Tensor:
        """L_GP over single sub-regions, in float32: its second derivative loses too much in 16 bits."""
        cut = self.grid.window(self.window).crop_all

        def score(images: torch.Tensor) -> torch.Tensor:
            return self.bare_critic.judge(images, members, labels).score

        with torch.autocast(real.device.type, enabled=False):
            return losses.gradient_penalty(
                score, cut(real).flatten(0, 1), cut(fake).flatten(0, 1), coefficients, self.config.lambda_gp
            )

    def _classify(self, judged: CriticOutput, members: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        loss = losses.auxiliary_classifier(judged.location_logits, members)
        if labels is not None and judged.class_logits is not None:
            loss = loss + losses.auxiliary_classifier(judged.class_logits, labels)
        return loss

    def _update(self, optimizer: torch.optim.Optimizer, terms: dict[str, torch.Tensor]) -> None:
        optimizer.zero_grad()
        self.accelerator.backward(torch.stack(list(terms.values())).sum())
        optimizer.step()


def _halves(judged: CriticOutput) -> tuple[CriticOutput, CriticOutput]:
    """The answers on the first and on the second half of a joined batch."""
    halves = [dict[str, torch.Tensor](), dict[str, torch.Tensor]()]
    for key, value in judged.items():
        for half, part in zip(halves, value.chunk(2), strict=True):
            half[key] = part
    return CriticOutput(**halves[0]), CriticOutput(**halves[1])
