"""Boxes that overlap: each defect has the pixels that are its own, or is left out by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import cv2
import datasets
import numpy as np
import pytest
from PIL import Image

from magical_hub.data.columns import objects_feature
from magical_hub.defects import DefectBank
from magical_hub.errors import DataError

BRIGHT, DARK = 240, 15
BRIGHT_LINE, DARK_DOT = ("scratch", [39, 24, 46, 46]), ("dot", [69, 31, 10, 10])


def product(seed: int) -> np.ndarray:
    """A flat grey product with little noise."""
    return np.rint(110 + np.random.default_rng(seed).normal(0, 2, (96, 128))).astype(np.uint8)


def scratch_and_dot(pixels: np.ndarray) -> None:
    cv2.line(pixels, (42, 27), (81, 66), BRIGHT, 3)
    pixels[32:40, 70:78] = DARK


def bank_of(draw: Callable[[np.ndarray], None], objects: list[tuple[str, list[int]]], with_mask: bool) -> DefectBank:
    """Of three defective images and four good ones."""
    names = [name for name, _ in objects]
    rows = []
    for seed in range(7):
        pixels = product(seed)
        if seed < 3:
            draw(pixels)
        mask = np.where(cv2.absdiff(pixels, np.full_like(pixels, 110)) > 40, 255, 0).astype(np.uint8)
        boxes = [{"bbox": box, "category": names.index(name)} for name, box in objects if seed < 3]
        rows.append({"image": Image.fromarray(pixels), "mask": Image.fromarray(mask), "objects": boxes})
    features = {"image": datasets.Image(), "mask": datasets.Image(), "objects": objects_feature(names)}
    data = datasets.Dataset.from_list(rows, features=datasets.Features(features))
    return DefectBank.from_dataset(data, mask_column="mask" if with_mask else None)


@pytest.mark.parametrize("together", [True, False], ids=["together", "apart"])
@pytest.mark.parametrize("with_mask", [False, True], ids=["boxes", "boxes and a mask"])
@pytest.mark.parametrize("order", [1, -1])
def test_a_dot_in_the_empty_corner_of_a_box(order, with_mask, together):
    """Every dark pixel that is painted is in the dot's mask and box, and every bright one in the scratch's."""
    bank = bank_of(scratch_and_dot, [BRIGHT_LINE, DARK_DOT][::order], with_mask)
    assert len(bank) == 6 and not bank.skipped
    bank.settings = replace(bank.settings, keep_together=together, composition="copied")
    drawn = 0
    for seed in range(6):
        painted = bank.paint(product(50 + seed), seed=seed)
        for name, extreme in (("scratch", painted.image > 200), ("dot", painted.image < 50)):
            assert (painted.mask[extreme] == 1 + bank.classes.index(name)).all()
            boxed = np.zeros_like(extreme)
            for item in painted.objects:
                x, y, w, h = (round(value) for value in item["bbox"])
                boxed[y : y + h, x : x + w] |= item["category"] == name
            assert boxed[extreme].all()
            drawn += extreme.any()
    assert drawn >= 6


def test_boxes_that_cross_while_their_defects_do_not_touch():
    def strokes(pixels: np.ndarray) -> None:
        cv2.line(pixels, (32, 32), (60, 60), BRIGHT, 2)
        cv2.line(pixels, (52, 32), (80, 60), DARK, 2)  # both in the part from 52 to 60

    bank = bank_of(strokes, [("crack", [30, 30, 33, 33]), ("stain", [50, 30, 33, 33])], False)
    assert [defect["category"] for defect in bank.report] == ["crack", "stain"] * 3
    bank.settings = replace(bank.settings, keep_together=False, composition="copied")
    for category, wrong in (("crack", lambda image: image < 50), ("stain", lambda image: image > 200)):
        painted = bank.paint(product(60), [{"category": category}])
        assert painted.changed.any() and not wrong(painted.image).any()


@pytest.mark.parametrize("with_mask", [False, True], ids=["boxes", "boxes and a mask"])
@pytest.mark.parametrize("nested", [True, False])
def test_defects_that_touch_are_left_out_by_name(nested, with_mask):
    """A hole in a stain, or two strokes that cross: neither can be cut out without the other."""

    def hole(pixels: np.ndarray) -> None:
        pixels[30:60, 40:90] = 40
        pixels[42:48, 60:66] = BRIGHT
        pixels[80:86, 20:40] = BRIGHT  # and a defect that stands alone

    def crossing(pixels: np.ndarray) -> None:
        cv2.line(pixels, (32, 32), (60, 60), BRIGHT, 2)
        cv2.line(pixels, (52, 60), (80, 32), BRIGHT, 2)
        pixels[80:86, 20:40] = BRIGHT

    boxes = [[39, 29, 52, 32], [59, 41, 8, 8]] if nested else [[30, 30, 33, 33], [50, 30, 33, 33]]
    objects = [("one", boxes[0]), ("other", boxes[1]), ("alone", [18, 78, 24, 10])]
    bank = bank_of(hole if nested else crossing, objects, with_mask)
    assert [defect["category"] for defect in bank.report] == ["alone"] * 3
    assert bank.skipped == {f"defects of row {row} that cannot be told apart from others": 2 for row in range(3)}


def test_marks_of_a_pixel_or_two_are_counted():
    rows = []
    for seed in range(5):
        mask = np.zeros((96, 128), np.uint8)
        if seed < 2:
            mask[50, 50:52] = 255
        if seed == 0:
            mask[20:30, 20:30] = 255
        rows.append({"image": Image.fromarray(product(seed)), "mask": Image.fromarray(mask)})
    data = datasets.Dataset.from_list(rows, features=datasets.Features(image=datasets.Image(), mask=datasets.Image()))
    bank = DefectBank.from_dataset(data)
    assert len(bank) == 1
    assert bank.skipped == {f"marks of row {row} of fewer than 3 pixels": 1 for row in range(2)}
    with pytest.raises(
        DataError, match=r"^no defect of the dataset can be used: .*marks of row 0 of fewer than 3 pix"
    ):
        DefectBank.from_dataset(data.select([1, 2, 3, 4]))
