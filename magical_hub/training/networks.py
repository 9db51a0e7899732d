"""The networks of a run: built for its data, and initialised from a checkpoint or from the mean of the images."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import nn

from magical_hub.data import CanvasStore
from magical_hub.errors import CheckpointError, ConfigError
from magical_hub.grid import Grid
from magical_hub.models import (
    FeatureCritic,
    FrozenFeatures,
    Generator,
    LabelVerifier,
    MagicalCritic,
    MagicalGenerator,
    SeamlessGenerator,
)
from magical_hub.models.base_picture import BasePicture
from magical_hub.pipeline import MagicalPipeline
from magical_hub.training.config import TrainingConfig

VERIFIER_LR, VERIFIER_BETAS = 5e-4, (0.9, 0.99)
"""Adam's, for a plain classifier."""

MEAN_OF = 256
"""The most images of a class that their mean is taken of."""

ENOUGH = 32
"""The fewest images for the mean of a class alone: that of fewer would show them, and is blended with that of all."""

MEAN_PIXELS = 2**31
"""The most pixels that are read for the mean of a class (of canvases too large for that: ENOUGH images)."""


def build_networks(config: TrainingConfig, store: CanvasStore, train: np.ndarray) -> tuple[Generator, MagicalCritic]:
    """Generator and critic with initial weights from torch's global random state; see `initialise` for arguments."""
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
    kind: Any = MagicalGenerator if config.generator == "magical" else partial(SeamlessGenerator, base_picture=True)
    generator = kind(
        **shape,
        latent_dim=config.latent_dim,
        class_names=names or None,
        class_frequencies=(counts / counts.sum()).tolist() if names else None,
        defect_names=store.defect_names,
        defect_frequencies=_defect_frequencies(store, train),
        intensity_range=None if store.intensity is None else [store.intensity.low, store.intensity.high],
    )
    critic = MagicalCritic(**shape, same_location_pairs=config.critic_input == "windows")
    return generator.to(memory_format=torch.channels_last), critic.to(memory_format=torch.channels_last)


def _defect_frequencies(store: CanvasStore, train: np.ndarray) -> list[list[list[float]]] | None:
    """How often each defect occurs at each location of the images of a class: (classes, or 1; R*K; defects)."""
    if store.defects is None or store.defect_names is None:
        return None
    maps = store.defects[train].reshape(len(train), -1)
    frequencies = []
    for label in range(len(store.class_names or [""])):
        of_class = maps[store.labels[train] == label]
        occurs = of_class[:, :, None] == np.arange(1, 1 + len(store.defect_names))
        frequencies.append((occurs.sum(0) / max(1, len(of_class))).round(6).tolist())
    return frequencies


def build_verifier(config: TrainingConfig, generator: Generator) -> LabelVerifier | None:
    """A verifier of the classes and the defects that a generator is conditioned on; None where there are none."""
    about = generator.config
    if not about.num_classes and not about.num_defects:
        return None
    shape = ("rows", "cols", "image_size", "channels", "num_classes", "num_defects")
    return LabelVerifier(
        **{name: about[name] for name in shape}, defect_weight=float(config.window[0] * config.window[1])
    )


def build_feature_critic(
    config: TrainingConfig, generator: Generator
) -> tuple[FrozenFeatures, FeatureCritic] | tuple[None, None]:
    """The frozen features, and the critic on them; None twice where the configuration has none."""
    if config.adversarial != "relativistic" or not config.lambda_f:
        return None, None
    image = generator.grid.window(config.window if config.critic_input == "windows" else (1, 1))
    features = FrozenFeatures(image.height, image.width)
    return features, FeatureCritic(
        generator.grid, features.widths, generator.config.num_classes, generator.config.num_defects
    )


def build_optimizers(config: TrainingConfig, networks: Mapping[str, nn.Module]) -> dict[str, torch.optim.Optimizer]:
    """Adam for the "generator", for the "critic" (both critics together) and, if there is one, for the "verifier"."""
    rates = {"generator": config.generator_lr, "critic": config.critic_lr, "verifier": VERIFIER_LR}
    betas = {"generator": config.adam_betas, "critic": config.adam_betas, "verifier": VERIFIER_BETAS}
    parameters: dict[str, list[nn.Parameter]] = {}
    for name, network in networks.items():
        owner = "critic" if name == "feature_critic" else name
        parameters.setdefault(owner, []).extend(network.parameters())
    return {
        # Fused: one kernel for all weights, which every device has but "meta".
        name: torch.optim.Adam(values, lr=rates[name], betas=betas[name], fused=not values[0].is_meta)
        for name, values in parameters.items()
    }


def prepare(
    accelerator: Accelerator, networks: Mapping[str, nn.Module], optimizers: Mapping[str, torch.optim.Optimizer]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What `accelerator.prepare` returns of both, by the same names.

    The networks come first, since the restored state of an optimizer is moved to the device of its parameters.
    """
    prepared = accelerator.prepare(*networks.values(), *optimizers.values())
    count = len(networks)
    return dict(zip(networks, prepared[:count], strict=True)), dict(zip(optimizers, prepared[count:], strict=True))


def initialise(
    config: TrainingConfig, generator: Generator, critic: MagicalCritic, store: CanvasStore, train: np.ndarray
) -> dict[str, Any]:
    """Initialise new networks from a checkpoint where one is named, else from the mean of the training images.

    Args:
        config: of the run.
        generator, critic: the networks to fill.
        store: the real images.
        train: the store's numbers of the images to learn from.

    Returns:
        The checkpoint's record (see `provenance.origin`); empty without one.

    Raises:
        CheckpointError: where the checkpoint can't be loaded, or came without its critic.
        ConfigError: where its networks have another shape.
    """
    if config.init_from is not None:
        return _load_weights(config.init_from, generator, critic)
    if isinstance(generator, SeamlessGenerator) and generator.base is not None:
        _fill_with_mean(generator.base, store, generator.grid, train, config.seed)
    return {}


def _load_weights(name: str, generator: Generator, critic: MagicalCritic) -> dict[str, Any]:
    """Put the weights of a checkpoint into networks of the same shape: see `initialise`."""
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


def _fill_with_mean(picture: BasePicture, store: CanvasStore, grid: Grid, train: np.ndarray, seed: int) -> None:
    """Fill a base picture with the mean of the training images of each class; `seed` chooses among many images."""
    rng = np.random.default_rng([seed, 4])
    most = int(np.clip(MEAN_PIXELS // (grid.height * grid.width), ENOUGH, MEAN_OF))
    labels = store.labels[train]
    means, shares = [], []
    for label in range(len(picture.values)):
        of_class = train[labels == label]
        chosen = np.sort(rng.permutation(of_class)[:most])
        means.append(_mean(store, grid, chosen, picture) if len(chosen) else torch.zeros_like(picture.values[0]))
        shares.append(len(of_class) / len(train))
    overall = torch.stack([mean * share for mean, share in zip(means, shares, strict=True)]).sum(0)
    with torch.no_grad():
        for values, mean, share in zip(picture.values, means, shares, strict=True):
            values.copy_(overall.lerp(mean, min(1.0, share * len(train) / ENOUGH)))


def _mean(store: CanvasStore, grid: Grid, indices: np.ndarray, picture: BasePicture) -> torch.Tensor:
    """The mean of images at the picture's points: (C, rows, cols) in [-1, 1]."""
    cell = grid.cell_height, grid.cell_width
    down, across = (max(1, side // stride) for side, stride in zip(cell, picture.strides, strict=True))
    small = []
    for location in range(grid.num_locations):
        total = np.zeros((store.channels, *cell), np.int64)
        for index in indices:
            total += store.crop(grid, np.array([index]), np.array([location]))[0]
        small.append(F.adaptive_avg_pool2d(torch.from_numpy(total / len(indices)), (down, across)))
    joined = Grid(grid.rows, grid.cols, grid.rows * down, grid.cols * across).stitch(torch.stack(small)[None])
    points = F.interpolate(joined, size=picture.values.shape[2:], mode="bilinear", align_corners=False)
    return (points[0] / 127.5 - 1).float()


def copy_on_cpu(network: Any) -> Any:
    """A copy on the CPU, without what `accelerator.prepare` wraps around the original's forward."""
    copy = type(network).from_config(network.config)
    copy.load_state_dict({key: value.detach().cpu() for key, value in network.state_dict().items()})
    return copy.eval()
