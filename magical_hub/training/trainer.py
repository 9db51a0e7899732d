"""The training loop: steps on Accelerate, with checkpoints, samples and figures on the way."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from tqdm.auto import tqdm

from magical_hub.checkpoint import not_finite, weights_sha256
from magical_hub.data import CanvasStore
from magical_hub.errors import TrainingStopped
from magical_hub.training.adaptive import ADAPT_EVERY
from magical_hub.training.batch import READERS, Batch, BatchDataset, read_ahead
from magical_hub.training.config import TrainingConfig
from magical_hub.training.guards import MOST_ROLL_BACKS, NotFinite, StopSignals, is_out_of_memory, with_smaller_passes
from magical_hub.training.method import Method
from magical_hub.training.networks import prepare
from magical_hub.training.processes import check_shares, deterministic_kernels, make_accelerator
from magical_hub.training.run.checkpoints import last_checkpoint
from magical_hub.training.run.history import Summary
from magical_hub.training.run.layout import prepare_run, run_folder
from magical_hub.training.run.monitor import Monitor
from magical_hub.training.run.record import run_record
from magical_hub.training.run.split import Split
from magical_hub.training.run.tracking import log_pipeline, tracker
from magical_hub.training.state import TrainingState
from magical_hub.training.step import TrainingStep

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingResult:
    """The result of a call of `train`."""

    output_dir: str
    steps: int
    seconds: float
    figures: dict[str, float]


def train(config: TrainingConfig) -> TrainingResult:
    """Train a generator and a critic on the sub-regions of images; RUN becomes a pipeline folder.

    The same in one process and under `accelerate launch`: the global batch, its windows and its latents depend only on
    the seed and the step, so the number of processes changes neither them nor the learning rate.

    Args:
        config: everything; `config.output_dir` is RUN.

    Returns:
        The steps done in all, the seconds of this session, and the last figures.

    Raises:
        DataError, GridError, ConfigError, CheckpointError, TrainingError: each in one line, with what to do.
        TrainingStopped: after SIGTERM or SIGINT, once a checkpoint is written.
    """
    started = time.monotonic()
    accelerator = make_accelerator(config)
    with run_folder(config, accelerator):
        config, store, split = prepare_run(config, accelerator)
        check_shares(config, split, accelerator.num_processes)
        with deterministic_kernels(config.deterministic), tracker(config, accelerator), StopSignals() as signals:
            return _train(config, accelerator, store, split, signals, started)


def _train(
    config: TrainingConfig,
    accelerator: Accelerator,
    store: CanvasStore,
    split: Split,
    signals: StopSignals,
    started: float,
) -> TrainingResult:
    """Train to the end; after a failure that the configuration allows for, again from the last checkpoint."""
    roll_backs = 0
    while True:
        trainer = None
        try:
            trainer = Trainer(config, accelerator, store, split, roll_backs)
            return trainer.run(started, signals)
        except NotFinite as error:
            assert trainer is not None
            roll_backs = trainer.state.roll_backs + 1
            if config.on_nan == "stop" or roll_backs > MOST_ROLL_BACKS:
                raise
            logger.warning(
                "%s: rolled back, with learning rates times %s; %s", error.what, 0.5**roll_backs, error.good
            )
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            trained_with = trainer.config if trainer is not None else config
            config = with_smaller_passes(trained_with, accelerator.num_processes, error)
            logger.warning("out of memory: continuing with gradient_accumulation %d", config.gradient_accumulation)
        # Out of the except clauses, where the error still holds references to all that ran.
        trainer, config = None, replace(config, resume=True)
        accelerator.free_memory()


class Trainer:
    """A run in progress, from the last checkpoint or from zero to its end or a failure.

    Args:
        config: with nothing left open.
        accelerator: the processes and the precision.
        store, split: the real images, and their parts.
        roll_backs: how often the run was rolled back in this session; a checkpoint may say more.
    """

    def __init__(
        self, config: TrainingConfig, accelerator: Accelerator, store: CanvasStore, split: Split, roll_backs: int = 0
    ) -> None:
        assert config.max_steps
        self.accelerator, self.run_folder, self.max_steps = accelerator, Path(config.output_dir), config.max_steps
        last = last_checkpoint(self.run_folder / "checkpoints") if config.resume else None
        if config.resume and last is None:
            logger.warning("%s has no checkpoint to resume from: starting from zero", self.run_folder)
        self.state = state = TrainingState(config, accelerator, store, np.asarray(split.train), last, roll_backs)
        if state.passes != config.gradient_accumulation:  # auto_batch_size had raised it
            config = replace(config, gradient_accumulation=state.passes)
            check_shares(config, split, accelerator.num_processes)
        self.config = config
        self.record = run_record(config, store, split, last, state.step, state.origin)
        networks, optimizers = prepare(accelerator, state.networks, state.optimizers)
        features = None if state.features is None else state.features.to(accelerator.device)
        self.method = Method(config, networks, features, state.augmentation, state.penalty)
        self.update = TrainingStep(config, accelerator, self.method, networks, optimizers)
        self.batches = self._read(store, split.train, first=state.step * config.n_critic)
        self.held_out = self._read(store, split.validation, first=state.step // ADAPT_EVERY, ahead=1)
        self.monitor = Monitor(config, accelerator, store, split, state.step)
        self.saved_step, self.sampled_step, self.stopped = state.step, state.step, False
        self.unlogged = False  # whether there are figures since the last line of the history
        self.sample_seconds = self.checkpoint_seconds = 0.0  # that the last ones took in this session

    def _read(self, store: CanvasStore, part: Sequence[int], first: int, ahead: int = READERS) -> Generator[Batch]:
        """This process's shares of batches of a part of the images, from number `first` on."""
        accelerator = self.accelerator
        dataset = BatchDataset(self.config, store, part, accelerator.process_index, accelerator.num_processes)
        return read_ahead(dataset, itertools.count(first), accelerator.device, ahead)

    def run(self, started: float, signals: StopSignals) -> TrainingResult:
        """Steps until max_steps, max_minutes or a signal; then the pipeline.

        Args:
            started: when the session started, by time.monotonic.
            signals: those received since.
        """
        with closing(self.batches), closing(self.held_out):
            self._loop(started, signals)
        # A launcher ends all processes once one has ended, and the main one may still write.
        self.accelerator.wait_for_everyone()
        if self.stopped:
            by = signals.received or "a signal to another process"
            raise TrainingStopped(f"stopped by {by} at step {self.state.step}: continue with --resume")
        if self.accelerator.is_main_process:
            pipe = self.state.pipeline()
            pipe.origin = {"record": self._record(weights_sha256=weights_sha256(pipe.generator))}
            pipe.save_pretrained(self.run_folder)
            log_pipeline(self.config, pipe)
        self.accelerator.wait_for_everyone()
        seconds = round(time.monotonic() - started, 1)
        return TrainingResult(str(self.run_folder), self.state.step, seconds, self.monitor.figures)

    def _loop(self, started: float, signals: StopSignals) -> None:
        config, state, main = self.config, self.state, self.accelerator.is_main_process
        timed = None  # with max_minutes, the time left of all steps would mislead
        if config.max_minutes is not None:
            limit = f"{config.max_minutes:g} min"
            timed = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed} of " + limit + ", {rate_fmt}{postfix}]"
        with tqdm(
            total=self.max_steps, initial=state.step, desc="Training", unit="step", disable=not main, bar_format=timed
        ) as bar:
            first = state.step
            while state.step < self.max_steps and not self._must_stop(started, signals, first):
                self.advance()
                bar.update()
                at_end = state.step == self.max_steps
                if at_end or state.step % config.sample_every == 0:
                    self._sample()
                line = at_end or state.step % config.log_every == 0
                checkpoint = at_end or state.step % config.checkpoint_every == 0
                self._write(line, checkpoint, started, bar)
            # Where time or a signal ended it; a signal leaves time for no more than a checkpoint.
            if self.sampled_step != state.step and not self.stopped:
                self._sample()
            self._write(self.unlogged and not self.stopped, self.saved_step != state.step, started, bar)

    def advance(self) -> None:
        """One step: the networks, their EMA weights, the learning rates, and what adapts."""
        adapts = (self.state.step + 1) % ADAPT_EVERY == 0
        # By the same critic as the scores of this step.
        held_out = self._held_out_score() if adapts and self.config.augment == "adaptive" else None
        figures = self.update([next(self.batches) for _ in range(self.config.n_critic)])
        self.state.advance()
        self.unlogged = True
        self.monitor.since_last_line.add(self.state.step, figures)
        if adapts:
            self.monitor.since_last_line.add(self.state.step, self._adapt(figures, held_out))

    def _held_out_score(self) -> torch.Tensor:
        """The critic's mean score of windows of the validation part: a scalar."""
        parts = next(self.held_out).parts(self.config.gradient_accumulation)
        return torch.stack([self.method.mean_score(part) for part in parts]).mean()

    def _adapt(self, figures: Mapping[str, torch.Tensor], held_out: torch.Tensor | None) -> dict[str, torch.Tensor]:
        """Adapt the penalty to the critic's loss, and the augmentation to its overfitting; returns their figures."""
        names = ("critic/adversarial", "critic/score_real", "critic/score_fake")
        values = [figures[name] for name in names] + ([] if held_out is None else [held_out])
        means: Any = self.accelerator.reduce(torch.stack(values).detach(), "mean")
        loss, *scores = means.unbind()
        relativistic = self.config.adversarial == "relativistic"
        adapted = {"penalty/factor": self.state.penalty.adapt(loss)} if relativistic else {}
        return adapted if held_out is None else adapted | self.state.augmentation.adapt(*scores)

    def _must_stop(self, started: float, signals: StopSignals, first: int) -> bool:
        """Whether a signal ends this session, or its time is over; it makes at least one step after `first`.

        All processes agree, and so stop at the same step.
        """
        minutes = self.config.max_minutes
        # At the end come samples, a checkpoint, and the pipeline, which takes about as long as a checkpoint.
        needed = time.monotonic() - started + self.sample_seconds + 2 * self.checkpoint_seconds
        over = minutes is not None and self.state.step > first and needed >= minutes * 60
        self.stopped = signals.received is not None
        if self.accelerator.num_processes > 1:
            reasons = torch.tensor([self.stopped, over], dtype=torch.float32, device=self.accelerator.device)
            self.stopped, over = (self.accelerator.reduce(reasons) > 0).tolist()
        return self.stopped or over

    def _sample(self) -> None:
        self.sampled_step, self.unlogged, began = self.state.step, True, time.monotonic()
        self._check_finite()
        if self.accelerator.is_main_process:
            self.monitor.sample(self.state.step, self.state.averaged_generator())
        self.sample_seconds = time.monotonic() - began

    def _write(self, line: bool, checkpoint: bool, started: float, bar: Any) -> None:
        """A line of the history, then a checkpoint: a run that is killed between the two makes both again."""
        state, main, began, kid = self.state, self.accelerator.is_main_process, time.monotonic(), None
        if checkpoint:
            self._check_finite()
            if main and self.config.validate:
                kid = self.monitor.validate(state.averaged_generator())
        if line:
            self.monitor.log(self._checked_figures(), state.step, time.monotonic() - started, bar)
            self.unlogged = False
        if checkpoint:
            if main:
                state.save(self.run_folder / "checkpoints", kid, self.config.keep_checkpoints, self._record())
            self.saved_step, self.checkpoint_seconds = state.step, time.monotonic() - began

    def _record(self, **final: str) -> dict[str, Any]:
        """Where the weights of now come from; `final`, what only the last ones have."""
        return {"made": "checkpoint", "steps": self.state.step, **final, **self.record}

    def _check_finite(self) -> None:
        """Stop where a figure or a weight is not finite; figures first, since they say what broke the weights."""
        self._checked_figures()
        for network, weights in self.state.weights().items():
            if (name := not_finite(weights)) is not None:
                raise NotFinite(f"{network}: {name}", self.state.step, self.run_folder)

    def _checked_figures(self) -> Summary:
        """The figures since the last line; stops where one is not finite, in whichever process."""
        summary = self.monitor.since_last_line.summary()
        if summary.not_finite is not None:
            step, name = summary.not_finite
            raise NotFinite(name, step, self.run_folder)
        return summary
