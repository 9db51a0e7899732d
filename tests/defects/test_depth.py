"""The same images in 8 bits, in 16, and as a camera of 12 bits writes them: the same defects, the same input."""

from __future__ import annotations

from dataclasses import replace

import datasets
import numpy as np
import pytest
from PIL import Image

from magical_hub.defects import DefectBank
from magical_hub.detectors import read_labelled


def deeper(data: datasets.Dataset, factor: int, negative: bool = False) -> datasets.Dataset:
    """The images and references of rows in 16 bits, each value so many times as large; or of their negatives."""
    rows = []
    for row in data:
        for name in ("image", "reference"):
            pixels = np.asarray(row[name]).astype(np.uint16)
            row[name] = Image.fromarray((255 - pixels if negative else pixels) * np.uint16(factor))
        rows.append(row)
    return datasets.Dataset.from_list(rows, features=data.features)


@pytest.fixture(scope="module")
def plain(make_plates):
    return make_plates(bad=3, good=3, with_mask=False, with_reference=True)


@pytest.mark.parametrize(("factor", "white"), [(257, 65535), (16, 4095), (4, 1023)])
def test_the_depth_of_a_file_does_not_matter(plain, factor, white, tmp_path):
    deep = deeper(plain, factor)
    first, other = (DefectBank.from_dataset(data, reference_column="reference") for data in (plain, deep))
    assert other.white == white and repr(other).endswith(f"96 x 96 pixels, uint16, 0 to {white})")
    for ours, theirs in zip(first.report, other.report, strict=True):
        assert all(ours[name] == theirs[name] for name in ("row", "category", "reference", "pixels", "size"))
    other.save(tmp_path / "bank")
    other = DefectBank.load(tmp_path / "bank")
    wanted = [{"category": "spot", "bbox": [30, 50, 9, 9]}, {"category": "scratch", "bbox": [40, 12, 14, 12]}]
    target = np.asarray(plain[4]["image"])
    for seed in range(3):
        before = target.astype(np.uint16) * np.uint16(factor)
        ours, theirs = first.paint(target, wanted, seed), other.paint(before, wanted, seed)
        assert ours.objects == theirs.objects and (ours.mask == theirs.mask).all()
        np.testing.assert_array_equal(theirs.changed, theirs.image != before)
        assert np.abs(theirs.image / factor - ours.image).max() <= 1.5  # both are rounded

    images, deep_images = (read_labelled(data, objects_column="objects").images for data in (plain, deep))
    assert np.abs(images.astype(int) - deep_images).max() <= 1


def test_what_is_painted_ends_at_white(plain):
    """And what is not painted stays, even beyond it."""
    data = deeper(plain, 16, negative=True)  # of bright defects
    bank = DefectBank.from_dataset(data, reference_column="reference")
    bank.settings = replace(bank.settings, strength=(3.0, 3.0), visible=0.0, composition="difference")
    target = np.array(data[4]["image"])
    target[0, 0], target[-1, -1] = 5000, 65535
    painted = bank.paint(target, [{"category": "spot", "bbox": [30, 50, 9, 9]}])
    assert painted.changed.any() and painted.image[painted.changed].max() == 4095
    assert painted.image[0, 0] == 5000 and painted.image[-1, -1] == 65535
