"""The networks, optimizers and batches of one training, as the trainer puts them together."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from diffusers.training_utils import EMAModel
from torch import nn

import magical_hub
from magical_hub import MagicalCritic, TrainingConfig
from magical_hub.data import open_store
from magical_hub.grid import Grid
from magical_hub.training.adaptive import AdaptiveAugmentation, AdaptivePenalty
from magical_hub.training.batch import Batch, BatchDataset
from magical_hub.training.method import Method
from magical_hub.training.networks import build_feature_critic, build_optimizers, prepare
from magical_hub.training.step import TrainingStep


@dataclass(frozen=True)
class Case:
    """What is trained on what."""

    store: Path
    sub_region: int
    """Side of a sub-region in pixels; that of the canvas for a GAN on whole images."""
    generator: str = "MagicalGenerator"
    """Class in magical_hub."""
    settings: dict[str, Any] = field(default_factory=dict)
    """What differs from the defaults of TrainingConfig."""


class Players:
    """Generator, critic, their Adams and the average of the generator's weights, all on the accelerator's device."""

    def __init__(self, case: Case) -> None:
        self.store = open_store(case.store)
        rows, cols = self.store.height // case.sub_region, self.store.width // case.sub_region
        canvas = (self.store.height, self.store.width)
        kind: Any = "magical" if case.generator == "MagicalGenerator" else "seamless"
        self.config = TrainingConfig(
            data="",
            output_dir="",
            generator=kind,
            image_size=canvas,
            rows=rows,
            cols=cols,
            channels=3,
            **case.settings,
        )
        self.grid = Grid(rows, cols, *canvas)
        self.accelerator = Accelerator(mixed_precision=self.config.mixed_precision)
        torch.manual_seed(0)
        widths = {"base_width": self.config.base_width, "max_width": self.config.max_width}
        shape: dict[str, Any] = {"rows": rows, "cols": cols, "image_size": canvas, "channels": 3, **widths}
        more = {"base_picture": True} if kind == "seamless" else {}
        self.generator = getattr(magical_hub, case.generator)(**shape, **more, latent_dim=self.config.latent_dim)
        self.critic = MagicalCritic(**shape, same_location_pairs=self.config.critic_input == "windows")
        self.networks: dict[str, nn.Module] = {"generator": self.generator, "critic": self.critic}
        self.features, self.heads = build_feature_critic(self.config, self.generator)
        self.networks |= {} if self.heads is None else {"feature_critic": self.heads}
        for network in self.networks.values():
            network.to(self.accelerator.device)
        self.optimizers = build_optimizers(self.config, self.networks)
        self.ema = EMAModel(self.generator.parameters(), decay=self.config.ema_decay, foreach=True)
        self.dataset = BatchDataset(self.config, self.store, np.arange(len(self.store)))

    def training_step(self) -> TrainingStep:
        """The step of this library on these players, from now on channels-last and in the configured precision."""
        for network in (self.generator, self.critic):
            network.to(memory_format=torch.channels_last)
        device = self.accelerator.device
        augmentation = AdaptiveAugmentation(
            self.config.augment_target, self.config.augment_windows, self.config.batch_size, device
        )
        penalty = AdaptivePenalty(self.config.balanced_loss, device)
        penalty.balanced = True  # the feature critic, if any, is enabled
        networks, optimizers = prepare(self.accelerator, self.networks, self.optimizers)
        features = None if self.features is None else self.features.to(device)
        method = Method(self.config, networks, features, augmentation, penalty)
        return TrainingStep(self.config, self.accelerator, method, networks, optimizers)

    def batch(self, number: int) -> Batch:
        """The batch of that number, as the trainer reads it."""
        return self.dataset[number].to(self.accelerator.device)
