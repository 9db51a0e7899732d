"""Which weights rows come from."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import torch

from magical_hub.pipeline import MagicalPipeline


def weights_digest(pipe: MagicalPipeline) -> str:
    """The sha256 of the configurations and weights that images and their verification hang on."""
    sha = hashlib.sha256()
    for name, network in sorted(pipe.components.items()):
        if name == "critic" or network is None:
            continue
        about = {key: value for key, value in network.config.items() if key != "_name_or_path"}
        sha.update(json.dumps([name, about], sort_keys=True, default=str).encode())
        for key, value in sorted(network.state_dict().items()):
            sha.update(f"{key} {value.dtype} {tuple(value.shape)}".encode())
            sha.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return sha.hexdigest()


def source_of(pipe: MagicalPipeline, digest: str) -> str:
    """What rows say they come from: the checkpoint's name, without the folders above it, and its weights."""
    name = str(pipe.config.get("_name_or_path") or "unsaved")
    on_hub = re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", name) and not Path(name).is_dir()
    return f"{name if on_hub else Path(name).name}@{digest[:12]}"
