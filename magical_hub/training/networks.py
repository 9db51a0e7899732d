"""The networks of a run: built for its data, begun from a checkpoint, copied for generating."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from magical_hub.data import CanvasStore
from magical_hub.errors import CheckpointError, ConfigError
from magical_hub.models import (
    FeatureCritic,
    FrozenFeatures,
    Generator,
    MagicalCritic,
    MagicalGenerator,
    SeamlessGenerator,
)
from magical_hub.pipeline import MagicalPipeline
from magical_hub.training.config import TrainingConfig


def build_networks(config: TrainingConfig, store: CanvasStore, train: np.ndarray) -> tuple[Generator, MagicalCritic]:
    """Generator and critic as new, from torch's global random state; `train` are the store's numbers to learn from."""
    names = store.class_names or []
    counts = np.bincount(store.labels[train], minlength=len(names))
    shape: dict[str, Any] = {
        "rows": config.rows,
        "cols": config.cols,
        "image_size": config.canvas,
        "channels": config.channels,
        "base_width": config.base_width,
        "max_width": config.max_width,
        "num_classes": len(names),
    }
    generator = {"seamless": SeamlessGenerator, "magical": MagicalGenerator}[config.generator](
        **shape,
        latent_dim=config.latent_dim,
        class_names=names or None,
        class_frequencies=(counts / counts.sum()).tolist() if names else None,
    )
    critic = MagicalCritic(**shape)
    return generator.to(memory_format=torch.channels_last), critic.to(memory_format=torch.channels_last)


def build_feature_critic(
    config: TrainingConfig, generator: Generator
) -> tuple[FrozenFeatures, FeatureCritic] | tuple[None, None]:
    """What the feature critic of a run looks through, and its heads as new; None twice where there is none."""
    if config.adversarial != "relativistic" or not config.lambda_f:
        return None, None
    seen = generator.grid.window(config.window if config.critic_sees == "windows" else (1, 1))
    features = FrozenFeatures(seen.height, seen.width)
    return features, FeatureCritic(generator.grid, features.widths, generator.config.num_classes)


def build_optimizers(config: TrainingConfig, networks: Mapping[str, nn.Module]) -> dict[str, torch.optim.Optimizer]:
    """The generator's, and one of all critics: by "generator" and "critic"."""
    rates = {"generator": config.generator_lr, "critic": config.critic_lr}
    parameters: dict[str, list[nn.Parameter]] = {name: [] for name in rates}
    for name, network in networks.items():
        parameters["generator" if name == "generator" else "critic"] += network.parameters()
    return {name: torch.optim.Adam(parameters[name], lr=rate, betas=config.adam_betas) for name, rate in rates.items()}


def start_from(name: str, generator: Generator, critic: MagicalCritic) -> None:
    """Put the weights of a checkpoint into networks of the same shape.

    Args:
        name: a folder, a bundled checkpoint's name or an id on the Hub.
        generator, critic: the networks to fill.

    Raises:
        CheckpointError: where it can't be loaded, or came without its critic.
        ConfigError: where its networks have another shape.
    """
    pipe = MagicalPipeline.from_pretrained(name)
    if pipe.critic is None:
        raise CheckpointError(f"init_from {name} has no critic to train against: take one that was saved with it")
    for ours, theirs in ((generator, pipe.generator), (critic, pipe.critic)):
        state = theirs.state_dict()
        if {key: value.shape for key, value in ours.state_dict().items()} != {k: v.shape for k, v in state.items()}:
            raise ConfigError(
                f"init_from {name} has networks of another shape ({_shape(generator)} here, {_shape(pipe.generator)} "
                "there): give its settings"
            )
        ours.load_state_dict(state)


def _shape(generator: Generator) -> str:
    grid, config = generator.grid, generator.config
    kind = f"{type(generator).__name__} of {grid.rows} x {grid.cols}"
    cells = f"{kind} sub-regions of {grid.cell_height} x {grid.cell_width} px"
    settings = ("channels", "latent_dim", "base_width", "max_width", "num_classes")
    return ", ".join([cells, *(f"{name} {config[name]}" for name in settings)])


def copy_on_cpu(network: Any) -> Any:
    """A copy on the CPU, free of what `accelerator.prepare` hung on the original's forward."""
    bare = type(network).from_config(network.config)
    bare.load_state_dict({key: value.detach().cpu() for key, value in network.state_dict().items()})
    return bare.eval()
