"""Interruptions of a run: figures or weights that are not finite, memory that runs out, and signals."""

from __future__ import annotations

import signal
import threading
from dataclasses import replace
from pathlib import Path
from types import FrameType, TracebackType

import torch

from magical_hub.errors import TrainingError, first_line
from magical_hub.training.config import TrainingConfig
from magical_hub.training.run.checkpoints import last_checkpoint

MOST_ROLL_BACKS = 3
"""How often a run is rolled back, each time to half of its learning rates, in all its sessions, before it stops."""


class NotFinite(TrainingError):
    """A figure or a weight is not finite: its name, the step that gave it, and the run, for its last checkpoint."""

    def __init__(self, name: str, step: int, run_folder: Path) -> None:
        last = last_checkpoint(run_folder / "checkpoints")
        self.what = f"{name} is not finite at step {step}"
        self.good = f"the last good checkpoint is {last.name}" if last else "no checkpoint was written yet"
        super().__init__(f"{self.what} ({self.good}): start again with lower generator_lr and critic_lr")


def is_out_of_memory(error: Exception) -> bool:
    """Whether memory ran out: a GPU's, or what the system gives a process.

    Linux may also promise memory that it lacks and kill the process later, which cannot be caught.
    """
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    # What torch says on Linux, on Windows, on Apple's GPUs and where oneDNN finds none: there is no class for it.
    signs = ("can't allocate memory", "not enough memory", "out of memory", "could not create a primitive")
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in signs)


def with_smaller_passes(config: TrainingConfig, num_processes: int, error: Exception) -> TrainingConfig:
    """The configuration after memory ran out with an error: half as many windows at once, where it may be changed so.

    Raises:
        TrainingError: unless `auto_batch_size` is on, a pass can be halved, and there is one process.
            Of several, those with memory left wait for the one without in the middle of a step, and cannot be stopped.
    """
    at_once = config.batch_size // (num_processes * config.gradient_accumulation)
    divides = at_once % (4 if config.critic_input == "windows" else 2) == 0  # same-location pairs stay together
    if config.auto_batch_size and num_processes == 1 and divides:
        return replace(config, gradient_accumulation=2 * config.gradient_accumulation)
    height, width = config.canvas or (0, 0)
    reason = first_line(error)
    raise TrainingError(
        f"out of memory with {at_once} windows of {config.window_rows} x {config.window_cols} sub-regions at once "
        f"({reason}): "
        "raise gradient_accumulation (the result stays), lower batch_size or base_width, or "
        f"cut {height} x {width} px into smaller sub-regions by more rows and cols"
    ) from error


class StopSignals:
    """While entered, records the first SIGTERM or SIGINT, so that the run can stop after the step in progress.

    A second SIGINT ends the process as usual. A second SIGTERM does not: launchers send it to processes that had it,
    or the terminal's SIGINT, already.

    Attributes:
        received: the signal's name, or None.
    """

    def __init__(self) -> None:
        self.received: str | None = None
        self._before: dict[int, object] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():  # the only one that may set handlers
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._record)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _record(self, number: int, frame: FrameType | None) -> None:
        self.received = self.received or signal.Signals(number).name
        if number == signal.SIGINT:
            signal.signal(number, self._before.pop(number))  # type: ignore[arg-type]
