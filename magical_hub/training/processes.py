"""The processes of a run, and the precision that its hardware can have."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs

from magical_hub.errors import ConfigError, first_line
from magical_hub.training.config import TrainingConfig
from magical_hub.training.run.split import Split

PATIENCE = timedelta(hours=12)
"""How long processes wait for the main one, which alone decodes the data, draws samples and measures."""


def check_shares(config: TrainingConfig, split: Split, num_processes: int) -> None:
    """Raise a ConfigError where the settings don't fit the number of processes or of images."""
    if config.validate and len(split.validation) < 8:
        raise ConfigError(f"validate needs 8 validation images and there are {len(split.validation)}: give more")
    if config.batch_size % (num_processes * config.gradient_accumulation):
        many = config.gradient_accumulation > 1
        raise ConfigError(
            f"batch_size {config.batch_size} cannot be shared by {num_processes} processes"
            f"{f' in {config.gradient_accumulation} parts each' if many else ''}: "
            f"give a multiple of {'the product' if many else 'their number'}"
        )
    parts = num_processes * config.gradient_accumulation
    if config.critic_input == "windows" and config.batch_size % 2 == 0 and config.batch_size // parts % 2:
        raise ConfigError(
            f"batch_size {config.batch_size} in {parts} parts would separate same-location pairs: "
            f"give a multiple of {2 * parts}, or an odd number, which has no pairs"
        )


def make_accelerator(config: TrainingConfig) -> Accelerator:
    """The processes, precision and tracker of the configuration.

    Raises:
        ConfigError: where this machine, or what is installed, can't give them.
    """
    precision, tracker = config.mixed_precision, config.report_to
    if precision == "fp16" and not torch.cuda.is_available():
        raise ConfigError(
            "mixed_precision fp16 needs a GPU (a CPU would silently compute in float32): give bf16 or no"
        )
    if precision == "auto":
        precision = "bf16" if multiplies_bf16() else "no"
    if tracker != "nothing" and importlib.util.find_spec(tracker) is None:
        package = "'magical-hub[mlops]'" if tracker == "mlflow" else tracker
        raise ConfigError(f"report_to {tracker} needs its package: pip install {package}")
    try:
        accelerator = Accelerator(
            mixed_precision=precision,
            log_with=None if tracker == "nothing" else tracker,
            project_dir=Path(config.output_dir) / "logs",
            kwargs_handlers=[InitProcessGroupKwargs(timeout=PATIENCE)],
        )
    except ValueError as error:  # Accelerate holds one precision per process, and checks what the hardware supports
        reason = first_line(error)
        raise ConfigError(f"mixed_precision {precision} is not available in this process: {reason}") from error
    launched = int(os.environ.get("WORLD_SIZE", 1))
    if launched != accelerator.num_processes:  # each would train for itself, all in one folder
        raise ConfigError(
            f"{launched} processes were launched, and Accelerate does not join them: "
            "set ACCELERATE_USE_CPU=true to train on the CPU, or look for the GPUs"
        )
    return accelerator


def multiplies_bf16() -> bool:
    """Whether the hardware itself multiplies bf16, several times as fast as float32."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # Not in every torch that will do otherwise.
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


@contextmanager
def deterministic_kernels(wanted: bool) -> Iterator[None]:
    """Make torch use deterministic kernels within the block, where that is configured."""
    before = torch.are_deterministic_algorithms_enabled()
    if wanted:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it when it starts
        torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
