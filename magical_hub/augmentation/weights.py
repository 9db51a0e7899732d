"""Which checkpoint rows come from."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from magical_hub.checkpoint import weights_sha256
from magical_hub.pipeline import MagicalPipeline


def weights_digest(pipe: MagicalPipeline) -> str:
    """The sha256 of the configurations and weights that images and their verification hang on."""
    about = []
    for name, network in sorted(pipe.components.items()):
        if name != "critic" and network is not None:
            config = {key: value for key, value in network.config.items() if key != "_name_or_path"}
            about.append([name, config, weights_sha256(network)])
    return hashlib.sha256(json.dumps(about, sort_keys=True, default=str).encode()).hexdigest()


def source_of(pipe: MagicalPipeline) -> str:
    """What rows say they come from: OWNER/NAME@REVISION of the Hub, or the folder's name and a hash of the weights."""
    folder = Path(str(pipe.config.get("_name_or_path") or "unsaved"))
    if folder.parent.name == "snapshots":  # of the Hub's cache: models--OWNER--NAME/snapshots/REVISION
        return f"{folder.parent.parent.name.removeprefix('models--').replace('--', '/')}@{folder.name}"
    return f"{folder.name}@{weights_sha256(pipe.generator)[:12]}"
