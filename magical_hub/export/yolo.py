"""YOLO's text files: one line per box, its sides as shares of the image's."""

from __future__ import annotations

import json
from pathlib import Path

from magical_hub.boxes import Box
from magical_hub.export.samples import Samples, save_image

STEPS = 10**6
"""Parts of an image's side by which the edges of boxes are written."""


def write_yolo(samples: Samples, folder: Path) -> None:
    """Write images/train/, labels/train/ and data.yaml.

    A line of a label file is the number of the class in the dataset, then centre x, centre y, width and height from 0
    to 1; an image without defects has an empty file. Without a column of objects a box is that of a connected part of
    the mask.
    """
    numbers = {name: number for number, name in enumerate(samples.defect_names)}
    labels = folder / "labels" / "train"
    labels.mkdir(parents=True)
    for row in samples.to_write():
        stem = samples.stems[row.number]
        save_image(samples.image(row), folder / "images" / "train" / f"{stem}.png")
        lines = [f"{numbers[item.category]} {_shares(item.box, row.size)}\n" for item in samples.all_objects(row)]
        (labels / f"{stem}.txt").write_text("".join(lines))
    quoted = {number: json.dumps(name, ensure_ascii=False) for name, number in numbers.items()}  # JSON is YAML
    names = "".join(f"  {number}: {name}\n" for number, name in quoted.items())
    (folder / "data.yaml").write_text(
        "path: .  # this folder\n"
        "train: images/train\n"
        "val: images/val  # yours to fill: real images alone, that nothing was trained on\n"
        f"names:\n{names}",
        encoding="utf-8",
    )


def _shares(box: Box, size: tuple[int, int]) -> str:
    """Centre, width and height as shares of an image's height and width; the edges are in it to the last digit."""
    (left, width), (top, height) = (_side(box[axis], box[axis + 2], size[1 - axis]) for axis in (0, 1))
    return f"{left:.7f} {top:.7f} {width:.6f} {height:.6f}"


def _side(start: float, length: float, whole: int) -> tuple[float, float]:
    first = min(round(start / whole * STEPS), STEPS - 1)
    last = max(first + 1, min(round((start + length) / whole * STEPS), STEPS))
    return (first + last) / (2 * STEPS), (last - first) / STEPS
