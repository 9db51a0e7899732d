"""The record of a run: what its weights come from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from magical_hub import provenance
from magical_hub.data import CanvasStore
from magical_hub.training.config import TrainingConfig
from magical_hub.training.run.split import Split


class RunRecord:
    """What a run's records say, from its first session to the one in progress.

    Args:
        config: the configuration of the run.
        store: the images.
        split: their parts.
        last: the checkpoint that this session continues, or None.
        step: the steps done before it.
        origin: of the checkpoint that a new run starts from (see provenance.py), or nothing.
    """

    def __init__(
        self,
        config: TrainingConfig,
        store: CanvasStore,
        split: Split,
        last: Path | None,
        step: int,
        origin: dict[str, Any],
    ) -> None:
        settings = json.loads(config.to_json())
        self._about = {
            "data": {
                "fingerprint": store.fingerprint,
                "images": len(store),
                **{part: len(getattr(split, part)) for part in ("train", "validation", "holdout")},
                "sha256": split.sha256(),
            },
            "split_sha256": provenance.file_sha256(Path(config.output_dir) / "split.json"),
            "seed": config.seed,
            "configuration": TrainingConfig.public_of(settings),
        }
        before = (provenance.read(last / provenance.FILE) if last is not None else None) or {}
        self._from: dict[str, Any] = {key: before[key] for key in ("checkpoint", "revision", "from") if key in before}
        if origin:
            self._from = {"from": origin["record"], **{key: origin[key] for key in origin if key != "record"}}
        self._sessions = [one for one in provenance.sessions_of(before) if one["from_step"] < step]
        now = provenance.made_by()
        if not self._sessions or {**self._sessions[-1], "from_step": 0} != {**now, "from_step": 0}:
            self._sessions.append({**now, "from_step": step})

    def at(self, step: int, weights: str | None = None) -> dict[str, Any]:
        """The record of a checkpoint.

        Args:
            step: the steps done.
            weights: `weights_sha256` of the generator that others will use, where it is final.
        """
        final = {} if weights is None else {"weights_sha256": weights}
        return {"made": "checkpoint", "steps": step, **final, **self._about, "sessions": self._sessions, **self._from}
