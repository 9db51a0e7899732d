"""What people watch a run by: lines of figures, and grids of pictures."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from PIL import Image


class History:
    """Mean figures since the last line, a line of JSON each. Lines after `step` (of a killed run) are dropped."""

    def __init__(self, path: Path, step: int) -> None:
        self.path = path
        self._sums: dict[str, torch.Tensor] = {}
        self._counts: Counter[str] = Counter()
        lines = path.read_text().splitlines() if path.exists() else []
        kept = [line for line in lines if line.endswith("}") and json.loads(line)["step"] <= step]
        beside = path.with_name(path.name + ".incomplete")
        beside.write_text("".join(line + "\n" for line in kept))
        os.replace(beside, path)

    def add(self, figures: dict[str, torch.Tensor]) -> None:
        """Count in the figures of a step, without waiting for the device."""
        for name, value in figures.items():
            value = value.detach().float()
            self._sums[name] = self._sums[name] + value if name in self._sums else value
        self._counts.update(figures.keys())  # not every figure is taken at every step

    def means(self) -> dict[str, float]:
        """The means since the last line."""
        return {name: value.item() / self._counts[name] for name, value in self._sums.items()}

    def write(self, step: int, seconds: float, **more: float) -> None:
        """Append a line and start anew."""
        line = {"step": step, "seconds": round(seconds, 3), **self.means(), **more}
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")
        self._sums, self._counts = {}, Counter()


def save_picture_grid(images: np.ndarray, path: Path, columns: int) -> None:
    """Write images (N, C, H, W) uint8 as one PNG, row by row, whole or not at all; the last row may be short."""
    count, channels, height, width = images.shape
    rows = -(-count // columns)
    sheet = np.zeros((rows * columns, channels, height, width), np.uint8)
    sheet[:count] = images
    sheet = sheet.reshape(rows, columns, channels, height, width).transpose(0, 3, 1, 4, 2)
    pixels = sheet.reshape(rows * height, columns * width, channels)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".incomplete")
    Image.fromarray(pixels[..., 0] if channels == 1 else pixels).save(beside, format="PNG")
    os.replace(beside, path)
