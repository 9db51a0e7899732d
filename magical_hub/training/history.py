"""The figures that people watch a run by."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import torch

from magical_hub.files import write_text


class History:
    """Mean figures since the last line, a line of JSON each. Lines after `step` (of a killed run) are dropped."""

    def __init__(self, path: Path, step: int) -> None:
        self.path = path
        self._sums: dict[str, torch.Tensor] = {}
        self._counts: Counter[str] = Counter()
        lines = path.read_text().splitlines() if path.exists() else []
        kept = [line for line in lines if line.endswith("}") and json.loads(line)["step"] <= step]
        write_text(path, "".join(line + "\n" for line in kept))

    def add(self, figures: Mapping[str, torch.Tensor | float]) -> None:
        """Count in the figures of a step, without waiting for the device."""
        for name, value in figures.items():
            value = torch.as_tensor(value).detach().float()
            self._sums[name] = self._sums[name] + value if name in self._sums else value
        self._counts.update(figures.keys())  # not every figure is taken at every step

    def means(self) -> dict[str, float]:
        """The means since the last line."""
        return {name: value.item() / self._counts[name] for name, value in self._sums.items()}

    def write(self, step: int, seconds: float) -> None:
        """Append a line and start anew."""
        line = {"step": step, "seconds": round(seconds, 3), **self.means()}
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")
        self._sums, self._counts = {}, Counter()
