"""The record of a run: what its weights come from, from its first session to the one in progress."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from magical_hub import provenance
from magical_hub.data import CanvasStore
from magical_hub.training.config import TrainingConfig
from magical_hub.training.run.split import PARTS, Split


def run_record(
    config: TrainingConfig, store: CanvasStore, split: Split, last: Path | None, step: int, origin: dict[str, Any]
) -> dict[str, Any]:
    """What the records of all checkpoints of a session say (see provenance.py).

    Args:
        config, store, split: of the run.
        last: the checkpoint that this session continues, or None.
        step: the steps done before it.
        origin: of the checkpoint that a new run starts from, or nothing.
    """
    before = (provenance.read(last / provenance.FILE) if last is not None else None) or {}
    started_from: dict[str, Any] = {key: before[key] for key in ("checkpoint", "revision", "from") if key in before}
    if origin:
        started_from = {"from": origin["record"], **{key: origin[key] for key in origin if key != "record"}}
    sessions = [one for one in provenance.sessions_of(before) if one["from_step"] < step]
    now = provenance.made_by()
    if not sessions or {**sessions[-1], "from_step": 0} != {**now, "from_step": 0}:
        sessions.append({**now, "from_step": step})
    return {
        "data": {
            "fingerprint": store.fingerprint,
            "images": len(store),
            **{part: len(getattr(split, part)) for part in PARTS},
            "sha256": split.sha256(),
        },
        "split_sha256": provenance.file_sha256(Path(config.output_dir) / "split.json"),
        "seed": config.seed,
        "configuration": TrainingConfig.public_of(json.loads(config.to_json())),
        "sessions": sessions,
        **started_from,
    }
