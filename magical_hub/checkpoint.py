"""From a name to a checkpoint: a bundled one, a folder, or an id on the Hub; and what is refused."""

from __future__ import annotations

import errno
import json
import os
import re
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError
from safetensors import SafetensorError

from magical_hub.errors import CheckpointError

BUNDLED = Path(__file__).parent / "checkpoints"
"""Checkpoints that come with the package, a folder each."""


def bundled_names() -> list[str]:
    """Names of the bundled checkpoints."""
    return sorted(path.name for path in BUNDLED.iterdir() if path.is_dir()) if BUNDLED.is_dir() else []


def locate(name: str | Path) -> Path | str:
    """A folder that holds a pipeline, or an id on the Hub.

    A folder of that name comes before a bundled checkpoint, and that before the Hub.

    Raises:
        CheckpointError: where the folder is no pipeline, or the name can be none of the three.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        if (folder / "model_index.json").is_file():
            return folder
        if (folder / "checkpoints").is_dir():
            raise CheckpointError(f"{name} is a training that has not ended: let it end, or go on with --resume")
        raise CheckpointError(
            f"{name} is no checkpoint (it has no model_index.json): give the folder that training wrote"
        )
    if str(name) in bundled_names():
        return BUNDLED / str(name)
    if re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*(@[\w./-]+)?", str(name)):
        return str(name)
    raise CheckpointError(
        f"there is no checkpoint {name}: give a folder, an id on the Hub (OWNER/NAME), "
        f"or a bundled one ({', '.join(bundled_names()) or 'none in this build'})"
    )


def describe(name: str | Path) -> dict[str, Any]:
    """What a checkpoint is, from its configuration alone: no weights are loaded.

    Raises:
        CheckpointError: as `locate`, or where its files are damaged or cannot be reached.
    """
    place = locate(name)
    try:
        if isinstance(place, str):
            repo_id, _, revision = place.partition("@")
            place = Path(
                snapshot_download(
                    repo_id, revision=revision or None, allow_patterns=["model_index.json", "generator/config.json"]
                )
            )
        index = json.loads((place / "model_index.json").read_text())
        config = json.loads((place / "generator" / "config.json").read_text())
        height, width = config["image_size"]
        rows, cols = config["rows"], config["cols"]
        return {
            "checkpoint": str(name),
            "pipeline": index["_class_name"],
            "generator": config["_class_name"],
            "image_size": [height, width],
            "channels": config["channels"],
            "grid": [rows, cols],
            "sub_region": [height // rows, width // cols],
            "class_names": config["class_names"],
            "latent_dim": config["latent_dim"],
            "critic": index.get("critic", [None])[0] is not None,
            "bytes": sum(path.stat().st_size for path in place.glob("*/*.safetensors")),
            "made_with": index["_diffusers_version"],
        }
    except (OSError, ValueError, LookupError, TypeError, AttributeError, HfHubHTTPError) as error:
        reason = f"{type(error).__name__}: {error}".strip().splitlines()[0]
        raise CheckpointError(f"{name} cannot be read as a checkpoint ({reason}): take another one") from error


def as_os_error(error: SafetensorError) -> OSError:
    """What the operating system said (a full disk, say), which safetensors hides in its text."""
    number = re.search(r"os error (\d+)", str(error))
    code = int(number.group(1)) if number else errno.EIO
    return OSError(code, os.strerror(code))


def check_weights(module: torch.nn.Module, name: str) -> None:
    """Refuse weights that are missing or not finite, which are loaded without a word.

    Raises:
        CheckpointError: naming the first such tensor.
    """
    for key, value in module.state_dict().items():
        if value.is_meta:  # diffusers leaves a tensor that the file lacks without a value
            raise CheckpointError(f"{name} has no weights for {key}: take another checkpoint")
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise CheckpointError(f"{name} has weights that are no numbers (in {key}): take another checkpoint")
