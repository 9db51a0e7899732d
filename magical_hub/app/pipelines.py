"""Pipelines that were loaded, a few at most, for all who look at the page."""

from __future__ import annotations

import threading
from collections import OrderedDict

from magical_hub.devices import move
from magical_hub.files import expanded
from magical_hub.pipeline import MagicalPipeline

Key = tuple[str, int]
"""A checkpoint's name, and when the index in its folder was written: a RUN that was trained on is loaded again."""


class Pipelines:
    """Gives the pipeline of a checkpoint; of many, the longest unused goes.

    Args:
        device: where they run.
        most: how many stay loaded.
    """

    def __init__(self, device: str = "cpu", most: int = 3) -> None:
        self._device, self._most = device, most
        self._lock = threading.Lock()
        self._loaded: OrderedDict[Key, MagicalPipeline] = OrderedDict()

    def get(self, checkpoint: str) -> MagicalPipeline:
        """Load a checkpoint, or find it loaded. A pipeline keeps no state between calls, so that all may share it.

        Raises:
            CheckpointError, ConfigError: as `from_pretrained`, and where there is no such device.
        """
        index = expanded(checkpoint) / "model_index.json"
        key = checkpoint, index.stat().st_mtime_ns if index.is_file() else 0
        with self._lock:
            if key not in self._loaded:
                pipe = MagicalPipeline.from_pretrained(checkpoint)
                move(self._device, pipe)
                pipe.set_progress_bar_config(disable=True)
                self._loaded[key] = pipe
                while len(self._loaded) > self._most:
                    self._loaded.popitem(last=False)
            self._loaded.move_to_end(key)
            return self._loaded[key]
