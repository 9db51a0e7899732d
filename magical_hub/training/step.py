"""One step of MAGICal, in the paper's order.

Steps 2 to 6 of the paper draw sub-regions for the critic, sub-regions for the generator and a window for the boundary
loss. Here the generated sub-regions of a step ARE the sub-regions of its windows, each window of one latent: the
critic judges them, and the generator then gets the adversarial, the location and the boundary term of the same
sub-regions in one update and from one pass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

import torch
from accelerate import Accelerator
from torch import nn

from magical_hub import losses
from magical_hub.grid import Grid, Window
from magical_hub.models import CriticOutput, FeatureCritic, FrozenFeatures, MagicalCritic
from magical_hub.training.adversarial import choose_game
from magical_hub.training.augmentation import AdaptiveStrength, augment
from magical_hub.training.balance import Balance
from magical_hub.training.config import TrainingConfig
from magical_hub.training.sampling import Draw


@dataclass(frozen=True)
class Real:
    """The real windows of a draw, and what is known of their images."""

    windows: torch.Tensor
    """(B, C, H, W) in [-1, 1]."""
    labels: torch.Tensor | None
    """(B,) classes."""
    defects: torch.Tensor | None
    """(B, R, K) fields of defects of the whole images."""


Crop = Callable[[Draw], Real]


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
    defects: torch.Tensor | None
    """(B, R, K) fields of defects of the whole canvases."""
    coefficients: torch.Tensor
    """(B,) places between real and fake for the gradient penalty."""
    twins: bool
    """Whether images 2i and 2i + 1 are of one place and class (see StepSampler)."""

    def conditions(
        self, copies: int = 1
    ) -> tuple[torch.Tensor, torch.Tensor | None, Window, torch.Tensor | None, bool]:
        """What both critics take beside images (or features): of so many batches of them, one after the other."""
        labels = None if self.labels is None else self.labels.repeat(copies)
        defects = None if self.defects is None else self.defects.repeat(copies, 1, 1)
        return self.locations.repeat(copies), labels, self.window, defects, self.twins

    @property
    def member_defects(self) -> torch.Tensor | None:
        """Defects of all sub-regions, image by image."""
        if self.defects is None:
            return None
        members = self.members.unflatten(0, (len(self.locations), -1))
        return self.defects.flatten(1).gather(1, members).flatten()


@dataclass(frozen=True)
class Made:
    """What the generator made of a batch."""

    windows: torch.Tensor
    """(B, C, H, W)."""
    seen: torch.Tensor
    """As the critics see them."""
    features: list[torch.Tensor] | None
    """What the feature critic sees of them; None without it."""


@dataclass(frozen=True)
class Batch:
    """What goes through the networks at once: a draw, or one of its parts."""

    draw: Draw
    real: Real
    asked: Asked
    real_features: list[torch.Tensor] | None
    """What the feature critic sees of the real ones; None without it."""
    made: Made | None = None
    """Generated windows that all players learn from; None where each makes them for itself."""


Losses = dict[str, torch.Tensor]
"""Terms by name, which add up to a player's loss."""


class TrainingStep:
    """The players, their optimizers and the update of each.

    Args:
        config: the weights of the losses.
        grid: the grid of the canvas.
        accelerator: owns devices, precision and processes.
        optimizers: of the "generator", of the "critic" (of both critics, where there are two) and of the "verifier",
            as `accelerator.prepare` gave them.
        crop: gives the real windows of a draw.
        augmentation: how strongly what the critics see is altered, now.
        balance: whether the feature critic has joined in, and how heavy the penalties are.
        features: what the feature critic looks through; None without it.
        generator, critic, feature_critic, verifier: likewise prepared.
    """

    def __init__(
        self,
        config: TrainingConfig,
        grid: Grid,
        accelerator: Accelerator,
        optimizers: Mapping[str, torch.optim.Optimizer],
        crop: Crop,
        augmentation: AdaptiveStrength,
        balance: Balance,
        features: FrozenFeatures | None,
        *,
        generator: nn.Module,
        critic: nn.Module,
        feature_critic: nn.Module | None = None,
        verifier: nn.Module | None = None,
    ) -> None:
        self.augmentation, self.balance = augmentation, balance
        self.config, self.grid, self.accelerator, self.crop = config, grid, accelerator, crop
        self.generator, self.critic, self.feature_critic, self.verifier = generator, critic, feature_critic, verifier
        self.critics = [critic] if feature_critic is None else [critic, feature_critic]
        self.optimizers, self.features = optimizers, features
        self.game = choose_game(config, balance)
        self.window = config.window
        # The generator's update wants no gradient of the critics' weights: it goes round the wrapper that shares it.
        self.bare_critic: MagicalCritic = accelerator.unwrap_model(critic)
        self.bare_heads: FeatureCritic | None = None
        if feature_critic is not None:
            self.bare_heads = accelerator.unwrap_model(feature_critic)

    def __call__(self, draws: Sequence[Draw]) -> dict[str, torch.Tensor]:
        """One update of the generator and one of the critics a draw; returns each loss term and figure by name."""
        figures: dict[str, torch.Tensor] = {}
        for number, draw in enumerate(draws):
            batches = [self._batch(part) for part in draw.parts(self.config.gradient_accumulation)]
            if len(batches) == 1 and number == len(draws) - 1:
                # One pass serves both players. Several would keep the memory that cutting the draw is to save.
                batches = [replace(batches[0], made=self._make(batches[0]))]
            if self.bare_heads is not None and self.balance.reached:
                self.bare_heads.update_norms()
            figures |= self._update("critic", self.critics, batches, self.critic_losses)  # 3. train D
            if self.verifier is not None:
                figures |= self._update("verifier", [self.verifier], batches, self.verifier_losses)
        # 4. and 6. train G, boundary loss included
        return figures | self._update("generator", [self.generator], batches, self.generator_losses)

    def critic_losses(self, batch: Batch) -> tuple[Losses, dict[str, torch.Tensor]]:
        """-L_W + L_GP (or what stands for them) + L_C on real (and, at choice, generated) sub-regions; figures."""
        weight, asked = self.config.lambda_c, batch.asked
        with torch.no_grad():
            made = self._make(batch) if batch.made is None else batch.made
            fake = made.seen.detach()
        judged = self.critic(torch.cat([asked.real, fake]), *asked.conditions(2))
        on_real, on_fake = _halves(judged)
        terms = {
            "critic/adversarial": self.game.critic(on_real.score, on_fake.score),
            "critic/location": weight * self._classify(on_real, asked),
        }
        penalty = self._penalty(asked.real, fake, asked, batch.draw.number)
        if penalty is not None:
            terms["critic/penalty"] = penalty
        if batch.real_features is not None:
            terms |= self._judge_features(batch, made)
        if self.config.classify_fakes:
            terms["critic/location_fake"] = weight * self._classify(on_fake, asked)
        return terms, {
            "critic/location_accuracy": (on_real.location_logits.argmax(1) == asked.members).float().mean(),
            "critic/score_real": on_real.score.mean(),
            "critic/score_fake": on_fake.score.mean(),
        }

    def _judge_features(self, batch: Batch, made: Made) -> Losses:
        """The feature critic's side of its game: relativistic pairs of cells, the mean over the scales; L_C."""
        asked = batch.asked
        assert self.feature_critic is not None and batch.real_features is not None and made.features is not None
        both = [torch.cat([a, b.detach()]) for a, b in zip(batch.real_features, made.features, strict=True)]
        judged = self.feature_critic(both, *asked.conditions(2))
        terms = {"critic/features": _mean([losses.relativistic(*score.chunk(2)) for score in judged.scores])}
        if judged.defect_logits is not None:
            on_real = judged.defect_logits.chunk(2)[0]
            terms["critic/defects"] = self.config.lambda_c * self._classify_defects(on_real, asked)
        return terms

    def generator_losses(self, batch: Batch) -> tuple[Losses, dict[str, torch.Tensor]]:
        """-E[D(G(z, c'))] (or what stands for it) + L_C on the sub-regions + L_B on the windows that they make up."""
        config, window_grid, asked = self.config, self.grid.window(self.window), batch.asked
        made = self._make(batch) if batch.made is None else batch.made

        def judge(images: torch.Tensor) -> CriticOutput:
            return self.bare_critic(images, *asked.conditions())

        self.bare_critic.requires_grad_(False)
        judged = judge(made.seen)
        terms = {
            "generator/adversarial": self.game.generator(judged.score, lambda: judge(asked.real).score),
            "generator/location": config.lambda_c * self._classify(judged, asked),
            "generator/boundary": losses.boundary(
                made.windows, window_grid, config.boundary_thickness, config.boundary_weight
            ),
        }
        self.bare_critic.requires_grad_(True)
        if made.features is not None:
            terms |= self._deceive_features(batch, made)
        return terms, {}

    def verifier_losses(self, batch: Batch) -> tuple[Losses, dict[str, torch.Tensor]]:
        """Cross-entropies of the classes and the defects of real sub-regions as they are; figures."""
        assert self.verifier is not None
        asked, real = batch.asked, batch.real
        judged = self.verifier(self.grid.window(self.window).crop_all(real.windows).flatten(0, 1), asked.members)
        terms, figures = {}, {}
        if real.labels is not None:
            labels = real.labels.repeat_interleave(len(asked.members) // len(real.labels))
            terms["verifier/class"] = losses.auxiliary_classifier(judged.class_logits, labels)
            figures["verifier/class_accuracy"] = (judged.class_logits.argmax(1) == labels).float().mean()
        if (defects := asked.member_defects) is not None:
            terms["verifier/defect"] = self._classify_defects(judged.defect_logits, asked)
            figures["verifier/defect_accuracy"] = (judged.defect_logits.argmax(1) == defects).float().mean()
        return terms, figures

    def _deceive_features(self, batch: Batch, made: Made) -> Losses:
        """The generator's side of the feature critic's game; L_C."""
        assert self.bare_heads is not None and batch.real_features is not None and made.features is not None
        conditions = batch.asked.conditions()
        self.bare_heads.requires_grad_(False)
        with torch.no_grad():
            real = self.bare_heads(batch.real_features, *conditions)
        fake = self.bare_heads(made.features, *conditions)
        self.bare_heads.requires_grad_(True)
        pairs = zip(fake.scores, real.scores, strict=True)
        deceived = _mean([losses.relativistic(better=ours, worse=theirs) for ours, theirs in pairs])
        terms = {"generator/features": self.config.lambda_f * deceived}
        if fake.defect_logits is not None:
            terms["generator/defects"] = self.config.lambda_c * self._classify_defects(fake.defect_logits, batch.asked)
        return terms

    def _batch(self, draw: Draw) -> Batch:
        real = self.crop(draw)  # 1. crop: psi(x, c')
        draw = draw.to(real.windows.device)
        asked = self._ask(draw, real)
        with torch.no_grad():
            return Batch(draw, real, asked, self._look_through(asked.real))

    def _generate(self, batch: Batch) -> torch.Tensor:
        """2. draw z and c', generate; 5. all sub-regions of a window from one z."""
        draw, real = batch.draw, batch.real
        windows: torch.Tensor = self.generator(
            draw.latents, draw.locations, real.labels, real.defects, draw.noise_seeds, self.window
        )
        return windows

    def _make(self, batch: Batch) -> Made:
        windows = self._generate(batch)
        seen = batch.asked.see(windows)
        return Made(windows, seen, self._look_through(seen))

    def _look_through(self, images: torch.Tensor) -> list[torch.Tensor] | None:
        """What the feature critic sees of images; None without it, and before it joins in."""
        return self.features(images) if self.features is not None and self.balance.reached else None

    @torch.no_grad()
    def mean_score(self, draw: Draw, real: Real) -> torch.Tensor:
        """The critic's mean score of real windows that take no part in training, altered as those that do: ()."""
        asked = self._ask(draw.to(real.windows.device), real)
        return self.bare_critic(asked.real, *asked.conditions()).score.mean()

    def _ask(self, draw: Draw, real: Real) -> Asked:
        """What the critic is asked: about whole windows, or about each of their sub-regions alone."""
        members = self.grid.members(draw.locations, self.window)
        whole = self.config.critic_sees == "windows"
        cut = self.grid.window(self.window).crop_all

        def see(windows: torch.Tensor, kind: int) -> torch.Tensor:
            windows = augment(windows, draw.augmentation[:, kind], self.augmentation.strength)
            return windows if whole else cut(windows).flatten(0, 1)

        count = 1 if whole else members.shape[1]
        return Asked(
            real=see(real.windows, 0),
            see=lambda windows: see(windows, 1),
            locations=draw.locations if whole else members.flatten(),
            window=self.window if whole else (1, 1),
            members=members.flatten(),
            labels=None if real.labels is None else real.labels.repeat_interleave(count),
            defects=None if real.defects is None else real.defects.repeat_interleave(count, 0),
            coefficients=draw.coefficients[:, 0] if whole else draw.coefficients.flatten(),
            twins=whole and len(draw.locations) % 2 == 0,
        )

    def _penalty(self, real: torch.Tensor, fake: torch.Tensor, asked: Asked, number: int) -> torch.Tensor | None:
        """The penalty on the gradient, in float32: its second derivative loses too much in 16 bits."""

        def score(images: torch.Tensor) -> torch.Tensor:
            judged = self.bare_critic.judge(images, *asked.conditions())
            return judged.score.unflatten(0, (len(images), -1)).mean(1)

        with torch.autocast(real.device.type, enabled=False):
            return self.game.penalty(score, real, fake, asked.coefficients, number)

    def _classify(self, judged: CriticOutput, asked: Asked) -> torch.Tensor:
        loss = losses.auxiliary_classifier(judged.location_logits, asked.members)
        if asked.labels is not None and judged.class_logits is not None:
            count = len(asked.members) // len(asked.labels)
            loss = loss + losses.auxiliary_classifier(judged.class_logits, asked.labels.repeat_interleave(count))
        if judged.defect_logits is not None:
            loss = loss + self._classify_defects(judged.defect_logits, asked)
        return loss

    def _classify_defects(self, logits: torch.Tensor, asked: Asked) -> torch.Tensor:
        """L_C of the defects. A window drawn around one has one sub-region with it, as a rule: that counts for all."""
        assert asked.member_defects is not None
        return losses.auxiliary_classifier(logits, asked.member_defects, rare=self.window[0] * self.window[1])

    def _update(
        self,
        name: str,
        players: Sequence[nn.Module],
        batches: Sequence[Batch],
        losses_of: Callable[[Batch], tuple[Losses, dict[str, torch.Tensor]]],
    ) -> dict[str, torch.Tensor]:
        """One update from the mean over the batches, which are of one size; returns the mean terms and figures.

        Every term is a mean over a batch, so the gradient is that of all batches at once, up to rounding.
        """
        optimizer = self.optimizers[name]
        optimizer.zero_grad()
        means: dict[str, torch.Tensor] = {}
        for number, batch in enumerate(batches):
            with ExitStack() as apart:
                if number < len(batches) - 1:  # processes share their gradients once, when they are whole
                    for player in players:
                        apart.enter_context(self.accelerator.no_sync(player))
                terms, figures = losses_of(batch)
                self.accelerator.backward(torch.stack(list(terms.values())).sum() / len(batches))
            for key, value in {**terms, **figures}.items():
                part = value.detach() / len(batches)
                means[key] = means[key] + part if key in means else part
        if self.config.max_grad_norm is not None:
            # Not by accelerator.clip_grad_norm_, which takes fp16's scale off the gradients of ALL optimizers: an
            # overflow that the other player's last update left behind would then lower the scale once more.
            self.accelerator.unscale_gradients(optimizer)
            for player in players:
                nn.utils.clip_grad_norm_(player.parameters(), self.config.max_grad_norm)
        optimizer.step()
        return means


def _mean(terms: list[torch.Tensor]) -> torch.Tensor:
    return torch.stack(terms).mean()


def _halves(judged: CriticOutput) -> tuple[CriticOutput, CriticOutput]:
    """The answers on the first and on the second half of a joined batch."""
    halves = [dict[str, torch.Tensor](), dict[str, torch.Tensor]()]
    for key, value in judged.items():
        for half, part in zip(halves, value.chunk(2), strict=True):
            half[key] = part
    return CriticOutput(**halves[0]), CriticOutput(**halves[1])
