"""The networks of a run: built for its data, begun from a checkpoint, copied for generating."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn

from magical_hub.data import CanvasStore
from magical_hub.errors import CheckpointError, ConfigError
from magical_hub.models import (
    FeatureCritic,
    FrozenFeatures,
    Generator,
    LabelVerifier,
    MagicalCritic,
    MagicalGenerator,
    SeamlessGenerator,
)
from magical_hub.pipeline import MagicalPipeline
from magical_hub.training.config import TrainingConfig
from magical_hub.training.mean_picture import start_from_mean

VERIFIER_LR = 5e-4
"""Adam's rate for the verifier, a plain classifier."""


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
        "num_defects": len(store.defect_names or []),
    }
    kind, more = {
        "seamless": (SeamlessGenerator, {"base_picture": True}),
        "magical": (MagicalGenerator, {}),
    }[config.generator]
    generator = kind(
        **shape,
        **more,
        latent_dim=config.latent_dim,
        class_names=names or None,
        class_frequencies=(counts / counts.sum()).tolist() if names else None,
        defect_names=store.defect_names,
        defect_frequencies=_defect_frequencies(store, train),
        intensity_range=None if store.intensity is None else [store.intensity.low, store.intensity.high],
    )
    critic = MagicalCritic(**shape, twins=config.critic_sees == "windows")
    return generator.to(memory_format=torch.channels_last), critic.to(memory_format=torch.channels_last)


def _defect_frequencies(store: CanvasStore, train: np.ndarray) -> list[list[list[float]]] | None:
    """How often each defect stands at each location of the images of a class: (classes, or 1; R*K; defects)."""
    if store.defects is None or store.defect_names is None:
        return None
    fields = store.defects[train].reshape(len(train), -1)
    frequencies = []
    for label in range(len(store.class_names or [""])):
        own = fields[store.labels[train] == label]
        standing = own[:, :, None] == np.arange(1, 1 + len(store.defect_names))
        frequencies.append((standing.sum(0) / max(1, len(own))).round(6).tolist())
    return frequencies


def build_verifier(generator: Generator) -> LabelVerifier | None:
    """As new, for what a generator can be asked for; None where that is nothing."""
    config = generator.config
    if not config.num_classes and not config.num_defects:
        return None
    shape = ("rows", "cols", "image_size", "channels", "num_classes", "num_defects")
    return LabelVerifier(**{name: config[name] for name in shape})


def build_feature_critic(
    config: TrainingConfig, generator: Generator
) -> tuple[FrozenFeatures, FeatureCritic] | tuple[None, None]:
    """What the feature critic of a run looks through, and its heads as new; None twice where there is none."""
    if config.adversarial != "relativistic" or not config.lambda_f:
        return None, None
    seen = generator.grid.window(config.window if config.critic_sees == "windows" else (1, 1))
    features = FrozenFeatures(seen.height, seen.width)
    return features, FeatureCritic(
        generator.grid, features.widths, generator.config.num_classes, generator.config.num_defects
    )


def build_optimizers(config: TrainingConfig, networks: Mapping[str, nn.Module]) -> dict[str, torch.optim.Optimizer]:
    """The generator's, one of all critics, and the verifier's where there is one: each by its name."""
    rates = {"generator": config.generator_lr, "critic": config.critic_lr, "verifier": VERIFIER_LR}
    betas = {"generator": config.adam_betas, "critic": config.adam_betas, "verifier": (0.9, 0.99)}
    parameters: dict[str, list[nn.Parameter]] = {}
    for name, network in networks.items():
        owner = "critic" if name == "feature_critic" else name
        parameters.setdefault(owner, []).extend(network.parameters())
    return {name: torch.optim.Adam(its, lr=rates[name], betas=betas[name]) for name, its in parameters.items()}


def prepare(
    accelerator: Accelerator, networks: Mapping[str, nn.Module], optimizers: Mapping[str, torch.optim.Optimizer]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Both as Accelerate wants them, by the same names.

    All networks come first: what a checkpoint brought of an optimizer goes where its parameters are by then.
    """
    prepared = accelerator.prepare(*networks.values(), *optimizers.values())
    count = len(networks)
    return dict(zip(networks, prepared[:count], strict=True)), dict(zip(optimizers, prepared[count:], strict=True))


def begin(
    config: TrainingConfig, generator: Generator, critic: MagicalCritic, store: CanvasStore, train: np.ndarray
) -> dict[str, Any]:
    """Give new networks what they start with: a checkpoint's weights where one is named, else the mean of the images.

    Returns:
        Where the checkpoint comes from, as of `start_from`; empty without one.
    """
    if config.init_from is not None:
        return start_from(config.init_from, generator, critic)
    if isinstance(generator, SeamlessGenerator) and generator.base is not None:
        start_from_mean(generator.base, store, generator.grid, train, config.seed)
    return {}


def start_from(name: str, generator: Generator, critic: MagicalCritic) -> dict[str, Any]:
    """Put the weights of a checkpoint into networks of the same shape.

    Args:
        name: a folder, a bundled checkpoint's name or an id on the Hub.
        generator, critic: the networks to fill.

    Returns:
        Where the checkpoint comes from: see `provenance.origin`.

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
    return pipe.origin


def _shape(generator: Generator) -> str:
    grid, config = generator.grid, generator.config
    kind = f"{type(generator).__name__} of {grid.rows} x {grid.cols}"
    cells = f"{kind} sub-regions of {grid.cell_height} x {grid.cell_width} px"
    settings = ("channels", "latent_dim", "base_width", "max_width", "num_classes", "num_defects", "base_picture")
    return ", ".join([cells, *(f"{name} {config[name]}" for name in settings if name in config)])


def copy_on_cpu(network: Any) -> Any:
    """A copy on the CPU, free of what `accelerator.prepare` hung on the original's forward."""
    bare = type(network).from_config(network.config)
    bare.load_state_dict({key: value.detach().cpu() for key, value in network.state_dict().items()})
    return bare.eval()
