"""The detectors of a comparison: which are trained, and one of them from its images to its score."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from magical_hub.detectors import average_precision, train_detector
from magical_hub.usefulness.arms import ORACLE, Comparison, given
from magical_hub.usefulness.results import Result, Task


def planned(arms: Sequence[str], counts: Sequence[int], draws: int, available: int) -> list[Task]:
    """All detectors, a draw after the other, so that a run that is stopped leaves whole draws.

    The oracle has the same images at every count and is trained once a draw, under the count 0.

    Args:
        arms: what is compared.
        counts: defective images of a draw; those that are not fewer than `available` are left out.
        draws: how many.
        available: defective images to draw from.
    """
    tasks = []
    for draw in range(draws):
        for count in counts:
            if count < available:
                tasks += [Task(arm, count, draw) for arm in arms if arm != ORACLE]
        if ORACLE in arms:
            tasks.append(Task(ORACLE, 0, draw))
    return tasks


def trained(task: Task, comparison: Comparison, progress: Callable[[int], object] = lambda steps: None) -> Result:
    """Train one detector and test it; `progress` is called with 1 after every step."""
    start = time.process_time()
    count = None if task.arm == ORACLE else task.count
    train = given(task.arm, comparison.draw(count, task.draw), comparison)
    network = train_detector(train.real, train.synthetic, train.options, task.draw, progress, comparison.device)
    seconds = time.process_time() - start
    score = average_precision(network, train.test)
    synthetic = 0 if train.synthetic is None else len(train.synthetic)
    share = 0.0 if train.synthetic is None else train.options.synthetic_share
    return Result(task, score.measure, score.classes, score.mean, seconds, synthetic, share)
