"""The table and the picture of the finished detectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from magical_hub.metrics import holm
from magical_hub.metrics.paired import Difference
from magical_hub.usefulness.arms import (
    BOTH,
    CLASSICAL,
    DIFFERENCE,
    ORACLE,
    PAINTED,
    PASTED,
    PLACEBO,
    REAL,
    TUNED,
    WHOLE,
)
from magical_hub.usefulness.results import Result, Task, paired, scores

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CLAIMED = (CLASSICAL, PASTED, PLACEBO)
"""What the painted arm is compared with; at each count Holm's correction is over these."""
LEVEL = 0.05
MEANING = {
    REAL: "real and good images, nothing else",
    CLASSICAL: "the same with strong classical augmentation, which all following arms have too",
    PLACEBO: "further good images in the place of synthetic ones",
    PASTED: "boxes or masks copied to random places of good images, nothing matched",
    PAINTED: "defects put onto good images by `DefectBank`",
    TUNED: "the same, how and how many of them chosen by `DefectBank.tune` on the images of the draw",
    WHOLE: "whole images from a generator",
    DIFFERENCE: "the difference to the reference as a further channel (a control, without synthetic images)",
    BOTH: "the same channel, and painted images",
    ORACLE: "all real defective images",
}
"""What each arm is, in the order of the tables."""


def table(results: Mapping[Task, Result], counts: Sequence[int], class_names: Sequence[str]) -> str:
    """All arms, the paired differences, the classes: three tables in Markdown."""
    if not results:
        return "Nothing is finished yet.\n"
    measure = next(iter(results.values())).measure
    counts = [count for count in counts if any(task.count == count for task in results)]
    lines = [f"| K | arm | draws | {measure} | against {CLASSICAL} | of the way to the {ORACLE} |", "|" + " --- |" * 6]
    for count in counts:
        for arm in MEANING:
            ours = scores(results, arm, count)
            if ours:
                lines.append(_row(results, count, arm, ours))
    lines += ["", f"| K | {PAINTED} against | draws | difference | 95 % interval | p | Holm |", "|" + " --- |" * 7]
    for count in counts:
        lines += _claims(results, count)
    lines += ["", "| K | arm | " + " | ".join(class_names) + " |", "|" + " --- |" * (2 + len(class_names))]
    for count in counts:
        for arm in MEANING:
            lines += _classes(results, count, arm, class_names)
    return "\n".join(lines) + "\n"


def draw_picture(results: Mapping[Task, Result], counts: Sequence[int]) -> Figure:
    """Scores over the number of defective images, and the paired differences of the painted arm."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 4.5), layout="tight")
    left, right = figure.subplots(1, 2)
    for arm in MEANING:
        found = {count: [result.mean for result in scores(results, arm, count).values()] for count in counts}
        found = {count: values for count, values in found.items() if values}
        if found:
            means = [np.mean(values) for values in found.values()]
            errors = [
                np.std(values, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else 0 for values in found.values()
            ]
            left.errorbar(list(found), means, errors, label=arm, marker="o", capsize=3)
    left.set(xlabel="defective images (K)", ylabel=next(iter(results.values())).measure, xticks=list(counts))
    left.set_title("mean over draws and its standard error")
    left.legend(fontsize="small")
    places = []
    for count in counts:
        for against in CLAIMED:
            found_one = paired(results, PAINTED, against, count)
            if found_one is not None and found_one.draws >= 3:
                places.append(f"K = {count}, {against}")
                height = -len(places)
                right.plot([found_one.low, found_one.high], [height, height], color="black")
                right.plot(found_one.mean, height, "o", color="black")
    right.axvline(0, color="grey", linewidth=1)
    right.set_yticks([-1 - number for number in range(len(places))], places)
    right.set_title(f"{PAINTED} minus the others: mean and 95 % interval over draws")
    for axis in (left, right):
        axis.grid(alpha=0.3)
    return figure


def _row(results: Mapping[Task, Result], count: int, arm: str, ours: dict[int, Result]) -> str:
    values = [result.mean for result in ours.values()]
    found = paired(results, arm, CLASSICAL, count) if arm not in (CLASSICAL, ORACLE) else None
    against = "" if found is None else f"{found.mean:+.3f}{_interval(found)}"
    closed = ""
    three = [scores(results, name, count) for name in (arm, CLASSICAL, ORACLE)]
    both = [draw for draw in three[0] if draw in three[1]]
    if arm not in (REAL, CLASSICAL, ORACLE) and both and three[2]:
        first, second = (np.array([found_ones[draw].mean for draw in both]) for found_ones in three[:2])
        closed = f"{share_closed(first, second, np.array([result.mean for result in three[2].values()])):.0%}"
    return f"| {count} | {arm} | {len(values)} | {np.mean(values):.3f} | {against} | {closed} |"


def share_closed(ours: np.ndarray, real: np.ndarray, oracle: np.ndarray) -> float:
    """The share of the way from the real defects to the oracle that an arm closes, in the mean of its draws."""
    way = float(np.mean(oracle) - np.mean(real))
    return float((np.mean(ours) - np.mean(real)) / way) if way > 0 else float("nan")


def _claims(results: Mapping[Task, Result], count: int) -> list[str]:
    found = {against: paired(results, PAINTED, against, count) for against in CLAIMED}
    known = {against: one for against, one in found.items() if one is not None}
    shown = holm([one.p for one in known.values()], LEVEL)
    return [
        f"| {count} | {against} | {one.draws} | {one.mean:+.3f} | {_interval(one).strip(' ()') or 'too few draws'} "
        f"| {one.p:.3f} | {'shown' if alarm else 'not shown'} |"
        for (against, one), alarm in zip(known.items(), shown, strict=True)
    ]


def _classes(results: Mapping[Task, Result], count: int, arm: str, class_names: Sequence[str]) -> list[str]:
    ours = scores(results, arm, count)
    if not ours:
        return []
    cells = []
    for name in class_names:
        values = [result.classes[name] for result in ours.values() if name in result.classes]
        cells.append(f"{np.mean(values):.3f}" if values else "")
    return [f"| {count} | {arm} | " + " | ".join(cells) + " |"]


def _interval(found: Difference) -> str:
    return "" if np.isnan(found.low) else f" ({found.low:+.3f} to {found.high:+.3f})"
