"""Banks of defects that were loaded, a few at most, each with good images to paint on, for all users of the page."""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from magical_hub.app.making import MOST_PIXELS
from magical_hub.data import open_dataset
from magical_hub.data.columns import find_columns, objects_feature
from magical_hub.data.images import read_header, read_pixels
from magical_hub.defects import DefectBank
from magical_hub.defects.pixels import as_pixels
from magical_hub.defects.rows import Rows
from magical_hub.errors import AugmentationError, DataError, MagicalError
from magical_hub.files import expanded
from magical_hub.packages import render_package
from magical_hub.texts import plain
from magical_hub.training.config import read_settings

PACKAGES = "rendered packages"
"""The data that the page opens with, unless other data is given."""
SERIES, SIDE = 3330, 128
GOOD, DEFECTIVE = (3, 0, 1, 13), (4, 5, 6, 7, 11, 12)
"""Numbers in this series: good packages; two each with contamination, a void, a scratch. Half a second to render."""
SHOWN = 12
"""Good images to choose from."""
MOST_BANKS = 3
SEEDS = 8
"""Tried until a defect is visible."""

Click = tuple[str, float, float]
"""A class of defects and the place, x and y in pixels, where one is to be."""


@dataclass(frozen=True, eq=False)
class Stock:
    """A bank and good images.

    Args:
        bank: of the defects.
        good: images without defects: names and pixels; none of a bank that was saved.
    """

    bank: DefectBank
    good: tuple[tuple[str, np.ndarray], ...]

    @cached_property
    def _sizes(self) -> dict[str, list[tuple[float, float]]]:
        sizes: dict[str, list[tuple[float, float]]] = {name: [] for name in self.bank.classes}
        for defect in self.bank.report:
            sizes[defect["category"]].append(defect["size"])
        return sizes

    def defects(self, clicks: tuple[Click, ...], size: tuple[int, int], seed: int) -> list[dict[str, object]]:
        """What `DefectBank.paint` is to paint: around each click the box of an example of the class.

        Args:
            clicks: classes and places.
            size: height and width of the image; boxes are moved into it.
            seed: of the painting, which draws the examples.
        """
        defects: list[dict[str, object]] = []
        for number, (category, x, y) in enumerate(clicks):
            sizes = self._sizes[category]
            width, height = sizes[int(np.random.default_rng([seed, number]).integers(len(sizes)))]
            width, height = min(width, size[1]), min(height, size[0])
            left, top = np.clip((x - width / 2, y - height / 2), 0, (size[1] - width, size[0] - height)).tolist()
            defects.append({"category": category, "bbox": (left, top, width, height)})
        return defects

    def suggestion(self, image: np.ndarray) -> tuple[tuple[Click, ...], int]:
        """Places that the bank chooses on an image, of two classes at most, and a seed with which both are visible."""
        places: dict[str, Click] = {}
        with suppress(MagicalError):  # a bank of images of another size finds no place, and need not
            for seed in range(SEEDS):
                for item in self.bank.paint(image, seed=seed).objects:
                    x, y, width, height = item["bbox"]
                    places.setdefault(item["category"], (item["category"], x + width / 2, y + height / 2))
        for count in range(min(2, len(places)), 0, -1):
            clicks = tuple(places.values())[:count]
            for seed in range(SEEDS):
                with suppress(AugmentationError):
                    self.bank.paint(image, self.defects(clicks, image.shape[:2], seed), seed=seed)
                    return clicks, seed
        return (), 0


class Banks:
    """Gives the bank of a data set, or one that was saved; of many, the least recently used is dropped."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stock = lru_cache(MOST_BANKS)(_stock)

    def get(self, name: str) -> Stock:
        """Build or load a bank, or find it.

        Args:
            name: a folder of images or a dataset, as of `data.open_dataset`; a folder that `DefectBank.save` wrote; or
                `PACKAGES`.

        Raises:
            DataError, ConfigError: as `open_dataset`, `DefectBank.from_dataset` and `DefectBank.load`.
        """
        with self._lock:  # two users at once load it once
            return self._stock(name)


def _stock(name: str) -> Stock:
    if not name:
        raise DataError("no data are given: give a folder or data set with defects, or the folder of a bank")
    if (expanded(name) / "bank.json").is_file():
        return Stock(DefectBank.load(expanded(name)), ())
    if name == PACKAGES:
        return _packages()
    dataset = open_dataset(name)
    label = "label" if "label" in dataset.features else None
    bank = DefectBank.from_dataset(dataset, label_column=label)
    rows = Rows(dataset, find_columns(dataset.features, label_column=label), None, bank.classes)
    good: list[tuple[str, np.ndarray]] = []
    pixels = 0
    for number in rows.good[:SHOWN]:
        image = rows.pixels(number)
        pixels += image.shape[0] * image.shape[1]
        if good and pixels > MOST_PIXELS:
            break
        good.append((f"good-{number:05d}", image))
    return Stock(bank, tuple(good))


def _packages() -> Stock:
    """Rendered packages; of a defective one the reference is the same package without the defect."""
    import datasets

    pictures = [render_package(number, SIDE, SERIES) for number in DEFECTIVE]
    defect_free = [render_package(number, SIDE, SERIES, defect_rate=0) for number in DEFECTIVE]
    features = {
        "image": datasets.Image(),
        "reference": datasets.Image(),
        "objects": objects_feature(sorted({str(picture.defect) for picture in pictures})),
    }
    columns = {
        "image": [Image.fromarray(picture.image) for picture in pictures],
        "reference": [Image.fromarray(picture.image) for picture in defect_free],
        "objects": [[{"bbox": box, "category": picture.defect} for box in picture.boxes] for picture in pictures],
    }
    dataset = datasets.Dataset.from_dict(columns, features=datasets.Features(features))
    good = [(f"package-{number:02d}", render_package(number, SIDE, SERIES).image) for number in GOOD]
    return Stock(DefectBank.from_dataset(dataset, reference_column="reference"), tuple(good))


def data_of(checkpoint: str) -> str | None:
    """The data that a RUN was trained on, where they have boxes or masks."""
    try:
        settings = read_settings(expanded(checkpoint))
    except (MagicalError, OSError):
        return None
    data = settings.get("data")
    labelled = settings.get("objects_column") or settings.get("mask_column")
    return data if labelled and isinstance(data, str) else None


def read_good(file: str) -> tuple[str, np.ndarray]:
    """The name and the pixels of an image that a user gave: (H, W) or (H, W, 3), uint8 or uint16.

    Raises:
        DataError: where it cannot be read, or is larger than the page can hold.
    """
    name = plain(Path(file).name, 80)
    (width, height), _ = read_header(Path(file), name)
    if width * height > MOST_PIXELS:
        raise DataError(f"{name} has {height} x {width} pixels, more than the page can hold: use bank.paint in Python")
    return Path(file).stem, as_pixels(read_pixels(Path(file), name), name)
