"""Files of weights: their names, what their header says before anything is loaded, and their hash."""

from __future__ import annotations

import errno
import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from diffusers.utils import SAFETENSORS_WEIGHTS_NAME
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from magical_hub.checkpoint.pulling import instead_of_weights
from magical_hub.errors import CheckpointError
from magical_hub.safety import check_inside

FLOATS = {"F64", "F32", "F16", "BF16"}


def component_files(variant: str | None = None) -> tuple[str, str]:
    """The names of a network's configuration and weights in its folder; `variant` as in diffusers ("fp16")."""
    stem, dot, ending = SAFETENSORS_WEIGHTS_NAME.rpartition(".")
    return "config.json", f"{stem}.{variant}{dot}{ending}" if variant else SAFETENSORS_WEIGHTS_NAME


def check_weights_file(folder: Path, variant: str | None, shapes: dict[str, tuple[int, ...]]) -> None:
    """Refuse weights that are not those of a network, from the header of their file.

    Args:
        folder: of the network.
        variant: as in diffusers.
        shapes: of each tensor that the network has.

    Raises:
        CheckpointError: where the file is missing or damaged; or for the first tensor that is missing, too much, of
            another shape, or of no floats.
    """
    file = folder / component_files(variant)[1]
    check_inside(file, folder)
    if not file.is_file():
        names = [path.name for path in folder.iterdir()]
        raise CheckpointError(f"{folder} has no {file.name}{instead_of_weights(names)}")
    if any(folder.glob("*.index.json")):
        raise CheckpointError(f"{folder} has its weights in several files: take a checkpoint that has one file")
    header = read_header(file)
    for name, shape in shapes.items():
        if name not in header:
            raise CheckpointError(f"{file} has no weights for {name}: take another checkpoint")
        kind, actual = header[name]
        if actual != shape:
            raise CheckpointError(f"{file}: {name} is {list(actual)}, and by the configuration {list(shape)}")
        if kind not in FLOATS:
            raise CheckpointError(f"{file}: {name} holds {kind}, and no floating-point numbers")
    for name in header:
        if name not in shapes:
            raise CheckpointError(f"{file} has weights for {name[:100]!r}, which the network lacks")


def read_header(path: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """The dtype and the shape of every tensor of a safetensors file, without the tensors.

    Raises:
        CheckpointError: where it is truncated, oversized, or no safetensors file at all.
    """
    try:
        with safe_open(path, framework="pt") as file:
            parts = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - it is not a mapping
            return {name: (part.get_dtype(), tuple(part.get_shape())) for name, part in parts.items()}
    except (OSError, SafetensorError) as error:
        reason = str(error).partition("\n")[0]
        raise CheckpointError(f"{path} is not a whole safetensors file ({reason}): take another checkpoint") from error


def check_weights(network: torch.nn.Module, name: str) -> None:
    """Refuse weights that are not finite, which are loaded without a word.

    Raises:
        CheckpointError: naming the first such tensor.
    """
    if (key := not_finite(network.state_dict())) is not None:
        raise CheckpointError(f"{name} has weights that are not finite (in {key}): take another checkpoint")


def not_finite(weights: Mapping[str, torch.Tensor]) -> str | None:
    """The name of the first tensor with a number that is not finite; None where there is none."""
    return next((name for name, value in weights.items() if not bool(torch.isfinite(value).all())), None)


def weights_sha256(network: torch.nn.Module) -> str:
    """The SHA-256 of the weights as `save_pretrained` writes them, by which a report names them."""
    weights = {name: value.cpu().contiguous() for name, value in network.state_dict().items()}
    return hashlib.sha256(save(weights, metadata={"format": "pt"})).hexdigest()


def as_os_error(error: SafetensorError) -> OSError:
    """The error of the operating system (a full disk, say), which safetensors hides in its text."""
    number = re.search(r"os error (\d+)", str(error))
    code = int(number.group(1)) if number else errno.EIO
    return OSError(code, os.strerror(code))
