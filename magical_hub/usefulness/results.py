"""Finished detectors: on disk, a line of JSON each, so that a stopped run can continue; and compared by draw."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from magical_hub.errors import ConfigError, DataError
from magical_hub.files import check_plain, write_text
from magical_hub.metrics.paired import Difference, difference_over_draws
from magical_hub.safety import read_json
from magical_hub.usefulness.arms import ORACLE


@dataclass(frozen=True)
class Task:
    """One detector to be trained: which arm, how many defective images, which draw of them."""

    arm: str
    count: int
    draw: int


@dataclass(frozen=True)
class Result:
    """A finished detector.

    Attributes:
        task: which one.
        measure: "mAP" or "pixel AP".
        classes: average precision of each class on the test images, 0 to 1.
        mean: of the classes.
        seconds: processor time of making synthetic images and of the training.
        synthetic: images that were made for it.
        share: of the rows of a batch that were these.
    """

    task: Task
    measure: str
    classes: dict[str, float]
    mean: float
    seconds: float
    synthetic: int
    share: float


class Results:
    """The finished detectors of a folder, which several processes may add to.

    Args:
        folder: where "detectors.jsonl" and "protocol.json" are or will be.
        protocol: all that the figures depend on, as JSON; results of another protocol are refused.

    Raises:
        ConfigError: where the folder has results of another protocol.
        DataError: where a file of the folder is damaged, or a link.
    """

    def __init__(self, folder: Path, protocol: dict[str, Any]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("detectors.jsonl", "protocol.json", ".detectors.lock"):
            check_plain(folder / name)
        self._path, self._lock = folder / "detectors.jsonl", FileLock(folder / ".detectors.lock")
        with self._lock:
            known = folder / "protocol.json"
            if known.exists():
                before = read_json(known, folder, DataError, "give another output_dir")
                now = json.loads(json.dumps(protocol))
                other = [name for name in now if before.get(name) != now[name]]
                if other:
                    raise ConfigError(
                        f"{folder} has results with another {', '.join(other)}: give another output_dir, or the same "
                        "options"
                    )
            else:
                write_text(known, json.dumps(protocol, indent=2))

    def finished(self) -> dict[Task, Result]:
        """All of them so far.

        Raises:
            DataError: where a line is damaged.
        """
        found: dict[Task, Result] = {}
        lines = self._path.read_text(encoding="utf-8").splitlines() if self._path.exists() else []
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line)
                result = Result(**{**row, "task": Task(**row["task"])})
                found[result.task] = result
            except (ValueError, TypeError, LookupError) as error:
                raise DataError(
                    f"line {number} of {self._path} is not a finished detector: delete the line to train it again"
                ) from error
        return found

    def add(self, result: Result) -> None:
        """Keep one more; the file is written whole."""
        with self._lock:
            before = self._path.read_text() if self._path.exists() else ""
            write_text(self._path, before + json.dumps(asdict(result)) + "\n")


def scores(results: Mapping[Task, Result], arm: str, count: int) -> dict[int, Result]:
    """The finished detectors of an arm by draw; those of the oracle are the same at every count."""
    count = 0 if arm == ORACLE else count
    found = {task.draw: result for task, result in results.items() if task.arm == arm and task.count == count}
    return dict(sorted(found.items()))


def paired(results: Mapping[Task, Result], ours: str, theirs: str, count: int) -> Difference | None:
    """The difference of two arms over the draws that both have; None where there are none."""
    first, second = scores(results, ours, count), scores(results, theirs, count)
    both = [draw for draw in first if draw in second]
    if not both:
        return None
    return difference_over_draws(*(np.array([found[draw].mean for draw in both]) for found in (first, second)))
