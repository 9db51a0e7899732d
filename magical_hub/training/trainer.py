"""The trainer: a loop of steps on Accelerate, with checkpoints, pictures and figures on the way."""

from __future__ import annotations

import importlib.util
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from diffusers.optimization import get_scheduler
from diffusers.training_utils import EMAModel
from tqdm.auto import tqdm

from magical_hub.data import CanvasStore
from magical_hub.errors import CheckpointError, ConfigError, TrainingError, TrainingStopped
from magical_hub.grid import Grid
from magical_hub.metrics import FeatureNetwork, efficientnet_lite0, extract, kid, relative_seam_ratio
from magical_hub.models import Generator, MagicalCritic, MagicalGenerator, SeamlessGenerator
from magical_hub.pictures import save_picture_grid
from magical_hub.pipeline import MagicalPipeline
from magical_hub.training import checkpoints
from magical_hub.training.augmentation import ADAPT_EVERY, AdaptiveStrength
from magical_hub.training.config import TrainingConfig
from magical_hub.training.history import History
from magical_hub.training.run import prepare_run
from magical_hub.training.sampling import Draw, StepSampler
from magical_hub.training.signals import StopSignals
from magical_hub.training.split import Split
from magical_hub.training.step import TrainingStep

logger = logging.getLogger(__name__)

WATCHED, WATCHED_PIXELS = 64, 2**24
"""Images, real and generated, behind a sample's figures: so many, or as many as make so many pixels, 8 at least."""


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
    accelerator = _accelerator(config)
    config, store, split = prepare_run(config, accelerator)
    if config.report_to != "nothing":
        accelerator.init_trackers("magical_hub", config={key: str(value) for key, value in vars(config).items()})
    try:
        return _Trainer(config, accelerator, store, split).run()
    finally:
        accelerator.end_training()


class _Trainer:
    """A run in progress."""

    def __init__(self, config: TrainingConfig, accelerator: Accelerator, store: CanvasStore, split: Split) -> None:
        self.config, self.accelerator, self.store, self.split = config, accelerator, store, split
        self.run_folder = Path(config.output_dir)
        self.train_indices = np.asarray(split.train)
        assert config.canvas and config.rows and config.cols and config.channels
        self.grid = Grid(config.rows, config.cols, *config.canvas)
        torch.manual_seed(config.seed)  # the weights' start; nothing else is drawn from torch's global state
        self.generator, self.critic = _networks(config, store, self.train_indices)
        self.ema = EMAModel(self.generator.parameters(), decay=config.ema_decay, foreach=True)
        self.ema.to(accelerator.device)
        self.optimizers = {
            "generator_optimizer": torch.optim.Adam(
                self.generator.parameters(), lr=config.generator_lr, betas=config.adam_betas
            ),
            "critic_optimizer": torch.optim.Adam(
                self.critic.parameters(), lr=config.critic_lr, betas=config.adam_betas
            ),
        }
        # Not prepared: Accelerate would let them run faster the more processes there are.
        self.schedulers = [
            get_scheduler(
                "constant_with_warmup" if config.lr_schedule == "constant" else config.lr_schedule,
                optimizer,
                num_warmup_steps=config.warmup_steps,
                num_training_steps=config.max_steps,
            )
            for optimizer in self.optimizers.values()
        ]
        self.augmentation = AdaptiveStrength(config.augment_target, config.augment_windows, config.batch_size)
        self.step = self._resume() if config.resume else 0
        generator, critic, *optimizers = accelerator.prepare(self.generator, self.critic, *self.optimizers.values())
        if config.validate and len(split.validation) < 8:
            raise ConfigError(f"validate needs 8 validation images and there are {len(split.validation)}: give more")
        if config.batch_size % accelerator.num_processes:
            raise ConfigError(
                f"batch_size {config.batch_size} cannot be shared by {accelerator.num_processes} processes: "
                "give a multiple of their number"
            )
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
            )
            for indices in (split.train, split.validation)
        )
        self.update = TrainingStep(
            config,
            self.grid,
            accelerator,
            generator,
            critic,
            optimizers,
            lambda draw: self._crop(draw, self.train_indices),
            lambda: self.augmentation.strength,
        )
        self.history = History(self.run_folder / "history.jsonl", self.step) if accelerator.is_main_process else None
        self.figures: dict[str, float] = {}
        self.saved_step = self.sampled_step = self.step
        self.stopped = False
        self.feature_network: FeatureNetwork | None = None

    def run(self) -> TrainingResult:
        """Steps until max_steps, max_minutes or a signal; then the pipeline."""
        started = time.monotonic()
        with StopSignals() as signals:
            self._loop(started, signals)
            if self.saved_step != self.step:
                self._save_checkpoint()
        if self.stopped:
            by = signals.received or "a signal to another process"
            raise TrainingStopped(f"stopped by {by} at step {self.step}: go on with --resume")
        if self.sampled_step != self.step:
            self._sample()
        if self.accelerator.is_main_process:
            generator = self._averaged_generator()
            generator.mapping.update_mean_style()
            MagicalPipeline(generator=generator, critic=_on_cpu(self.critic)).save_pretrained(self.run_folder)
        self.accelerator.wait_for_everyone()
        return TrainingResult(str(self.run_folder), self.step, round(time.monotonic() - started, 1), self.figures)

    def _loop(self, started: float, signals: StopSignals) -> None:
        config, main = self.config, self.accelerator.is_main_process
        with tqdm(total=config.max_steps, initial=self.step, desc="Training", unit="step", disable=not main) as bar:
            while self.step < config.max_steps and not self._must_stop(started, signals):
                first = self.step * config.n_critic
                terms = self.update([self.sampler.draw(first + part) for part in range(config.n_critic)])
                self.ema.step(self.generator.parameters())
                for scheduler in self.schedulers:
                    scheduler.step()
                self.step += 1
                bar.update()
                if self.history is not None:
                    self.history.add(terms)
                if config.augment == "adaptive" and self.step % ADAPT_EVERY == 0:
                    self._adapt(terms["critic/score_real"], terms["critic/score_fake"])
                at_end = self.step == config.max_steps
                if at_end or self.step % config.sample_every == 0:
                    self._sample()
                if at_end or self.step % config.checkpoint_every == 0:
                    self._save_checkpoint()
                if at_end or self.step % config.log_every == 0:
                    self._log(time.monotonic() - started, bar)

    def _adapt(self, real: torch.Tensor, fake: torch.Tensor) -> None:
        """Bring the augmentation to what the critic's overfitting asks for."""
        draw = self.held_out_sampler.draw(self.step // ADAPT_EVERY)
        held_out = self.update.mean_score(draw, *self._crop(draw, np.asarray(self.split.validation)))
        scores: Any = self.accelerator.reduce(torch.stack([real, fake, held_out]).detach(), "mean")
        overfitting = self.augmentation.adapt(*scores.tolist())
        if self.history is not None:
            strength = self.augmentation.strength
            self.history.add({"augmentation/strength": strength, "augmentation/overfitting": overfitting})

    def _crop(self, draw: Draw, part: np.ndarray) -> tuple[torch.Tensor, torch.Tensor | None]:
        indices = part[draw.indices]
        pixels = torch.from_numpy(self.store.crop(self.grid, indices, draw.locations.numpy(), self.config.window))
        labels = torch.from_numpy(self.store.labels[indices]) if self.store.class_names else None
        device = self.accelerator.device
        return pixels.to(device).float() / 127.5 - 1, None if labels is None else labels.to(device)

    def _must_stop(self, started: float, signals: StopSignals) -> bool:
        """Whether a signal or the time ends this sitting; all processes agree, and so stop at the same step."""
        minutes = self.config.max_minutes
        over = minutes is not None and time.monotonic() - started >= minutes * 60
        self.stopped = signals.received is not None
        if self.accelerator.num_processes > 1:
            wishes = torch.tensor([self.stopped, over], dtype=torch.float32, device=self.accelerator.device)
            self.stopped, over = (self.accelerator.reduce(wishes) > 0).tolist()
        return self.stopped or over

    def _log(self, seconds: float, bar: Any) -> None:
        """Write the means of the figures, and stop where one is no number."""
        if self.history is None:
            return
        self._check_finite(self.history.means())
        self.figures |= self.history.means()
        minutes = self.config.max_minutes
        if minutes is not None:  # so that the bar's time left is that of whichever comes first
            bar.total = min(
                self.config.max_steps, bar.initial + round((self.step - bar.initial) * minutes * 60 / seconds)
            )
        # "critic/adversarial" is "D adver" here: the bar has one line.
        players = {"critic": "D", "generator": "G"}
        terms = [name.split("/") for name in self.figures if name.split("/")[0] in players and "_" not in name]
        bar.set_postfix({f"{players[p]} {term[:5]}": f"{self.figures[f'{p}/{term}']:.2g}" for p, term in terms})
        self.accelerator.log(self.history.means(), step=self.step)
        self.history.write(self.step, seconds)

    def _check_finite(self, values: Mapping[str, Any]) -> None:
        """Stop where a figure or a weight is no number."""
        broken = next(
            (name for name, value in values.items() if not torch.isfinite(torch.as_tensor(value)).all()), None
        )
        if broken is not None:
            last = checkpoints.last_checkpoint(self.run_folder / "checkpoints")
            good = f"the last good checkpoint is {last.name}" if last else "no checkpoint was written yet"
            mend = "start again with lower generator_lr and critic_lr"
            raise TrainingError(f"{broken} is no number by step {self.step} ({good}): {mend}")

    def _averaged_generator(self) -> Generator:
        """The EMA weights in a generator of their own, on the CPU; its mean style is not brought up to date."""
        generator = _on_cpu(self.generator)
        with torch.no_grad():
            for parameter, average in zip(generator.parameters(), self.ema.shadow_params, strict=True):
                parameter.copy_(average)
        return generator

    def _generate(self, count: int) -> torch.Tensor:
        """Images of the seeds 0 .. count - 1 by the averaged weights: (count, C, H, W) in [0, 1].

        Not on the accelerator's device: the copy is small, and the run's own memory stays as it was planned.
        """
        pipe = MagicalPipeline(self._averaged_generator())
        pipe.set_progress_bar_config(disable=True)
        images: Any = pipe(seeds=range(count), output_type="pt").images
        return images

    def _sample(self) -> None:
        """Pictures of fixed latents under the real ones, and the relative seam ratio."""
        self.sampled_step = self.step
        if not self.accelerator.is_main_process:
            return
        count = min(WATCHED, max(8, WATCHED_PIXELS // (self.grid.height * self.grid.width)))
        real = self.store.images(np.asarray(self.split.validation or self.split.train)[:count])
        made = (self._generate(count) * 255).round().to(torch.uint8).numpy()
        save_picture_grid(
            np.concatenate([real[:8], made[:32]]) if len(real) >= 8 else made[:32],
            self.run_folder / "samples" / f"step-{self.step:08d}.png",
            columns=8,
        )
        assert self.history is not None
        seams = relative_seam_ratio(made, real, self.grid)._asdict()
        # A direction without seams has no ratio.
        self.history.add({f"seams/{name}": torch.tensor(x) for name, x in seams.items() if np.isfinite(x)})

    def _validate(self) -> float:
        """KID between images of fixed seeds and the validation part, on the bundled feature network."""
        assert self.history is not None
        if self.feature_network is None:
            self.feature_network = efficientnet_lite0()
        real = self.store.images(np.asarray(self.split.validation))
        theirs = extract(real.astype(np.float32) / 127.5 - 1, self.feature_network)
        score = kid(theirs, extract(2 * self._generate(len(real)) - 1, self.feature_network)).mean
        self.history.add({"validation/kid": torch.tensor(score)})
        return float(score)

    def _save_checkpoint(self) -> None:
        self.saved_step = self.step
        if not self.accelerator.is_main_process:
            return
        names = [name for name, _ in self.generator.named_parameters()]
        modules = {
            "generator": self.generator.state_dict(),
            "critic": self.critic.state_dict(),
            "ema": dict(zip(names, self.ema.shadow_params, strict=True)),
        }
        for player, state in modules.items():
            self._check_finite({f"{player}: {name}": value for name, value in state.items()})
        about = {
            "fingerprint": self.store.fingerprint,
            "ema_step": self.ema.optimization_step,
            "augmentation_strength": self.augmentation.strength,
            "schedulers": [scheduler.state_dict() for scheduler in self.schedulers],
            "kid": self._validate() if self.config.validate else None,
        }
        checkpoints.save_checkpoint(
            self.run_folder / "checkpoints", self.step, about, modules, self.optimizers, self.config.keep_checkpoints
        )

    def _resume(self) -> int:
        last = checkpoints.last_checkpoint(self.run_folder / "checkpoints")
        if last is None:
            logger.warning("%s has no checkpoint to resume from: starting from zero", self.run_folder)
            return 0
        about = checkpoints.load_about(last)
        if about["fingerprint"] != self.store.fingerprint:
            raise CheckpointError(
                f"the data of {self.run_folder} changed since {last.name}: start a new run for new data"
            )
        try:
            self.generator.load_state_dict(checkpoints.load_module_state(last, "generator"))
            self.critic.load_state_dict(checkpoints.load_module_state(last, "critic"))
            averages = checkpoints.load_module_state(last, "ema")
            for (name, _), shadow in zip(self.generator.named_parameters(), self.ema.shadow_params, strict=True):
                shadow.copy_(averages[name])
            self.ema.optimization_step = about["ema_step"]
            self.augmentation.strength = about["augmentation_strength"]
            for name, optimizer in self.optimizers.items():
                checkpoints.load_optimizer(last, name, optimizer)
            for scheduler, state in zip(self.schedulers, about["schedulers"], strict=True):
                scheduler.load_state_dict(state)
        except (KeyError, RuntimeError) as error:  # of another version of this library, say
            reason = str(error).strip().splitlines()[0]
            raise CheckpointError(f"{last} does not fit this run ({reason}): start a new run") from error
        return int(about["step"])


def _networks(config: TrainingConfig, store: CanvasStore, train: np.ndarray) -> tuple[Generator, MagicalCritic]:
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


def _on_cpu(network: Any) -> Any:
    """A copy on the CPU, free of what `accelerator.prepare` hung on the original's forward."""
    bare = type(network).from_config(network.config)
    bare.load_state_dict({key: value.detach().cpu() for key, value in network.state_dict().items()})
    return bare.eval()


def _accelerator(config: TrainingConfig) -> Accelerator:
    precision, tracker = _precision(config), config.report_to
    if tracker != "nothing" and importlib.util.find_spec(tracker) is None:
        raise ConfigError(f"report_to {tracker} needs its package: pip install {tracker}")
    try:
        return Accelerator(
            mixed_precision=precision,
            log_with=None if tracker == "nothing" else tracker,
            project_dir=Path(config.output_dir) / "logs",
        )
    except ValueError as error:  # Accelerate holds one precision a process, and knows what the hardware lacks
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(f"mixed_precision {precision} can't be had in this process: {reason}") from error


def _precision(config: TrainingConfig) -> str:
    if config.mixed_precision == "fp16" and not torch.cuda.is_available():
        raise ConfigError(
            "mixed_precision fp16 needs a GPU (a CPU would silently compute in float32): give bf16 or no"
        )
    if config.mixed_precision != "auto":
        return config.mixed_precision
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "no"
    # Not in every torch that will do otherwise.
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return "bf16" if capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") else "no"
