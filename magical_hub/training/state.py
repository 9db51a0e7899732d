"""The state of a run: all that changes from step to step, saved and restored to the bit.

What is random is not part of it: that depends only on the seed and the number of the step (see sampler.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from diffusers.training_utils import EMAModel
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from magical_hub.data import CanvasStore
from magical_hub.errors import CheckpointError, first_line
from magical_hub.models import FrozenFeatures, Generator
from magical_hub.pipeline import MagicalPipeline
from magical_hub.training.adaptive import AdaptiveAugmentation, AdaptivePenalty
from magical_hub.training.config import TrainingConfig
from magical_hub.training.guards import MOST_ROLL_BACKS
from magical_hub.training.networks import (
    build_feature_critic,
    build_networks,
    build_optimizers,
    build_verifier,
    copy_on_cpu,
    initialise,
)
from magical_hub.training.run import checkpoints

RENAMED = {
    "balance": ("penalty", {"penalty_share": "factor", "reached": "balanced"}),
    "augmentation": ("augmentation", {"fallen": "held_out_gap", "apart": "fake_gap"}),
}
"""Names in about.json of earlier versions, and what they are now."""


class TrainingState:
    """Networks, EMA weights, optimizers, learning-rate schedules, and what adapts.

    Args:
        config: with nothing left open.
        accelerator: the device, and the gradient scaler of fp16.
        store, train: the real images, and the numbers of those to learn from.
        last: the checkpoint to continue from; None for a new run.
        roll_backs: how often the run was rolled back in this session; the checkpoint may say more.

    Attributes:
        step: the steps done.
        passes: the parts that a batch is cut into.
        origin: as `initialise` returns it; empty where a checkpoint was restored.

    Raises:
        CheckpointError: where the checkpoint does not fit.
    """

    def __init__(
        self,
        config: TrainingConfig,
        accelerator: Accelerator,
        store: CanvasStore,
        train: np.ndarray,
        last: Path | None = None,
        roll_backs: int = 0,
    ) -> None:
        assert config.max_steps is not None
        device, self.scaler = accelerator.device, accelerator.scaler
        self.step, self.roll_backs, self.passes = 0, roll_backs, config.gradient_accumulation
        self._fingerprint, self._auto_batch_size = store.fingerprint, config.auto_batch_size
        torch.manual_seed(config.seed)  # for the initial weights; nothing else is drawn from torch's global state
        self.generator, self.critic = build_networks(config, store, train)
        features, feature_critic = build_feature_critic(config, self.generator)
        self.features: FrozenFeatures | None = features
        self.verifier = build_verifier(config, self.generator)
        self.networks: dict[str, nn.Module] = {"generator": self.generator, "critic": self.critic}
        others = {"feature_critic": feature_critic, "verifier": self.verifier}
        self.networks |= {name: network for name, network in others.items() if network is not None}
        self.origin = initialise(config, self.generator, self.critic, store, train) if last is None else {}
        self.ema = EMAModel(self.generator.parameters(), decay=config.ema_decay, foreach=True)
        self.ema.to(device)
        self.optimizers = build_optimizers(config, self.networks)
        # Not prepared: Accelerate would advance them once a process.
        self.schedulers = [
            LambdaLR(optimizer, lambda step: rate_factor(config, step)) for optimizer in self.optimizers.values()
        ]
        self.augmentation = AdaptiveAugmentation(
            config.augment_target, config.augment_windows, config.batch_size, device
        )
        self.penalty = AdaptivePenalty(config.balanced_loss, device)
        if last is not None:
            self._restore(last)
        self._lower_rates()

    def advance(self) -> None:
        """Count a step whose updates are made: EMA weights and learning rates follow."""
        self.ema.step(self.generator.parameters())
        for scheduler in self.schedulers:
            scheduler.step()
        self.step += 1

    def averaged_generator(self) -> Generator:
        """The EMA weights in a generator of their own, on the CPU; its mean style is not updated."""
        generator: Generator = copy_on_cpu(self.generator)
        self.ema.copy_to(generator.parameters())
        return generator

    def pipeline(self) -> MagicalPipeline:
        """What is used after training: the EMA weights with their mean style, the critic and the verifier."""
        generator = self.averaged_generator()
        generator.mapping.update_mean_style()
        others = {"critic": self.critic, "verifier": self.verifier}
        copies = {name: copy_on_cpu(network) for name, network in others.items() if network is not None}
        return MagicalPipeline(generator=generator, **copies)

    def weights(self) -> dict[str, dict[str, torch.Tensor]]:
        """The weights of every network, and the EMA weights, by name."""
        names = [name for name, _ in self.generator.named_parameters()]
        weights = {name: network.state_dict() for name, network in self.networks.items()}
        return weights | {"ema": dict(zip(names, self.ema.shadow_params, strict=True))}

    def save(self, folder: Path, kid: float | None, keep: int, record: dict[str, Any]) -> None:
        """Write a checkpoint (see `save_checkpoint`); `kid` was measured on the validation part, or is None."""
        about = {**self._about(), "kid": kid}
        checkpoints.save_checkpoint(folder, self.step, about, self.weights(), self.optimizers, keep, record)

    def _about(self) -> dict[str, Any]:
        """What a checkpoint holds beside tensors."""
        return {
            "fingerprint": self._fingerprint,
            "ema_step": self.ema.optimization_step,
            "augmentation": self.augmentation.state_dict(),
            "penalty": self.penalty.state_dict(),
            "schedulers": [scheduler.state_dict() for scheduler in self.schedulers],
            "scaler": self.scaler.state_dict() if self.scaler is not None else None,
            "roll_backs": self.roll_backs,
            "auto_passes": self.passes if self._auto_batch_size else 1,
        }

    def _restore(self, last: Path) -> None:
        about, own = _renamed(checkpoints.load_about(last)), self._about()
        checkpoints.check_like(about, own, last)
        if about["fingerprint"] != self._fingerprint:
            run = last.parents[1]
            raise CheckpointError(f"the data of {run} changed since {last.name}: start a new run for new data")
        try:
            for name, network in self.networks.items():
                network.load_state_dict(checkpoints.load_module_state(last, name))
            for name, optimizer in self.optimizers.items():
                checkpoints.load_optimizer(last, name, optimizer)
            averages = checkpoints.load_module_state(last, "ema")
            for (name, _), shadow in zip(self.generator.named_parameters(), self.ema.shadow_params, strict=True):
                shadow.copy_(averages[name])
            self.ema.optimization_step = about["ema_step"]
            self.augmentation.load_state_dict(about["augmentation"])
            self.penalty.load_state_dict(about["penalty"])
            for scheduler, state in zip(self.schedulers, about["schedulers"], strict=True):
                scheduler.load_state_dict({key: state[key] for key in scheduler.state_dict()})
            if self.scaler is not None and about["scaler"] is not None:
                self.scaler.load_state_dict(about["scaler"])
            self.roll_backs = min(max(self.roll_backs, int(about["roll_backs"])), MOST_ROLL_BACKS)
            if self._auto_batch_size:  # as many passes as the run had come to, so that it ends the same
                self.passes = max(self.passes, about["auto_passes"])
        except (LookupError, TypeError, RuntimeError) as error:  # of another version of this library, say
            reason = first_line(error)
            raise CheckpointError(f"{last} does not fit this run ({reason}): start a new run") from error
        self.step = int(about["step"])

    def _lower_rates(self) -> None:
        """Halve all learning rates for every roll-back."""
        for scheduler in self.schedulers:
            (group,), (schedule,) = scheduler.optimizer.param_groups, scheduler.lr_lambdas
            scheduler.base_lrs = [group["initial_lr"] * 0.5**self.roll_backs]
            group["lr"] = scheduler.base_lrs[0] * schedule(scheduler.last_epoch)


def rate_factor(config: TrainingConfig, step: int) -> float:
    """What the learning rates are multiplied by: a warm-up, a constant and a decay (Hu et al., MiniCPM, 2024)."""
    assert config.max_steps
    rising = step / config.warmup_steps if config.warmup_steps else 1.0
    falling = (config.max_steps - step) / config.decay_steps if config.decay_steps else 1.0
    return max(0.0, min(rising, 1.0, falling))


def _renamed(about: Mapping[str, Any]) -> dict[str, Any]:
    """The same in the names of this version."""
    renamed = {key: value for key, value in about.items() if key not in RENAMED}
    for old, (new, names) in RENAMED.items():
        values = about.get(old)
        if isinstance(values, dict):
            renamed[new] = {names.get(name, name): value for name, value in values.items()}
        elif old in about:
            renamed[new] = values
    return renamed
