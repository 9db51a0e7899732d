"""One step of MAGICal, in the paper's order.

Steps 2 to 6 of the paper draw sub-regions for the critic, sub-regions for the generator and a window for the boundary
loss. Here the generated sub-regions of a step ARE the sub-regions of its windows, each window of one latent: the
critic judges them, and the generator then gets the adversarial, the location and the boundary term of the same
sub-regions in one update and from one pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch import nn

from magical_hub import losses
from magical_hub.grid import Grid, Window
from magical_hub.models import CriticOutput, MagicalCritic
from magical_hub.training.adversarial import choose_game
from magical_hub.training.augmentation import augment
from magical_hub.training.config import TrainingConfig
from magical_hub.training.sampling import Draw

Crop = Callable[[Draw], tuple[torch.Tensor, torch.Tensor | None]]
"""From a draw to its real windows (B, C, H, W) in [-1, 1] and their class labels (B,), or None."""


@dataclass(frozen=True)
class Asked:
    """What the critic is asked about a draw: B images of `window` sub-regions each."""

    real: torch.Tensor
    """Real ones, as the critic sees them."""
    see: Callable[[torch.Tensor], torch.Tensor]
    """From generated windows to generated images as the critic sees them."""
    locations: torch.Tensor
    """(B,) of the images' top-left sub-regions."""
    window: Window
    members: torch.Tensor
    """Locations of all sub-regions, image by image."""
    labels: torch.Tensor | None
    """(B,) classes."""
    coefficients: torch.Tensor
    """(B,) places between real and fake for the gradient penalty."""


class TrainingStep:
    """The two players, their optimizers and the update of both.

    Args:
        config: the weights of the losses.
        grid: the grid of the canvas.
        accelerator: owns devices, precision and processes.
        generator, critic: as `accelerator.prepare` gave them.
        optimizers: the generator's and the critic's, likewise.
        crop: gives the real windows of a draw.
        strength: how strong the augmentation of what the critic sees is, now.
    """

    def __init__(
        self,
        config: TrainingConfig,
        grid: Grid,
        accelerator: Accelerator,
        generator: nn.Module,
        critic: nn.Module,
        optimizers: Sequence[torch.optim.Optimizer],
        crop: Crop,
        strength: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.strength = strength
        self.config, self.grid, self.accelerator, self.crop = config, grid, accelerator, crop
        self.generator, self.critic = generator, critic
        self.generator_optimizer, self.critic_optimizer = optimizers
        self.game = choose_game(config)
        self.window = config.window
        # The generator's update wants no gradient of the critic's weights: it goes round the wrapper that shares it.
        self.bare_critic: MagicalCritic = accelerator.unwrap_model(critic)

    def __call__(self, draws: Sequence[Draw]) -> dict[str, torch.Tensor]:
        """One update of the generator and one of the critic a draw; returns each loss term and figure by name."""
        figures: dict[str, torch.Tensor] = {}
        for number, draw in enumerate(draws):
            real, labels = self.crop(draw)  # 1. crop: psi(x, c')
            draw = draw.to(real.device)
            with torch.set_grad_enabled(number == len(draws) - 1):  # only the last fakes train the generator
                fake = self.generator(  # 2. draw z and c', generate; 5. all sub-regions of a window from one z
                    draw.latents, draw.locations, labels, seeds=draw.noise_seeds, window=self.window
                )
            asked = self._ask(draw, real, labels)
            figures |= self.update_critic(asked.see(fake.detach()), asked, draw.number)  # 3. train D
        return figures | self.update_generator(fake, asked)  # 4. and 6. train G, boundary loss included

    def update_critic(self, fake: torch.Tensor, asked: Asked, number: int) -> dict[str, torch.Tensor]:
        """-L_W + L_GP (or what stands for them) + L_C on real (and, at choice, generated) sub-regions."""
        weight = self.config.lambda_c
        twice = None if asked.labels is None else asked.labels.repeat(2)
        judged = self.critic(torch.cat([asked.real, fake]), asked.locations.repeat(2), twice, asked.window)
        on_real, on_fake = _halves(judged)
        terms = {
            "critic/adversarial": self.game.critic(on_real.score, on_fake.score),
            "critic/location": weight * self._classify(on_real, asked),
        }
        penalty = self._penalty(asked.real, fake, asked, number)
        if penalty is not None:
            terms["critic/penalty"] = penalty
        if self.config.classify_fakes:
            terms["critic/location_fake"] = weight * self._classify(on_fake, asked)
        self._update(self.critic_optimizer, terms)
        return {
            **terms,
            "critic/location_accuracy": (on_real.location_logits.argmax(1) == asked.members).float().mean(),
            "critic/score_real": on_real.score.mean(),
            "critic/score_fake": on_fake.score.mean(),
        }

    def update_generator(self, fake: torch.Tensor, asked: Asked) -> dict[str, torch.Tensor]:
        """-E[D(G(z, c'))] (or what stands for it) + L_C on the sub-regions + L_B on the windows that they make up."""
        config, window_grid = self.config, self.grid.window(self.window)

        def judge(images: torch.Tensor) -> CriticOutput:
            return self.bare_critic(images, asked.locations, asked.labels, asked.window)

        self.bare_critic.requires_grad_(False)
        judged = judge(asked.see(fake))
        terms = {
            "generator/adversarial": self.game.generator(judged.score, lambda: judge(asked.real).score),
            "generator/location": config.lambda_c * self._classify(judged, asked),
            "generator/boundary": losses.boundary(
                fake, window_grid, config.boundary_thickness, config.boundary_weight
            ),
        }
        self.bare_critic.requires_grad_(True)
        self._update(self.generator_optimizer, terms)
        return terms

    @torch.no_grad()
    def mean_score(self, draw: Draw, real: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        """The critic's mean score of real windows that take no part in training, altered as those that do: ()."""
        asked = self._ask(draw.to(real.device), real, labels)
        return self.bare_critic(asked.real, asked.locations, asked.labels, asked.window).score.mean()

    def _ask(self, draw: Draw, real: torch.Tensor, labels: torch.Tensor | None) -> Asked:
        """What the critic is asked: about whole windows, or about each of their sub-regions alone."""
        members = self.grid.members(draw.locations, self.window)
        whole = self.config.critic_sees == "windows"
        cut = self.grid.window(self.window).crop_all

        def see(windows: torch.Tensor, kind: int) -> torch.Tensor:
            windows = augment(windows, draw.augmentation[:, kind], self.strength())
            return windows if whole else cut(windows).flatten(0, 1)

        each = None if labels is None or whole else labels.repeat_interleave(members.shape[1])
        return Asked(
            real=see(real, 0),
            see=lambda windows: see(windows, 1),
            locations=draw.locations if whole else members.flatten(),
            window=self.window if whole else (1, 1),
            members=members.flatten(),
            labels=labels if whole else each,
            coefficients=draw.coefficients[:, 0] if whole else draw.coefficients.flatten(),
        )

    def _penalty(self, real: torch.Tensor, fake: torch.Tensor, asked: Asked, number: int) -> torch.Tensor | None:
        """The penalty on the gradient, in float32: its second derivative loses too much in 16 bits."""

        def score(images: torch.Tensor) -> torch.Tensor:
            judged = self.bare_critic.judge(images, asked.locations, asked.labels, asked.window)
            return judged.score.unflatten(0, (len(images), -1)).mean(1)

        with torch.autocast(real.device.type, enabled=False):
            return self.game.penalty(score, real, fake, asked.coefficients, number)

    def _classify(self, judged: CriticOutput, asked: Asked) -> torch.Tensor:
        loss = losses.auxiliary_classifier(judged.location_logits, asked.members)
        if asked.labels is not None and judged.class_logits is not None:
            count = len(asked.members) // len(asked.labels)
            loss = loss + losses.auxiliary_classifier(judged.class_logits, asked.labels.repeat_interleave(count))
        return loss

    def _update(self, optimizer: torch.optim.Optimizer, terms: dict[str, torch.Tensor]) -> None:
        optimizer.zero_grad()
        self.accelerator.backward(torch.stack(list(terms.values())).sum())
        if self.config.max_grad_norm is not None:
            parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
            self.accelerator.clip_grad_norm_(parameters, self.config.max_grad_norm)
        optimizer.step()


def _halves(judged: CriticOutput) -> tuple[CriticOutput, CriticOutput]:
    """The answers on the first and on the second half of a joined batch."""
    halves = [dict[str, torch.Tensor](), dict[str, torch.Tensor]()]
    for key, value in judged.items():
        for half, part in zip(halves, value.chunk(2), strict=True):
            half[key] = part
    return CriticOutput(**halves[0]), CriticOutput(**halves[1])
