"""Drawn boards: bright with dark bars, half of them with a spot or a scratch, in groups."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import cv2
import datasets
import numpy as np
import pytest
from PIL import Image

SIDE = 64
NAMES = ["spot", "scratch <b>"]


def board(number: int, defective: bool) -> tuple[np.ndarray, np.ndarray]:
    """A board, and its mask: 0, 1 for a spot, 2 for a scratch."""
    rng = np.random.default_rng(number)
    pixels = np.full((SIDE, SIDE), 170.0) + rng.normal(0, 3, (SIDE, SIDE))
    pixels[:, 12:16] = pixels[:, 46:50] = 80
    mask = np.zeros((SIDE, SIDE), np.uint8)
    if defective:
        x, y = (int(value) for value in rng.integers(22, 36, 2))
        if number % 4 == 1:
            cv2.circle(mask, (x, y), 4, 1, -1)
        else:
            cv2.line(mask, (x, y), (x + 9, y + 7), 2, 3)
        pixels[mask > 0] = 40
    return pixels.clip(0, 255).astype(np.uint8), mask


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Synthetic rows stay in the cache of `datasets`: one of these tests' own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
        yield


@pytest.fixture(scope="session")
def boards() -> Callable[..., datasets.Dataset]:
    """Makes a data set of boards: every second one is defective."""

    def make(masks: bool, count: int = 32, groups: int = 8, defective: bool | None = None) -> datasets.Dataset:
        rows = []
        for number in range(count):
            bad = number % 2 == 1 if defective is None else defective
            pixels, mask = board(number, bad)
            row = {"image": Image.fromarray(pixels), "lot": f"lot {number // 2 % groups}"}
            if masks:
                row["mask"] = Image.fromarray(mask)
            else:
                row["objects"] = [
                    {"bbox": list(map(float, cv2.boundingRect((mask == 1 + kind).astype(np.uint8)))), "category": kind}
                    for kind in range(2)
                    if (mask == 1 + kind).any()
                ]
            rows.append(row)
        features = {"image": datasets.Image(), "lot": datasets.Value("string")}
        if masks:
            features["mask"] = datasets.Image()
        else:
            box = datasets.List(datasets.Value("float32"), length=4)
            features["objects"] = datasets.List({"bbox": box, "category": datasets.ClassLabel(names=NAMES)})
        return datasets.Dataset.from_list(rows, features=datasets.Features(features))

    return make
