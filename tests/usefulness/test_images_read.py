"""What is read as good in data with masks."""

from __future__ import annotations

import datasets
import numpy as np
import pytest
from PIL import Image

from magical_hub.data.columns import Columns
from magical_hub.errors import DataError
from magical_hub.usefulness.images import read

COLUMNS = Columns(mask="mask")


def cells(masks: list[Image.Image | None]) -> datasets.Dataset:
    """Three images: two called good and one called cracked, each with its mask."""
    images = [Image.fromarray(np.full((8, 8), 90 + 9 * number, np.uint8)) for number in range(3)]
    features = datasets.Features(
        image=datasets.Image(), mask=datasets.Image(), label=datasets.ClassLabel(names=["good", "cracked"])
    )
    return datasets.Dataset.from_dict({"image": images, "mask": masks, "label": [0, 0, 1]}, features=features)


def test_a_good_image_needs_no_mask():
    black, crack = Image.new("L", (8, 8)), Image.new("L", (8, 8), 255)
    without = read(cells([None, None, crack]), COLUMNS, None)
    named = read(cells([black, black, crack]), COLUMNS, None)
    np.testing.assert_array_equal(without.labelled.masks, named.labelled.masks)
    assert list(without.labelled.defective) == [False, False, True]


def test_a_missing_mask_beside_defects_of_its_class_is_refused():
    crack = Image.new("L", (8, 8), 255)
    with pytest.raises(DataError, match=r"mask of row 1 is null: .* black image"):
        read(cells([crack, None, crack]), COLUMNS, None)


def test_images_and_references_of_12_bits_have_one_range():
    """Black is 0 and white 4095 in both, though no reference is brighter than 1000."""
    levels = [np.full((8, 8), value, np.uint16) for value in (2600, 1300, 900, 1000)]
    bright, dark, *references = (Image.fromarray(pixels) for pixels in levels)
    masks = [Image.new("L", (8, 8), value) for value in (255, 0)]
    features = datasets.Features(image=datasets.Image(), mask=datasets.Image(), reference=datasets.Image())
    data = datasets.Dataset.from_dict(
        {"image": [bright, dark], "mask": masks, "reference": references}, features=features
    )
    images = read(data, Columns(mask="mask", reference="reference"), None)
    shown = [*images.labelled.images[:, 0, 0, 0], *images.references[:, 0, 0, 0]]
    assert shown == [round(value / 4095 * 255) for value in (2600, 1300, 900, 1000)]
