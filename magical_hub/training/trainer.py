"""The trainer: a loop of steps on Accelerate, with checkpoints, pictures and figures on the way."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from diffusers.optimization import get_scheduler
from diffusers.training_utils import EMAModel
from torch import nn
from tqdm.auto import tqdm

from magical_hub.checkpoint import weights_sha256
from magical_hub.data import CanvasStore
from magical_hub.errors import CheckpointError, TrainingStopped, first_line
from magical_hub.grid import Grid
from magical_hub.models import Generator
from magical_hub.pipeline import MagicalPipeline
from magical_hub.training import checkpoints
from magical_hub.training.augmentation import ADAPT_EVERY, AdaptiveStrength
from magical_hub.training.balance import Balance
from magical_hub.training.config import TrainingConfig
from magical_hub.training.guards import MOST_ROLL_BACKS, NotFinite, is_out_of_memory, with_less_at_once
from magical_hub.training.networks import (
    begin,
    build_feature_critic,
    build_networks,
    build_optimizers,
    build_verifier,
    copy_on_cpu,
    prepare,
)
from magical_hub.training.processes import check_shares, deterministic_kernels, make_accelerator
from magical_hub.training.record import RunRecord
from magical_hub.training.run import prepare_run, run_folder
from magical_hub.training.sampling import Draw, StepSampler
from magical_hub.training.signals import StopSignals
from magical_hub.training.split import Split
from magical_hub.training.step import Real, TrainingStep
from magical_hub.training.tracking import log_pipeline, tracker
from magical_hub.training.watching import Watcher

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingResult:
    """What a sitting came to."""

    output_dir: str
    steps: int
    seconds: float
    figures: dict[str, float]


def train(config: TrainingConfig) -> TrainingResult:
    """Train a generator and a critic on the sub-regions of images; RUN becomes a pipeline folder.

    Works alike alone and under `accelerate launch`. The global batch, its windows and its latents depend on the seed
    and the step alone, so the number of processes changes neither them nor the learning rate.

    Args:
        config: everything; `config.output_dir` is RUN.

    Returns:
        The steps done in all, the seconds of this sitting, and the last figures.

    Raises:
        DataError, GridError, ConfigError, CheckpointError, TrainingError: each in one line, with the mend.
        TrainingStopped: after SIGTERM or SIGINT, once a checkpoint is written.
    """
    accelerator = make_accelerator(config)
    with run_folder(config, accelerator):
        config, store, split = prepare_run(config, accelerator)
        check_shares(config, split, accelerator.num_processes)
        with tracker(config, accelerator), deterministic_kernels(config.deterministic), StopSignals() as signals:
            return _train(config, accelerator, store, split, signals)


def _train(
    config: TrainingConfig, accelerator: Accelerator, store: CanvasStore, split: Split, signals: StopSignals
) -> TrainingResult:
    """Train to the end, starting again from the last checkpoint where the configuration wants that after a mishap."""
    started, roll_backs = time.monotonic(), 0
    while True:
        trainer = None
        try:
            trainer = Trainer(config, accelerator, store, split, roll_backs)
            return trainer.run(started, signals)
        except NotFinite as error:
            assert trainer is not None
            roll_backs = trainer.roll_backs + 1
            if config.on_nan == "stop" or roll_backs > MOST_ROLL_BACKS:
                raise
            logger.warning("%s: back and on at %s of the rates; %s", error.what, 0.5**roll_backs, error.good)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            trained_with = trainer.config if trainer is not None else config
            config = with_less_at_once(trained_with, accelerator.num_processes, error)
            logger.warning("out of memory: again with gradient_accumulation %d", config.gradient_accumulation)
        # Out of the except clauses, where the error still holds on to all that ran.
        trainer, config = None, replace(config, resume=True)
        accelerator.free_memory()


class Trainer:
    """A run in progress, from the last checkpoint or from zero to its end or a mishap.

    Args:
        roll_backs: how often it went back before; a checkpoint to resume from may say more.
    """

    def __init__(
        self, config: TrainingConfig, accelerator: Accelerator, store: CanvasStore, split: Split, roll_backs: int
    ) -> None:
        self.config, self.accelerator, self.store, self.split = config, accelerator, store, split
        self.run_folder, self.roll_backs = Path(config.output_dir), roll_backs
        self.train_indices = np.asarray(split.train)
        assert config.canvas and config.rows and config.cols and config.channels and config.max_steps
        self.max_steps = config.max_steps
        self.grid = Grid(config.rows, config.cols, *config.canvas)
        torch.manual_seed(config.seed)  # the weights' start; nothing else is drawn from torch's global state
        self.generator, self.critic = build_networks(config, store, self.train_indices)
        features, heads = build_feature_critic(config, self.generator)
        self.networks: dict[str, nn.Module] = {"generator": self.generator, "critic": self.critic}
        self.verifier = build_verifier(self.generator)
        others = {"feature_critic": heads, "verifier": self.verifier}
        self.networks |= {name: network for name, network in others.items() if network is not None}
        last = self._last_checkpoint() if config.resume else None
        came = begin(config, self.generator, self.critic, store, self.train_indices) if last is None else {}
        self.ema = EMAModel(self.generator.parameters(), decay=config.ema_decay, foreach=True)
        self.ema.to(accelerator.device)
        self.optimizers = build_optimizers(config, self.networks)
        # Not prepared: Accelerate would let them run faster the more processes there are.
        self.schedulers = [
            get_scheduler(
                "constant_with_warmup" if config.lr_schedule == "constant" else config.lr_schedule,
                optimizer,
                num_warmup_steps=config.warmup_steps,
                num_training_steps=self.max_steps,
            )
            for optimizer in self.optimizers.values()
        ]
        self.augmentation = AdaptiveStrength(config.augment_target, config.augment_windows, config.batch_size)
        self.balance = Balance(config.balance_at)
        self.step = 0 if last is None else self._restore(last)
        self.record = RunRecord(config, store, split, last, self.step, came)
        self._lower_rates()
        players, optimizers = prepare(accelerator, self.networks, self.optimizers)
        self.sampler, self.held_out_sampler = (
            StepSampler(
                config.seed,
                len(indices),
                config.batch_size,
                self.grid,
                config.window,
                config.latent_dim,
                accelerator.process_index,
                accelerator.num_processes,
                store.labels[indices],
                config.class_balance,
                None if store.defects is None else store.defects[indices],
                config.defect_balance,
            )
            for indices in (split.train, split.validation)
        )
        self.update = TrainingStep(
            self.config,
            self.grid,
            accelerator,
            optimizers,
            lambda draw: self._crop(draw, self.train_indices),
            self.augmentation,
            self.balance,
            None if features is None else features.to(accelerator.device),
            **players,
        )
        self.watcher = Watcher(config, accelerator, store, split, self.grid, self.step)
        self.saved_step = self.sampled_step = self.step
        self.stopped = False

    def run(self, started: float, signals: StopSignals) -> TrainingResult:
        """Steps until max_steps, max_minutes or a signal; then the pipeline.

        Args:
            started: when the sitting did, by time.monotonic.
            signals: what was received since.
        """
        self._loop(started, signals)
        # A launcher ends all processes once one has ended, and the main one may still write.
        self.accelerator.wait_for_everyone()
        if self.stopped:
            by = signals.received or "a signal to another process"
            raise TrainingStopped(f"stopped by {by} at step {self.step}: go on with --resume")
        if self.accelerator.is_main_process:
            self.watcher.draw_curves()
            generator = self._averaged_generator()
            generator.mapping.update_mean_style()
            others = {"critic": self.critic, "verifier": self.verifier}
            copies = {name: copy_on_cpu(network) for name, network in others.items() if network is not None}
            pipe = MagicalPipeline(generator=generator, **copies)
            pipe.origin = {"record": self.record.at(self.step, weights_sha256(generator))}
            pipe.save_pretrained(self.run_folder)
            log_pipeline(self.config, pipe)
        self.accelerator.wait_for_everyone()
        seconds = round(time.monotonic() - started, 1)
        return TrainingResult(str(self.run_folder), self.step, seconds, self.watcher.figures)

    def _loop(self, started: float, signals: StopSignals) -> None:
        config, main = self.config, self.accelerator.is_main_process
        with tqdm(total=self.max_steps, initial=self.step, desc="Training", unit="step", disable=not main) as bar:
            first = self.step
            while self.step < self.max_steps and not self._must_stop(started, signals, first):
                self.advance()
                bar.update()
                at_end = self.step == self.max_steps
                if at_end or self.step % config.sample_every == 0:
                    self._sample()
                if at_end or self.step % config.checkpoint_every == 0:
                    self._save_checkpoint()
                if at_end or self.step % config.log_every == 0:
                    self._log(started, bar)
            # Where time or a signal ended it; a signal leaves time for no more than a checkpoint.
            unseen = self.sampled_step != self.step and not self.stopped
            if unseen:
                self._sample()
            if self.saved_step != self.step:
                self._save_checkpoint()
            if unseen:
                self._log(started, bar)

    def advance(self) -> None:
        """One step: all networks, their averages, their rates, and what adapts to their game."""
        first = self.step * self.config.n_critic
        adapts = (self.step + 1) % ADAPT_EVERY == 0
        augments = adapts and self.config.augment == "adaptive"
        held_out = self._held_out_score() if augments else None  # of the critic that this step's scores are of
        terms = self.update([self.sampler.draw(first + part) for part in range(self.config.n_critic)])
        self.ema.step(self.generator.parameters())
        for scheduler in self.schedulers:
            scheduler.step()
        self.step += 1
        self.watcher.steps.add(self.step, terms)
        if adapts:
            self._adapt(terms, held_out)

    def _log(self, started: float, bar: Any) -> None:
        self._check_figures()
        self.watcher.log(self.step, time.monotonic() - started, bar)

    def _held_out_score(self) -> torch.Tensor:
        """The critic's mean score of windows of the validation part: ()."""
        draw = self.held_out_sampler.draw(self.step // ADAPT_EVERY)
        part = np.asarray(self.split.validation)
        passes = draw.parts(self.config.gradient_accumulation)
        return torch.stack([self.update.mean_score(some, self._crop(some, part)) for some in passes]).mean()

    def _adapt(self, terms: Mapping[str, torch.Tensor], held_out: torch.Tensor | None) -> None:
        """Bring penalties and augmentation to what the critic's lead and its overfitting ask for."""
        names = ("critic/adversarial", "critic/score_real", "critic/score_fake")
        values = [terms[name] for name in names] + ([] if held_out is None else [held_out])
        means: Any = self.accelerator.reduce(torch.stack(values).detach(), "mean")
        loss, *scores = means.tolist()
        figures = {}
        if self.config.adversarial == "relativistic":
            self.balance.adapt(loss)
            figures["balance/penalty_share"] = self.balance.penalty_share
        if held_out is not None:
            figures["augmentation/overfitting"] = self.augmentation.adapt(*scores)
            figures["augmentation/strength"] = self.augmentation.strength
        self.watcher.steps.add(self.step, figures)

    def _crop(self, draw: Draw, part: np.ndarray) -> Real:
        indices, store, device = part[draw.indices], self.store, self.accelerator.device
        pixels = torch.from_numpy(store.crop(self.grid, indices, draw.locations.numpy(), self.config.window))
        return Real(
            pixels.to(device).float() / 127.5 - 1,
            torch.from_numpy(store.labels[indices]).to(device) if store.class_names else None,
            torch.from_numpy(store.defects[indices]).to(device) if store.defects is not None else None,
        )

    def _must_stop(self, started: float, signals: StopSignals, first: int) -> bool:
        """Whether a signal ends this sitting, or the time does, which leaves one step after `first` at least.

        All processes agree, and so stop at the same step.
        """
        minutes = self.config.max_minutes
        over = minutes is not None and self.step > first and time.monotonic() - started >= minutes * 60
        self.stopped = signals.received is not None
        if self.accelerator.num_processes > 1:
            wishes = torch.tensor([self.stopped, over], dtype=torch.float32, device=self.accelerator.device)
            self.stopped, over = (self.accelerator.reduce(wishes) > 0).tolist()
        return self.stopped or over

    def _check_figures(self) -> None:
        """Stop where a figure since the last line is no number, in whichever process."""
        broken = self.watcher.steps.summary().not_finite
        if broken is not None:
            step, name = broken
            raise NotFinite(name, step, self.run_folder)

    def _check_weights(self, modules: Mapping[str, Mapping[str, torch.Tensor]]) -> None:
        for player, state in modules.items():
            for name, value in state.items():
                if not bool(value.isfinite().all()):
                    raise NotFinite(f"{player}: {name}", self.step, self.run_folder)

    def _averaged_generator(self) -> Generator:
        """The EMA weights in a generator of their own, on the CPU; its mean style is not brought up to date."""
        generator: Generator = copy_on_cpu(self.generator)
        with torch.no_grad():
            for parameter, average in zip(generator.parameters(), self.ema.shadow_params, strict=True):
                parameter.copy_(average)
        return generator

    def _sample(self) -> None:
        self.sampled_step = self.step
        if self.accelerator.is_main_process:
            self.watcher.sample(self.step, self._averaged_generator())

    def _save_checkpoint(self) -> None:
        self.saved_step = self.step
        names = [name for name, _ in self.generator.named_parameters()]
        modules = {name: network.state_dict() for name, network in self.networks.items()}
        modules["ema"] = dict(zip(names, self.ema.shadow_params, strict=True))
        self._check_figures()  # first, since they say what broke the weights
        self._check_weights(modules)
        if not self.accelerator.is_main_process:
            return
        kid = self.watcher.validate(self._averaged_generator()) if self.config.validate else None
        about = {**self._about(), "kid": kid}
        checkpoints.save_checkpoint(
            self.run_folder / "checkpoints",
            self.step,
            about,
            modules,
            self.optimizers,
            self.config.keep_checkpoints,
            self.record.at(self.step),
        )

    def _about(self) -> dict[str, Any]:
        """What a checkpoint must bring back beside tensors."""
        return {
            "fingerprint": self.store.fingerprint,
            "ema_step": self.ema.optimization_step,
            "augmentation": self.augmentation.state_dict(),
            "balance": self.balance.state_dict(),
            "schedulers": [scheduler.state_dict() for scheduler in self.schedulers],
            "scaler": self.accelerator.scaler.state_dict() if self.accelerator.scaler is not None else None,
            "roll_backs": self.roll_backs,
            "auto_passes": self.config.gradient_accumulation if self.config.auto_batch_size else 1,
        }

    def _lower_rates(self) -> None:
        """Halve both rates for every time that the run went back."""
        for scheduler in self.schedulers:
            (group,), (schedule,) = scheduler.optimizer.param_groups, scheduler.lr_lambdas
            scheduler.base_lrs = [group["initial_lr"] * 0.5**self.roll_backs]
            group["lr"] = scheduler.base_lrs[0] * schedule(scheduler.last_epoch)

    def _last_checkpoint(self) -> Path | None:
        last = checkpoints.last_checkpoint(self.run_folder / "checkpoints")
        if last is None:
            logger.warning("%s has no checkpoint to resume from: starting from zero", self.run_folder)
        return last

    def _restore(self, last: Path) -> int:
        """Bring everything back as a checkpoint has it; returns its step."""
        about, own = checkpoints.load_about(last), self._about()
        checkpoints.check_like(about, own, last)
        if about["fingerprint"] != self.store.fingerprint:
            raise CheckpointError(
                f"the data of {self.run_folder} changed since {last.name}: start a new run for new data"
            )
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
            self.balance.load_state_dict(about["balance"])
            for scheduler, state in zip(self.schedulers, about["schedulers"], strict=True):
                scheduler.load_state_dict({key: state[key] for key in scheduler.state_dict()})
            if self.accelerator.scaler is not None and about["scaler"] is not None:
                self.accelerator.scaler.load_state_dict(about["scaler"])
            self.roll_backs = min(max(self.roll_backs, int(about["roll_backs"])), MOST_ROLL_BACKS)
            if self.config.auto_batch_size:  # as many passes as the run had come to, so that it ends the same
                passes = max(self.config.gradient_accumulation, about["auto_passes"])
                self.config = replace(self.config, gradient_accumulation=passes)
                check_shares(self.config, self.split, self.accelerator.num_processes)
        except (LookupError, TypeError, RuntimeError) as error:  # of another version of this library, say
            reason = first_line(error)
            raise CheckpointError(f"{last} does not fit this run ({reason}): start a new run") from error
        return int(about["step"])
