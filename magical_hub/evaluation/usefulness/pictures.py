"""The figures as a picture, for people."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from magical_hub.evaluation.plots import as_png
from magical_hub.evaluation.usefulness.result import TaskResult, UsefulnessResult

COLOURS = {"helps": "tab:green", "harms": "tab:red", "not shown": "tab:gray"}


def draw_usefulness(result: UsefulnessResult) -> bytes:
    """A PNG file, a row a task: the scores of each arm, seed by seed, and the differences with their intervals.

    Args:
        result: with one task or more.
    """
    figure = Figure(figsize=(12, 3.4 * len(result.tasks)), layout="tight")
    for (left, right), (name, task) in zip(
        figure.subplots(len(result.tasks), 2, squeeze=False), result.tasks.items(), strict=True
    ):
        _draw_scores(left, name, task)
        _draw_differences(right, task)
    return as_png(figure)


def _draw_scores(axis: Any, name: str, task: TaskResult) -> None:
    measure = task.measures[0]
    for place, measures in enumerate(task.scores.values()):
        values = measures[measure]
        axis.plot(values, np.full(len(values), place), "o", alpha=0.5, color="tab:blue")
        axis.plot(np.mean(values), place, "|", markersize=18, color="black")
    axis.set(title=f"{name.replace('_', ' ').capitalize()}: {task.verdict}", xlabel=f"{measure}, a point a seed")
    axis.set_yticks(range(len(task.scores)), list(task.scores))
    axis.invert_yaxis()
    axis.grid(axis="x", alpha=0.3)


def _draw_differences(axis: Any, task: TaskResult) -> None:
    measure = task.measures[0]
    shown = [comparison for comparison in task.comparisons if comparison.measure == measure]
    for place, c in enumerate(shown):
        axis.plot([c.low, c.high], [place, place], color=COLOURS[c.verdict], linewidth=2)
        axis.plot(c.difference, place, "o", color=COLOURS[c.verdict])
    axis.axvline(0, color="black", linewidth=0.8)
    axis.set(title="Green helps, red harms, grey is not shown", xlabel=f"difference in {measure}")
    axis.set_yticks(range(len(shown)), [f"{c.arm}\nagainst {c.against}" for c in shown], fontsize="small")
    axis.invert_yaxis()
    axis.grid(axis="x", alpha=0.3)
