"""The losses of MAGICal (Chang, Choi and Han 2023), in the paper's order: what each network minimises on a batch.

A loss is returned as its terms by name; the network minimises their sum. The formulas are in losses.py. Beyond the
paper, by default: relativistic pairs in place of the Wasserstein loss, a critic of windows in place of one of single
sub-regions, adaptive augmentation, a second critic on frozen features, and a verifier of labels.

The paper draws sub-regions for the critic, sub-regions for the generator and a window for the boundary loss. Here the
sub-regions of a step are those of its windows, each window generated from one latent, and serve all three.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from accelerate.utils import extract_model_from_parallel
from torch import nn
from torch.nn.utils.parametrize import cached

from magical_hub import losses
from magical_hub.models import CriticOutput, FeatureCritic, FrozenFeatures, MagicalCritic
from magical_hub.models.layers import full_precision
from magical_hub.training.adaptive import AdaptiveAugmentation, AdaptivePenalty, augment
from magical_hub.training.batch import Batch, Conditioning, Targets
from magical_hub.training.config import TrainingConfig

REAL, FAKE = 0, 1

Terms = dict[str, torch.Tensor]
"""Scalars by name: terms of a loss, or figures to watch."""


@dataclass(frozen=True)
class Images:
    """Real or generated windows, as they are and as the critics take them."""

    windows: torch.Tensor
    """(B, C, H, W) in [-1, 1]."""
    augmented: torch.Tensor
    """The same after augmentation: (B, C, H, W), or its sub-regions, (B * n, C, h, w)."""
    features: list[torch.Tensor] | None
    """Frozen features of those, the finest scale first; None while the feature critic is not enabled."""


@dataclass(frozen=True)
class Inputs:
    """A batch on its way through the networks."""

    batch: Batch
    real: Images
    conditioning: Conditioning
    targets: Targets
    fake: Images | None = None
    """Generated images that several losses share; where it is None, each loss generates them anew."""


class Method:
    """The loss of each network.

    Args:
        config: the weights of the terms, and the grid of the canvas.
        networks: by name, as of `TrainingStep`.
        features: the frozen network that the feature critic takes its features from.
        augmentation: how strongly the critics' images are augmented.
        penalty: the factor of the penalty, and whether the feature critic is enabled.
    """

    def __init__(
        self,
        config: TrainingConfig,
        networks: Mapping[str, nn.Module],
        features: FrozenFeatures | None,
        augmentation: AdaptiveAugmentation,
        penalty: AdaptivePenalty,
    ) -> None:
        self.config, self.window_grid = config, config.grid.window(config.window)
        self.networks, self.features = networks, features
        self.augmentation, self.penalty = augmentation, penalty
        # Without DistributedDataParallel: for passes that need no gradients of the weights.
        unwrapped: dict[str, Any] = {name: extract_model_from_parallel(network) for name, network in networks.items()}
        self.unwrapped_critic: MagicalCritic = unwrapped["critic"]
        self.unwrapped_feature_critic: FeatureCritic | None = unwrapped.get("feature_critic")
        self.windows_to_critic = config.critic_input == "windows"

    # -- 1. Crop: psi(x, c') ------------------------------------------------------------------------------------------

    @torch.no_grad()
    def prepare(self, batch: Batch) -> Inputs:
        """The real images of a batch, what they are conditioned on, and what is to be found in them."""
        conditioning, targets = batch.conditioning(self.windows_to_critic), batch.targets()
        return Inputs(batch, self._images(batch.real, batch, REAL), conditioning, targets)

    # -- 2. Draw z and c', generate G(z, c'); 5. all sub-regions of a window from one z -------------------------------

    def generate(self, inputs: Inputs) -> Images:
        """Windows of the same locations, labels and defects as the real ones."""
        batch = inputs.batch
        conditioning = batch.locations, batch.class_labels, batch.defect_maps
        windows = self.networks["generator"](batch.latents, *conditioning, batch.noise_seeds, batch.window)
        return self._images(windows, batch, FAKE)

    def _images(self, windows: torch.Tensor, batch: Batch, kind: int) -> Images:
        augmented = self._augmented(windows, batch, kind)
        features = self.features(augmented) if self.features is not None and self.penalty.balanced else None
        return Images(windows, augmented, features)

    def _augmented(self, windows: torch.Tensor, batch: Batch, kind: int) -> torch.Tensor:
        if self.config.augment != "off":
            windows = augment(windows, batch.augmentation[:, kind], self.augmentation.strength)
        return windows if self.windows_to_critic else self.window_grid.crop_all(windows).flatten(0, 1)

    # -- 3. Train D ---------------------------------------------------------------------------------------------------

    def critic(self, inputs: Inputs) -> tuple[Terms, Terms]:
        """-L_W + L_GP - L_C (or what is configured in place of the first two); figures."""
        config, targets = self.config, inputs.targets
        with torch.no_grad():
            fake = inputs.fake or self.generate(inputs)
        fake_images = fake.augmented.detach()
        joined = torch.cat([inputs.real.augmented, fake_images])
        output = self.networks["critic"](joined, *inputs.conditioning.twice())
        halves = zip(*(value.chunk(2) for value in output.values()), strict=True)
        on_real, on_fake = (CriticOutput(**dict(zip(output, half, strict=True))) for half in halves)

        # L_W = E[D(x)] - E[D(G(z, c'))], which the critic maximises
        if config.adversarial == "wasserstein":
            adversarial = -losses.wasserstein(on_real.score, on_fake.score)
        else:
            adversarial = losses.relativistic(better=on_real.score, worse=on_fake.score)

        # L_GP
        terms = {"critic/adversarial": adversarial, **self._penalty(inputs, fake_images)}

        # -L_C, on real sub-regions; and on generated ones, as in the paper's formula but not in the authors' code
        terms["critic/classification"] = config.lambda_c * self._classification(on_real, targets)
        if config.classify_fakes:
            terms["critic/classification_fake"] = config.lambda_c * self._classification(on_fake, targets)

        # Beyond the paper: the critic on frozen features
        if fake.features is not None:
            terms |= self._feature_critic(inputs, fake.features)

        return terms, {
            "critic/location_accuracy": (on_real.location_logits.argmax(1) == targets.locations).float().mean(),
            "critic/score_real": on_real.score.mean(),
            "critic/score_fake": on_fake.score.mean(),
        }

    def _penalty(self, inputs: Inputs, fake: torch.Tensor) -> Terms:
        """L_GP, between real and generated images of the same locations; or R1 and R2, every so many updates."""
        config, real, score = self.config, inputs.real.augmented, self._score(inputs)
        with full_precision(fake.device):  # a second derivative loses too much in 16 bits
            if config.adversarial == "wasserstein":
                a = inputs.batch.interpolation
                a = a[:, 0] if self.windows_to_critic else a.flatten()
                return {"critic/penalty": losses.gradient_penalty(score, real, fake, a, config.lambda_gp)}
            if inputs.batch.number % config.penalty_every:
                return {}
            # As much heavier as they come less often (Karras et al. 2020).
            weight = (config.lambda_r * config.penalty_every * self.penalty.factor).to(real.dtype)
            r1 = losses.zero_centred_penalty(score, real, weight)
            return {"critic/penalty": r1 + losses.zero_centred_penalty(score, fake, weight)}

    def _score(self, inputs: Inputs) -> losses.Score:
        """The mean score of each image, by the critic without wrappers: that of Accelerate is an autocast."""
        forward = type(self.unwrapped_critic).forward

        def score(images: torch.Tensor) -> torch.Tensor:
            output = forward(self.unwrapped_critic, images, *inputs.conditioning)
            return output.score.unflatten(0, (len(images), -1)).mean(1)

        return score

    def update_norms(self) -> None:
        """One power iteration of the feature critic's spectral norms: once an update, in however many passes."""
        if self.unwrapped_feature_critic is not None and self.penalty.balanced:
            self.unwrapped_feature_critic.update_norms()

    def _feature_critic(self, inputs: Inputs, fake: list[torch.Tensor]) -> Terms:
        """Relativistic pairs of the cells of each scale, the mean over the scales; -L_C of the defects."""
        assert inputs.real.features is not None
        both = [torch.cat([real, made.detach()]) for real, made in zip(inputs.real.features, fake, strict=True)]
        output = self.networks["feature_critic"](both, *inputs.conditioning.twice())
        scales = [losses.relativistic(*score.chunk(2)) for score in output.scores]
        terms = {"critic/feature_adversarial": torch.stack(scales).mean()}
        if output.defect_logits is not None:
            classification = self._defect_classification(output.defect_logits.chunk(2)[0], inputs.targets)
            terms["critic/feature_defects"] = self.config.lambda_c * classification
        return terms

    # -- 4. Train G; 6. with the boundary loss ------------------------------------------------------------------------

    def generator(self, inputs: Inputs) -> tuple[Terms, Terms]:
        """-E[D(G(z, c'))] (or what is configured in its place) - L_C + L_B, of the same sub-regions; no figures."""
        config = self.config
        fake = inputs.fake or self.generate(inputs)
        with _frozen(self.unwrapped_critic):
            output = self.unwrapped_critic(fake.augmented, *inputs.conditioning)

            # -E[D(G(z, c'))]
            if config.adversarial == "wasserstein":
                adversarial = -output.score.mean()
            else:
                real_score = self.unwrapped_critic(inputs.real.augmented, *inputs.conditioning).score
                adversarial = losses.relativistic(better=output.score, worse=real_score)

            terms = {
                "generator/adversarial": adversarial,
                # -L_C, on generated sub-regions
                "generator/classification": config.lambda_c * self._classification(output, inputs.targets),
                # L_B, over the windows that they make up
                "generator/boundary": losses.boundary(
                    fake.windows, self.window_grid, config.boundary_thickness, config.boundary_weight
                ),
            }
        if fake.features is not None:
            terms |= self._feature_generator(inputs, fake.features)
        return terms, {}

    def _feature_generator(self, inputs: Inputs, fake: list[torch.Tensor]) -> Terms:
        critic, config = self.unwrapped_feature_critic, self.config
        assert critic is not None and inputs.real.features is not None
        with _frozen(critic), cached():  # both passes with the same weights, divided by their spectral norms once
            with torch.no_grad():
                on_real = critic(inputs.real.features, *inputs.conditioning)
            on_fake = critic(fake, *inputs.conditioning)
        pairs = zip(on_fake.scores, on_real.scores, strict=True)
        scales = [losses.relativistic(better=made, worse=real) for made, real in pairs]
        terms = {"generator/feature_adversarial": config.lambda_f * torch.stack(scales).mean()}
        if on_fake.defect_logits is not None:
            classification = self._defect_classification(on_fake.defect_logits, inputs.targets)
            terms["generator/feature_defects"] = config.lambda_c * classification
        return terms

    # -- Beyond the paper: the verifier, on real sub-regions as they are ----------------------------------------------

    def verifier(self, inputs: Inputs) -> tuple[Terms, Terms]:
        """Cross-entropies of class and defect; figures."""
        labels, defects = inputs.targets.class_labels, inputs.targets.defects
        sub_regions = self.window_grid.crop_all(inputs.real.windows).flatten(0, 1)
        output = self.networks["verifier"](sub_regions, inputs.targets.locations)
        terms, figures = {}, {}
        if labels is not None:
            terms["verifier/class"] = losses.auxiliary_classifier(output.class_logits, labels)
            figures["verifier/class_accuracy"] = (output.class_logits.argmax(1) == labels).float().mean()
        if defects is not None:
            terms["verifier/defect"] = self._defect_classification(output.defect_logits, inputs.targets)
            figures["verifier/defect_accuracy"] = (output.defect_logits.argmax(1) == defects).float().mean()
        return terms, figures

    # -- L_C, and what the augmentation adapts to ---------------------------------------------------------------------

    def _classification(self, output: CriticOutput, targets: Targets) -> torch.Tensor:
        """-L_C: cross-entropies of the location and, where there are any, of the image's class and the defect."""
        loss = losses.auxiliary_classifier(output.location_logits, targets.locations)
        if output.class_logits is not None and targets.class_labels is not None:
            loss = loss + losses.auxiliary_classifier(output.class_logits, targets.class_labels)
        if output.defect_logits is not None:
            loss = loss + self._defect_classification(output.defect_logits, targets)
        return loss

    def _defect_classification(self, logits: torch.Tensor, targets: Targets) -> torch.Tensor:
        """A window drawn around a defect has it in one of its n sub-regions, as a rule: that one has a weight of n."""
        assert targets.defects is not None
        return losses.auxiliary_classifier(logits, targets.defects, self.window_grid.num_locations)

    @torch.no_grad()
    def mean_score(self, batch: Batch) -> torch.Tensor:
        """The critic's mean score of real windows, augmented as in training: a scalar."""
        images = self._augmented(batch.real, batch, REAL)
        return self.unwrapped_critic(images, *batch.conditioning(self.windows_to_critic)).score.mean()


@contextmanager
def _frozen(network: nn.Module) -> Iterator[None]:
    """Within it no gradients of the network's weights are computed, while those of its inputs are."""
    network.requires_grad_(False)
    try:
        yield
    finally:
        network.requires_grad_(True)
