"""One step of training: the order of the updates. What each network minimises is in method.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace

import torch
from accelerate import Accelerator
from torch import nn

from magical_hub.training.batch import Batch
from magical_hub.training.config import TrainingConfig
from magical_hub.training.method import Inputs, Method, Terms


class TrainingStep:
    """The update of each network.

    Args:
        config: how a batch is cut and gradients are clipped.
        accelerator: owns devices, precision and processes.
        method: the losses.
        networks: "generator", "critic" and, where there are any, "feature_critic" and "verifier", as
            `accelerator.prepare` returned them.
        optimizers: likewise, of the "generator", of the "critic" (of both critics) and of the "verifier".
    """

    def __init__(
        self,
        config: TrainingConfig,
        accelerator: Accelerator,
        method: Method,
        networks: Mapping[str, nn.Module],
        optimizers: Mapping[str, torch.optim.Optimizer],
    ) -> None:
        self.config, self.accelerator, self.method, self.optimizers = config, accelerator, method, optimizers
        self.trained_by = {
            "critic": [networks[name] for name in ("critic", "feature_critic") if name in networks],
            "verifier": [networks[name] for name in ("verifier",) if name in networks],
            "generator": [networks["generator"]],
        }

    def __call__(self, batches: Sequence[Batch]) -> Terms:
        """One update of the generator, after one of the critics for each batch; returns terms and figures by name."""
        *others, last = batches
        figures: Terms = {}
        for batch in others:
            figures |= self._train_critics(self._passes(batch))
        passes = self._passes(last)
        if len(passes) == 1:  # the fakes are used for both updates, unless gradients are accumulated to save memory
            passes = [replace(passes[0], fake=self.method.generate(passes[0]))]
        figures |= self._train_critics(passes)
        return figures | self._update("generator", self.method.generator, passes)

    def _passes(self, batch: Batch) -> list[Inputs]:
        return [self.method.prepare(part) for part in batch.parts(self.config.gradient_accumulation)]

    def _train_critics(self, passes: Sequence[Inputs]) -> Terms:
        """Those that learn from real images: the critic (with the feature critic) and the verifier."""
        self.method.update_norms()
        figures = self._update("critic", self.method.critic, passes)
        if self.trained_by["verifier"]:
            figures |= self._update("verifier", self.method.verifier, passes)
        return figures

    def _update(self, name: str, loss: Callable[[Inputs], tuple[Terms, Terms]], passes: Sequence[Inputs]) -> Terms:
        """One update from the mean over passes of equal size; returns the mean terms and figures.

        Every term is a mean over a batch, so the gradient is that of all passes at once, up to rounding.
        """
        optimizer, networks = self.optimizers[name], self.trained_by[name]
        optimizer.zero_grad()
        means: Terms = {}
        for number, inputs in enumerate(passes):
            with ExitStack() as unshared:
                if number < len(passes) - 1:  # processes share their gradients once, when they are complete
                    for network in networks:
                        unshared.enter_context(self.accelerator.no_sync(network))
                terms, figures = loss(inputs)
                self.accelerator.backward(torch.stack(list(terms.values())).sum() / len(passes))
            for key, value in {**terms, **figures}.items():
                part = value.detach() / len(passes)
                means[key] = means[key] + part if key in means else part
        if self.config.max_grad_norm is not None:
            # Not by accelerator.clip_grad_norm_, which removes fp16's scale from the gradients of ALL optimizers: an
            # overflow that another network's last update left behind would then lower the scale once more.
            self.accelerator.unscale_gradients(optimizer)
            for network in networks:
                nn.utils.clip_grad_norm_(network.parameters(), self.config.max_grad_norm)
        optimizer.step()
        return means
