"""A call that is killed goes on where it was; what it gives is the same."""

from __future__ import annotations

import os
import signal
import time

import numpy as np
from forks import start

from magical_hub import augment_dataset


def test_a_killed_call_goes_on(labelled, class_pipe, pixels, cache, tmp_path, monkeypatch):
    child = start(lambda: augment_dataset(labelled, class_pipe, 400))
    while not [*cache.rglob("*.arrow")] and child.is_alive():
        time.sleep(0.002)
    assert child.is_alive(), "it ended before it was killed: give it more images"
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    there = {path: path.stat().st_mtime_ns for path in cache.rglob("*.arrow")}
    assert 1 <= len(there) < 7

    resumed = augment_dataset(labelled, class_pipe, 400)
    assert {path: path.stat().st_mtime_ns for path in there} == there
    files = [path.name for path in cache.rglob("*") if path.is_file()]
    assert len(resumed) == 410 and not [name for name in files if "incomplete" in name]
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "other")
    once = augment_dataset(labelled, class_pipe, 400)
    assert np.array_equal(pixels(resumed), pixels(once))
    assert resumed.remove_columns("image")[:] == once.remove_columns("image")[:]
