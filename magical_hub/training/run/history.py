"""The figures of a run: gathered from its steps, written to history.jsonl, drawn as curves."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from accelerate import Accelerator

from magical_hub.files import append_text, write_text, written_whole
from magical_hub.safety import read_json_lines

logger = logging.getLogger(__name__)

RENAMED = {
    "critic/location": "critic/classification",
    "critic/location_fake": "critic/classification_fake",
    "critic/features": "critic/feature_adversarial",
    "critic/defects": "critic/feature_defects",
    "generator/location": "generator/classification",
    "generator/features": "generator/feature_adversarial",
    "generator/defects": "generator/feature_defects",
    "balance/penalty_share": "penalty/factor",
}
"""Figures by their names in the histories of earlier versions, and by those of this one."""

FAMILIES = {
    "adversarial": ("Adversarial losses", "loss"),
    "classification": ("Classification of location, class and defect", "cross-entropy"),
    "penalty": ("Penalty on the critic's gradient", "loss"),
    "boundary": ("Boundary loss", "squared difference"),
    "score": ("The critic's mean scores", "score"),
    "accuracy": ("The critic's accuracy on real locations", "share"),
    "augmentation": ("Augmentation of the critics' images", "share"),
    "seams": ("Seams beside those of real images", "ratio (1 is right)"),
    "variety": ("Difference to the nearest other image, beside that of real ones", "ratio (1 is right)"),
    "kid": ("KID on the validation part", "KID x 1000"),
    "": ("Other figures", "value"),
}
"""The panels in their order: the part of a figure's name that puts it there, the title, and what it measures."""


def read_history(path: Path) -> tuple[list[dict[str, float]], int]:
    """The lines of a history.jsonl by the names of this version, and how many are damaged.

    It is only for watching, so that damage is not an error.
    """
    lines, damaged = read_json_lines(path)
    whole = [line for line in lines if type(line.get("step")) is int and {*map(type, line.values())} <= {int, float}]
    renamed = [{RENAMED.get(name, name): value for name, value in line.items()} for line in whole]
    return renamed, damaged + len(lines) - len(whole)


class Summary(NamedTuple):
    """The figures of some steps."""

    means: dict[str, float]
    """The means by name, over the steps that have the figure, and over all processes."""
    not_finite: tuple[int, str] | None
    """The first step with a figure that is not finite in any process, and the figure's name; None without."""


class Figures:
    """The figures of the steps since the last line of the history, which stay on the device until they are summarised.

    Args:
        accelerator: the processes, each of which has the figures of its share of a step.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self.accelerator = accelerator
        self._values: dict[str, list[tuple[int, torch.Tensor]]] = {}

    def add(self, step: int, figures: Mapping[str, torch.Tensor | float]) -> None:
        """Add the figures of a step, without waiting for the device."""
        for name, value in figures.items():
            value = torch.as_tensor(value, dtype=torch.float32, device=self.accelerator.device).detach()
            self._values.setdefault(name, []).append((step, value))

    def summary(self) -> Summary:
        """The figures since the last line; all processes must call it together."""
        if not self._values:
            return Summary({}, None)
        names = sorted(self._values)
        means, broken = [], []
        for name in names:
            steps, values = zip(*self._values[name], strict=True)  # not every step has every figure
            stacked = torch.stack(values)
            means.append(stacked.mean())
            numbers = torch.tensor(steps, dtype=torch.float32, device=stacked.device)
            broken.append(numbers.masked_fill(stacked.isfinite(), torch.inf).min())
        everywhere = self.accelerator.gather(torch.stack([torch.stack(means), torch.stack(broken)])[None])
        first = everywhere[:, 1].amin(0).tolist()
        step = min(first)
        return Summary(
            dict(zip(names, everywhere[:, 0].mean(0).tolist(), strict=True)),
            None if step == torch.inf else (int(step), names[first.index(step)]),
        )

    def clear(self) -> None:
        """Start anew, for the next line."""
        self._values = {}


class History:
    """history.jsonl: a line of JSON for the means of some steps. Lines after `step` (of a killed run) are dropped."""

    def __init__(self, path: Path, step: int) -> None:
        self.path = path
        lines, damaged = read_history(path)
        if damaged:
            logger.warning("%s: %d damaged lines are left out", path, damaged)
        write_text(path, "".join(json.dumps(line) + "\n" for line in lines if line["step"] <= step))

    def write(self, step: int, seconds: float, figures: dict[str, float]) -> None:
        """Append a line."""
        line = {"step": step, "seconds": round(seconds, 3), **figures}
        append_text(self.path, json.dumps(line) + "\n")


def draw_curves(history: Path, picture: Path) -> None:
    """Draw every figure of a history.jsonl, if it has any, over the steps, a panel a family, as a PNG."""
    from matplotlib.figure import Figure  # takes half a second; no window and no global state, unlike pyplot

    lines, _ = read_history(history)
    names = sorted({name for line in lines for name in line} - {"step", "seconds"})
    panels: dict[str, list[str]] = {}
    for name in names:
        panels.setdefault(next(family for family in FAMILIES if family in name), []).append(name)
    if not panels:
        return
    rows = -(-len(panels) // 2)
    figure = Figure(figsize=(12, 3.2 * rows))
    # Margins are given, since to find them would take as long as to draw the curves.
    figure.subplots_adjust(0.06, 0.5 / (3.2 * rows), 0.985, 1 - 0.3 / (3.2 * rows), wspace=0.18, hspace=0.4)
    axes = figure.subplots(rows, 2, squeeze=False).flatten()
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    for axis, family in zip(axes, [family for family in FAMILIES if family in panels], strict=False):
        for name in panels[family]:
            points = [(line["step"], line[name]) for line in lines if name in line]
            scale = 1000 if family == "kid" else 1
            axis.plot(
                [step for step, _ in points],
                [scale * value for _, value in points],
                label=name,
                linewidth=1,
                marker="." if len(points) < 30 else None,  # a line of one point is invisible
            )
        title, unit = FAMILIES[family]
        axis.set(title=title, xlabel="step", ylabel=unit, xlim=(0, 1.02 * lines[-1]["step"]))
        axis.grid(alpha=0.3)
        # Where losses leave room, and accuracies do; "best" would look through all points.
        axis.legend(fontsize="small", loc="lower right" if family == "accuracy" else "upper right")
    with written_whole(picture) as beside:
        figure.savefig(beside, format="png", dpi=100)
