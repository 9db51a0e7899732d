"""One step of MAGICal, in the paper's order.

Steps 2 to 6 of the paper draw sub-regions for the critic, sub-regions for the generator and a window for the boundary
loss. Here the generated sub-regions of a step ARE the sub-regions of its windows, each window of one latent: the
critic judges them, and the generator then gets the adversarial, the location and the boundary term of the same
sub-regions in one update and from one pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

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


@dataclass(frozen=True)
class Batch:
    """What goes through the networks at once: a draw, or one of its parts."""

    draw: Draw
    labels: torch.Tensor | None
    """(B,) classes."""
    asked: Asked
    fake: torch.Tensor | None = None
    """(B, C, H, W) generated windows that both players learn from; None where each makes them for itself."""


Losses = dict[str, torch.Tensor]
"""Terms by name, which add up to a player's loss."""


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
            batches = [self._batch(part) for part in draw.parts(self.config.gradient_accumulation)]
            if len(batches) == 1 and number == len(draws) - 1:
                # One pass serves both players. Several would keep the memory that cutting the draw is to save.
                batches = [replace(batches[0], fake=self._generate(batches[0]))]
            figures |= self._update(self.critic, self.critic_optimizer, batches, self.critic_losses)  # 3. train D
        # 4. and 6. train G, boundary loss included
        return figures | self._update(self.generator, self.generator_optimizer, batches, self.generator_losses)

    def critic_losses(self, batch: Batch) -> tuple[Losses, dict[str, torch.Tensor]]:
        """-L_W + L_GP (or what stands for them) + L_C on real (and, at choice, generated) sub-regions; figures."""
        weight, asked = self.config.lambda_c, batch.asked
        with torch.no_grad():
            fake = asked.see(self._generate(batch) if batch.fake is None else batch.fake.detach())
        twice = None if asked.labels is None else asked.labels.repeat(2)
        judged = self.critic(torch.cat([asked.real, fake]), asked.locations.repeat(2), twice, asked.window)
        on_real, on_fake = _halves(judged)
        terms = {
            "critic/adversarial": self.game.critic(on_real.score, on_fake.score),
            "critic/location": weight * self._classify(on_real, asked),
        }
        penalty = self._penalty(asked.real, fake, asked, batch.draw.number)
        if penalty is not None:
            terms["critic/penalty"] = penalty
        if self.config.classify_fakes:
            terms["critic/location_fake"] = weight * self._classify(on_fake, asked)
        return terms, {
            "critic/location_accuracy": (on_real.location_logits.argmax(1) == asked.members).float().mean(),
            "critic/score_real": on_real.score.mean(),
            "critic/score_fake": on_fake.score.mean(),
        }

    def generator_losses(self, batch: Batch) -> tuple[Losses, dict[str, torch.Tensor]]:
        """-E[D(G(z, c'))] (or what stands for it) + L_C on the sub-regions + L_B on the windows that they make up."""
        config, window_grid, asked = self.config, self.grid.window(self.window), batch.asked
        fake = self._generate(batch) if batch.fake is None else batch.fake

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
        return terms, {}

    def _batch(self, draw: Draw) -> Batch:
        real, labels = self.crop(draw)  # 1. crop: psi(x, c')
        draw = draw.to(real.device)
        return Batch(draw, labels, self._ask(draw, real, labels))

    def _generate(self, batch: Batch) -> torch.Tensor:
        """2. draw z and c', generate; 5. all sub-regions of a window from one z."""
        draw = batch.draw
        return self.generator(draw.latents, draw.locations, batch.labels, seeds=draw.noise_seeds, window=self.window)

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

    def _update(
        self,
        player: nn.Module,
        optimizer: torch.optim.Optimizer,
        batches: Sequence[Batch],
        losses_of: Callable[[Batch], tuple[Losses, dict[str, torch.Tensor]]],
    ) -> dict[str, torch.Tensor]:
        """One update from the mean over the batches, which are of one size; returns the mean terms and figures.

        Every term is a mean over a batch, so the gradient is that of all batches at once, up to rounding.
        """
        optimizer.zero_grad()
        means: dict[str, torch.Tensor] = {}
        for number, batch in enumerate(batches):
            # Processes share their gradients once, when they are whole.
            with nullcontext() if number == len(batches) - 1 else self.accelerator.no_sync(player):
                terms, figures = losses_of(batch)
                self.accelerator.backward(torch.stack(list(terms.values())).sum() / len(batches))
            for name, value in {**terms, **figures}.items():
                part = value.detach() / len(batches)
                means[name] = means[name] + part if name in means else part
        if self.config.max_grad_norm is not None:
            # Not by accelerator.clip_grad_norm_, which takes fp16's scale off the gradients of ALL optimizers: an
            # overflow that the other player's last update left behind would then lower the scale once more.
            self.accelerator.unscale_gradients(optimizer)
            parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
            nn.utils.clip_grad_norm_(parameters, self.config.max_grad_norm)
        optimizer.step()
        return means


def _halves(judged: CriticOutput) -> tuple[CriticOutput, CriticOutput]:
    """The answers on the first and on the second half of a joined batch."""
    halves = [dict[str, torch.Tensor](), dict[str, torch.Tensor]()]
    for key, value in judged.items():
        for half, part in zip(halves, value.chunk(2), strict=True):
            half[key] = part
    return CriticOutput(**halves[0]), CriticOutput(**halves[1])
