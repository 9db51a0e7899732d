"""Images to paint defects on: bright plates with dark bars, some with a spot or a line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import datasets
import numpy as np
from PIL import Image

SIDE = 96
NASTY = "<img src=http://evil.example/b.png> ![x](http://evil.example/a.png)"


def plate(number: int, defect: str | None) -> tuple[np.ndarray, np.ndarray, list[dict[str, Any]]]:
    """A plate with a "spot", with a line for any other defect, or without: pixels, mask and box."""
    rng = np.random.default_rng(number)
    pixels = 190 + 5 * rng.standard_normal((SIDE, SIDE))
    pixels[:, 8:14] = pixels[:, 82:88] = 80
    drawn = np.zeros((SIDE, SIDE), np.uint8)
    x, y = (int(side) for side in rng.integers(20, 60, 2))
    if defect == "spot":
        cv2.circle(drawn, (x, y), 5, 1, -1)
    elif defect is not None:
        cv2.line(drawn, (x, y), (x + 18, y + 6), 1, 3)
    pixels[drawn > 0] = 40
    objects = []
    if defect is not None:
        rows, cols = np.nonzero(drawn)
        box = [cols.min(), rows.min(), np.ptp(cols) + 1, np.ptp(rows) + 1]
        objects = [{"bbox": [float(side) for side in box], "category": defect}]
    return pixels.round().clip(0, 255).astype(np.uint8), drawn * 255, objects


def save_plates(folder: Path) -> None:
    """Save a dataset of two plates with a spot, two with a defect of a hostile name, three good ones."""
    made = [plate(number, kind) for number, kind in enumerate(["spot", NASTY, "spot", NASTY, None, None, None])]
    record = {"bbox": datasets.List(datasets.Value("float32"), length=4)}
    classes = datasets.ClassLabel(names=["spot", NASTY])
    objects = datasets.List({**record, "category": classes})
    features = {"image": datasets.Image(), "mask": datasets.Image(), "objects": objects}
    columns = {
        "image": [Image.fromarray(pixels) for pixels, _, _ in made],
        "mask": [Image.fromarray(mask) for _, mask, _ in made],
        "objects": [objects for _, _, objects in made],
    }
    datasets.Dataset.from_dict(columns, features=datasets.Features(features)).save_to_disk(folder)
