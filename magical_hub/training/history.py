"""The figures that people watch a run by."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator

from magical_hub.files import append_text, write_text
from magical_hub.safety import read_json_lines

logger = logging.getLogger(__name__)


def read_history(path: Path) -> tuple[list[dict[str, float]], int]:
    """The lines of a history.jsonl, and how many of them are damaged; it is only for watching, so none is an error."""
    lines, damaged = read_json_lines(path)
    whole = [line for line in lines if type(line.get("step")) is int and all(map(_is_number, line.values()))]
    return whole, damaged + len(lines) - len(whole)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


class Summary(NamedTuple):
    """What the figures of some steps come to."""

    means: dict[str, float]
    """By name; over the steps that have the figure, and over all processes."""
    not_finite: tuple[int, str] | None
    """The first step with a figure that is no number in any process, and the figure's name; None where all are."""


class Figures:
    """The figures of the steps since the last line, left on the device until somebody asks.

    Args:
        accelerator: its processes each count in the figures of their share of a step.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self.accelerator = accelerator
        self._values: dict[str, list[tuple[int, torch.Tensor]]] = {}

    def add(self, step: int, figures: Mapping[str, torch.Tensor | float]) -> None:
        """Count in the figures of a step, without waiting for the device."""
        for name, value in figures.items():
            value = torch.as_tensor(value, dtype=torch.float32, device=self.accelerator.device).detach()
            self._values.setdefault(name, []).append((step, value))

    def summary(self) -> Summary:
        """The figures since the last line; all processes must ask together."""
        if not self._values:
            return Summary({}, None)
        names = sorted(self._values)
        means, broken = [], []
        for name in names:
            steps, values = zip(*self._values[name], strict=True)  # not every figure is taken at every step
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
