"""Shards in the cache are used only where they are what was written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from magical_hub import augment_dataset


def record(**values: Any) -> Callable[[Path], Any]:
    def act(shard: Path) -> None:
        file = shard.with_suffix(".json")
        file.write_text(json.dumps({**json.loads(file.read_text()), **values}))

    return act


def flipped(shard: Path) -> None:
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)


def linked(shard: Path) -> None:
    moved = shard.rename(shard.with_name("moved"))
    shard.symlink_to(moved)


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "missing": lambda shard: shard.unlink(),
    "empty": lambda shard: shard.write_bytes(b""),
    "cut off": lambda shard: shard.write_bytes(shard.read_bytes()[:-400]),
    "a byte flipped": flipped,
    "another one": lambda shard: shard.write_bytes(sorted(shard.parent.glob("*.arrow"))[0].read_bytes()),
    "a link": linked,
    "a folder": lambda shard: (shard.unlink(), shard.mkdir()),
    "no record": lambda shard: shard.with_suffix(".json").unlink(),
    "a record cut off": lambda shard: shard.with_suffix(".json").write_bytes(b'{"rows": 1'),
    "a record of an earlier version": lambda shard: shard.with_suffix(".json").write_text('{"made": 3}'),
    "a record of fewer rows": record(rows=1),
    "counts that are a list": record(counts=[1]),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_shard_that_is_not_what_was_written_is_made_again(labelled, class_pipe, pixels, cache, name):
    once = augment_dataset(labelled, class_pipe, 70)
    before, labels = pixels(once), once["label"][:]
    first, last = sorted(cache.rglob("*.arrow"))
    kept = first.stat().st_mtime_ns
    DAMAGES[name](last)
    if name == "a folder":
        with pytest.raises(OSError):
            augment_dataset(labelled, class_pipe, 70)
        last.rmdir()
    again = augment_dataset(labelled, class_pipe, 70)
    assert len(again) == 80 and again["label"][:] == labels and np.array_equal(pixels(again), before)
    assert first.stat().st_mtime_ns == kept


def test_another_version_of_the_code_makes_its_own(labelled, class_pipe, cache, monkeypatch):
    augment_dataset(labelled, class_pipe, 3)
    augment_dataset(labelled, class_pipe, 3)
    assert len([*cache.rglob("*.arrow")]) == 1
    made_by = {"magical_hub": "0.1.0", "code_sha256": "another", "libraries": {}}
    monkeypatch.setattr("magical_hub.provenance.made_by", lambda: made_by)
    augment_dataset(labelled, class_pipe, 3)
    assert len([*cache.rglob("*.arrow")]) == 2
