"""Moving networks and pipelines to a device."""

from __future__ import annotations

import torch
from diffusers import DiffusionPipeline
from torch import nn

from magical_hub.errors import ConfigError


def move(device: str, *modules: nn.Module | DiffusionPipeline) -> None:
    """Move networks and pipelines to a device, in place.

    Raises:
        ConfigError: where this machine has no such device.
    """
    try:
        if torch.device(device).type == "meta":
            raise RuntimeError("it keeps no weights")
        for module in modules:
            module.to(device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"there is no device {device} here: give cpu, or cuda or mps where there is one") from error
