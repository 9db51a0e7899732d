"""Arms beside each other: their scores by draw, and the paired differences."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from magical_hub.usefulness.arms import ORACLE
from magical_hub.usefulness.results import Result, Task
from magical_hub.usefulness.statistics import Difference, difference


def scores(results: Mapping[Task, Result], arm: str, count: int) -> dict[int, Result]:
    """The finished detectors of an arm by draw; those of the oracle are the same at every count."""
    count = 0 if arm == ORACLE else count
    found = {task.draw: result for task, result in results.items() if task.arm == arm and task.count == count}
    return dict(sorted(found.items()))


def paired(results: Mapping[Task, Result], ours: str, theirs: str, count: int) -> Difference | None:
    """Of two arms over the draws that both have; None where there is none."""
    first, second = scores(results, ours, count), scores(results, theirs, count)
    both = [draw for draw in first if draw in second]
    if not both:
        return None
    return difference(*(np.array([found[draw].mean for draw in both]) for found in (first, second)))
