"""On real images, where they are beside the checkout."""

from __future__ import annotations

from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image

from magical_hub.defects import DefectBank

DATA = Path(__file__).parents[3] / "shared" / "data"
KINDS = ["open", "short", "mousebite", "spur", "copper", "pin-hole"]
VALUES = {1: "dark area", 2: "cross crack", 3: "crack"}

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the real images are not beside this checkout")


@pytest.fixture(scope="module")
def boards() -> datasets.Dataset:
    """Six boards with their templates."""
    rows = []
    for image in sorted(DATA.glob("deeppcb/group*/*/*_test.jpg"))[::120][:6]:
        name = image.name.removesuffix("_test.jpg")
        text = (image.parent.parent / f"{image.parent.name}_not" / f"{name}.txt").read_text()
        objects = []
        for left, top, right, bottom, kind in (map(int, line.split()) for line in text.splitlines()):
            objects.append({"bbox": [left, top, right - left, bottom - top], "category": KINDS[kind - 1]})
        reference = str(image.with_name(f"{name}_temp.jpg"))
        rows.append({"image": str(image), "reference": reference, "objects": objects})
    record = {"bbox": datasets.List(datasets.Value("float32"), length=4), "category": datasets.Value("string")}
    features = {"image": datasets.Image(), "reference": datasets.Image(), "objects": datasets.List(record)}
    return datasets.Dataset.from_list(rows, features=datasets.Features(features))


def test_boards_with_templates(boards):
    bank = DefectBank.from_dataset(boards, reference_column="reference")
    assert len(bank) >= 0.95 * sum(len(row["objects"]) for row in boards)
    assert sum(defect["reference"] == "column" for defect in bank.report) > 0.8 * len(bank)
    assert bank.settings.composition == "difference" and bank.settings.max_shift is None
    kinds = set()
    for number, row in enumerate(boards):
        target = np.asarray(row["reference"].convert("L"))
        result = bank.paint(target, seed=number)
        assert not ((result.image != target) & (result.mask == 0)).any()
        kinds |= {item["category"] for item in result.objects}
    assert {"copper", "pin-hole", "spur"} <= kinds


def test_cells_with_masks():
    rows = []
    files = sorted(DATA.glob("pv_cells/masks/*.png"))[::20]
    for mask in files:
        image = mask.parent.parent / "images" / f"{mask.stem}.jpg"
        rows.append({"image": Image.open(image).resize((128, 128)), "mask": Image.open(mask).resize((128, 128), 0)})
    features = datasets.Features({"image": datasets.Image(), "mask": datasets.Image()})
    cells = datasets.Dataset.from_list(rows, features=features)
    bank = DefectBank.from_dataset(cells, mask_values=VALUES)
    assert bank.settings.composition == "copied" and bank.settings.fit is None and bank.settings.keep_together
    good = [row["image"] for row in cells if not np.asarray(row["mask"]).any()]
    drawn = 0
    for number, target in enumerate(good[:16]):
        result = bank.paint(target, seed=number)
        assert result.image.mode == target.mode
        differs = (np.asarray(result.image) != np.asarray(target)).reshape(128, 128, -1).any(axis=2)
        assert not (differs & (result.mask == 0)).any()
        drawn += bool(result.objects)
    assert drawn >= 12
