"""Painted images: nothing outside the mask changes, labels are what changed, and a seed says it all."""

from __future__ import annotations

from dataclasses import replace

import datasets
import numpy as np
import pytest
from PIL import Image

from magical_hub.data.columns import objects_feature
from magical_hub.defects import DefectBank, PaintSettings
from magical_hub.defects.units import units_of
from magical_hub.defects.varying import _oriented

WARPS = {"scale": (0.8, 1.25), "turn": 20.0, "elastic": 2.0, "strength": (0.8, 1.2)}


@pytest.mark.parametrize("composition", ["matched", "copied", "difference", "ratio"])
@pytest.mark.parametrize("warps", [{}, WARPS], ids=["plain", "warped"])
@pytest.mark.parametrize("look", [{}, {"top": 65535}, {"channels": 3}], ids=["8 bits", "16 bits", "RGB"])
def test_nothing_outside_the_mask_changes(composition, warps, look, make_plates, make_plate):
    bank = DefectBank.from_dataset(make_plates(**look), mask_values={1: "scratch", 2: "spot"})
    bank.settings = replace(bank.settings, composition=composition, **warps)
    painted = 0
    for seed in range(12):
        target = make_plate(100 + seed, False, **look)[0]
        result = bank.paint(target, seed=seed)
        differs = (result.image != target).reshape(*target.shape[:2], -1).any(axis=2)
        assert result.image.dtype == target.dtype and result.image.shape == target.shape
        np.testing.assert_array_equal(result.changed, differs)
        assert not (differs & (result.mask == 0)).any()
        painted += len(result.objects)
    assert painted > 6


def test_boxes_and_mask_are_what_changed(bank, make_plate):
    for seed in range(12):
        target = make_plate(100 + seed, False)[0]
        result = bank.paint(target, seed=seed)
        around = np.zeros_like(result.mask)
        for item in result.objects:
            x, y, w, h = map(int, item["bbox"])
            inside = result.mask[y : y + h, x : x + w] == 1 + bank.classes.index(item["category"])
            assert inside[0].any() and inside[-1].any() and inside[:, 0].any() and inside[:, -1].any()
            around[y : y + h, x : x + w] = 1
        assert not (result.mask[around == 0]).any()
        assert (result.mask > 0).sum() <= 1.3 * result.changed.sum()


def test_the_seed_says_it_all(bank, make_plate):
    target = Image.fromarray(make_plate(50, False)[0])
    first, again, other = (bank.paint(target, seed=seed) for seed in (3, 3, 4))
    assert first.image.mode == "L" and first.image.tobytes() == again.image.tobytes()
    assert first.objects == again.objects and first.image.tobytes() != other.image.tobytes()


def test_a_bank_comes_back_as_it_was_saved(bank, make_plate, tmp_path):
    bank.save(tmp_path / "bank")
    loaded = DefectBank.load(tmp_path / "bank")
    target = make_plate(60, False)[0]
    assert loaded.report == bank.report and loaded.settings == bank.settings and len(loaded) == len(bank)
    np.testing.assert_array_equal(loaded.paint(target, seed=7).image, bank.paint(target, seed=7).image)


def test_settings_out_of_range():
    with pytest.raises(ValueError, match=r"^fit is 5: it must be at least 0 and at most 2$"):
        PaintSettings(fit=5)


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
@pytest.mark.parametrize("flips", [(False, False), (True, False), (False, True), (True, True)])
def test_margins_and_place_turn_with_the_pixels(bank, quarters, flips):
    """The box drawn around the defect before and after: the same rectangle of the turned image."""
    (unit, *_) = units_of(bank._examples, replace(bank.settings, keep_together=False))
    unit = replace(unit, margins=np.array([[1, 2, 3, 4]], np.float32))
    turned = _oriented(unit, *flips, quarters)

    def canvas(unit):
        height, width = unit.image_size
        middle = round((unit.centre[0] + 0.5) * height * 2), round((unit.centre[1] + 0.5) * width * 2)
        top, left = ((middle[side] - unit.size[side]) // 2 for side in (0, 1))
        rows, cols = np.nonzero(unit.numbers)
        left_of, above, right_of, below = unit.margins[0].astype(int)
        drawn = np.zeros((height, width), np.uint8)
        drawn[
            top + rows.min() - above : top + rows.max() + 1 + below,
            left + cols.min() - left_of : left + cols.max() + 1 + right_of,
        ] = 1
        drawn[top : top + unit.size[0], left : left + unit.size[1]][unit.numbers > 0] = 2
        return drawn

    before = canvas(unit)
    before = before[:, ::-1] if flips[0] else before
    before = before[::-1] if flips[1] else before
    np.testing.assert_array_equal(canvas(turned), np.rot90(before, quarters))


def test_flat_products_that_differ_by_noise_alone_have_places(make_plates):
    def flat(row):
        middle = (32, 0, 66, 96)  # between the bars
        objects = [{**item, "bbox": [item["bbox"][0] - 32, *item["bbox"][1:]]} for item in row["objects"]]
        return {"image": row["image"].crop(middle), "reference": row["reference"].crop(middle), "objects": objects}

    plates = make_plates(with_mask=False, with_reference=True)
    flats = plates.map(flat, features=plates.features)
    bank = DefectBank.from_dataset(flats, objects_column="objects", reference_column="reference")
    assert bank.settings.max_shift is None and bank.settings.fit is not None
    assert all(bank.paint(flats[5]["image"], seed=seed).objects for seed in range(5))


def test_a_defect_in_colour_keeps_it_on_an_image_without(make_plate):
    """The files are RGB, and the product is grey: its channels are equal."""
    rows = []
    for seed in range(6):
        pixels = np.repeat(make_plate(seed, False)[0][..., None], 3, axis=2)
        boxes = [{"bbox": [36.0, 30.0, 20.0, 8.0], "category": 0}] if seed < 3 else []
        if boxes:
            pixels[30:38, 36:56] = 220, 20, 20
        rows.append({"image": Image.fromarray(pixels), "objects": boxes})
    features = datasets.Features(image=datasets.Image(), objects=objects_feature(["rust"]))
    bank = DefectBank.from_dataset(datasets.Dataset.from_list(rows, features=features))
    bank.settings = replace(bank.settings, composition="copied")
    painted = bank.paint(rows[5]["image"], seed=1)
    red, green, blue = np.moveaxis(np.asarray(painted.image)[painted.mask > 0].astype(int), 1, 0)
    assert painted.image.mode == "RGB" and len(red) and np.median(red) == 220
    assert np.median(green) == np.median(blue) == 20
    unchanged = np.asarray(painted.image)[~painted.changed]
    assert (unchanged[:, 0] == unchanged[:, 1]).all() and (unchanged[:, 0] == unchanged[:, 2]).all()
