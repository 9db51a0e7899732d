"""Drawn products: bright plates with dark bars, good ones and ones with scratches and spots, whose truth is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import datasets
import numpy as np
import pytest
from PIL import Image

from magical_hub.defects import DefectBank

SIDE = 96
Plate = tuple[np.ndarray, np.ndarray, list[dict[str, Any]]]


def plate(seed: int, defective: bool, top: int = 255, channels: int = 1) -> Plate:
    """A plate, its mask (0, 1 scratch, 2 spot) and its objects."""
    rng = np.random.default_rng(seed)
    pixels = np.full((SIDE, SIDE), 0.7) + 0.08 * rng.random() + 0.02 * rng.standard_normal((SIDE, SIDE))
    pixels[:, 20:26] = pixels[:, 70:76] = 0.3
    mask = np.zeros((SIDE, SIDE), np.uint8)
    objects = []
    if defective:
        x, y = rng.integers(32, 50, 2)
        for value, draw in (
            (1, lambda canvas: cv2.line(canvas, (int(x), int(y)), (int(x) + 12, int(y) + 9), 1, 2)),
            (2, lambda canvas: cv2.circle(canvas, (int(x) + 8, int(y) + 24), 4, 1, -1)),
        ):
            drawn = draw(np.zeros((SIDE, SIDE), np.uint8)) > 0
            mask[drawn] = value
            pixels[drawn] = 0.1
            rows, cols = np.nonzero(drawn)
            box = [cols.min(), rows.min(), np.ptp(cols) + 1, np.ptp(rows) + 1]
            objects.append({"bbox": [float(number) for number in box], "category": value - 1})
    dtype = np.uint8 if top == 255 else np.uint16
    pixels = np.rint(pixels.clip(0, 1) * top).astype(dtype)
    return (pixels if channels == 1 else np.stack([pixels, pixels // 2, pixels // 3], axis=2)), mask, objects


def plates(
    bad: int = 4,
    good: int = 6,
    with_mask: bool = True,
    with_boxes: bool = True,
    with_reference: bool = False,
    **look: Any,
) -> datasets.Dataset:
    """Defective plates, then good ones."""
    rows = []
    for number in range(bad + good):
        pixels, mask, objects = plate(number, number < bad, **look)
        row: dict[str, Any] = {"image": Image.fromarray(pixels)}
        if with_mask:
            row["mask"] = Image.fromarray(mask)
        if with_boxes:
            row["objects"] = objects
        if with_reference:
            row["reference"] = Image.fromarray(plate(number, False, **look)[0])
        rows.append(row)
    features: dict[str, Any] = {"image": datasets.Image()}
    if with_mask:
        features["mask"] = datasets.Image()
    if with_boxes:
        record = {"bbox": datasets.List(datasets.Value("float32"), length=4)}
        features["objects"] = datasets.List({**record, "category": datasets.ClassLabel(names=["scratch", "spot"])})
    if with_reference:
        features["reference"] = datasets.Image()
    return datasets.Dataset.from_list(rows, features=datasets.Features(features))


@pytest.fixture(scope="session")
def make_plates() -> Callable[..., datasets.Dataset]:
    """Builds a dataset of plates."""
    return plates


@pytest.fixture(scope="session")
def make_plate() -> Callable[..., Plate]:
    """Draws one plate: pixels, mask, objects."""
    return plate


@pytest.fixture(scope="session")
def bank() -> DefectBank:
    """Of four defective plates with masks and boxes, and six good ones. Not to be changed."""
    return DefectBank.from_dataset(plates(), mask_values={1: "scratch", 2: "spot"})
