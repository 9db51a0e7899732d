"""What sets a run back: a figure or a weight that is no number, and memory that runs out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from magical_hub.errors import TrainingError, first_line
from magical_hub.training.checkpoints import last_checkpoint
from magical_hub.training.config import TrainingConfig

MOST_ROLL_BACKS = 3
"""How often a run goes back and on at half its rates, in all its sittings, before it stops."""


class NotFinite(TrainingError):
    """A figure or a weight is no number.

    Args:
        name: of the loss term, the figure or the weight.
        step: the step that gave it.
        run_folder: where the last good checkpoint is looked for.
    """

    def __init__(self, name: str, step: int, run_folder: Path) -> None:
        last = last_checkpoint(run_folder / "checkpoints")
        self.what = f"{name} is no number at step {step}"
        self.good = f"the last good checkpoint is {last.name}" if last else "no checkpoint was written yet"
        super().__init__(f"{self.what} ({self.good}): start again with lower generator_lr and critic_lr")


def is_out_of_memory(error: Exception) -> bool:
    """Whether memory ran out: a GPU's, or what the system gives a process.

    Linux may also promise memory that it lacks and kill the process later, which nobody can catch.
    """
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    # What torch says on Linux, on Windows, on Apple's GPUs and where oneDNN finds none: there is no class for it.
    signs = ("can't allocate memory", "not enough memory", "out of memory", "could not create a primitive")
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in signs)


def with_less_at_once(config: TrainingConfig, num_processes: int, error: Exception) -> TrainingConfig:
    """The configuration after memory ran out: half as many windows at once, where it may be changed so.

    Args:
        config: what was being trained.
        num_processes: how many share a batch.
        error: what said that memory ran out.

    Raises:
        TrainingError: unless `auto_batch_size` is on, a pass can be halved, and there is one process.
            Of several, those with memory left wait for the one without in the middle of a step, and could not be told.
    """
    at_once = config.batch_size // (num_processes * config.gradient_accumulation)
    whole = at_once % (4 if config.critic_sees == "windows" else 2) == 0  # twins stay together
    if config.auto_batch_size and num_processes == 1 and whole:
        return replace(config, gradient_accumulation=2 * config.gradient_accumulation)
    height, width = config.canvas or (0, 0)
    reason = first_line(error)
    raise TrainingError(
        f"out of memory with {at_once} windows of {config.window_rows} x {config.window_cols} sub-regions at once "
        f"({reason}): "
        "raise gradient_accumulation (the result stays), lower batch_size or base_width, or "
        f"cut {height} x {width} px into smaller sub-regions by more rows and cols"
    ) from error
