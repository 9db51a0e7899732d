"""Datasets as labelled images: sizes, classes and boxes follow the pixels; what cannot be used is refused by name."""

from __future__ import annotations

import datasets
import numpy as np
import pytest
from PIL import Image

from magical_hub.detectors import labelled_arrays, read_labelled
from magical_hub.errors import DataError

BOX = datasets.List(datasets.Value("float32"), length=4)
CATEGORY = datasets.ClassLabel(names=["crack", "void"])


def table(**changed) -> datasets.Dataset:
    """Two images of 40 x 20, a white and a black half; a box and a mask in the white one."""
    pixels = np.zeros((20, 40), np.uint8)
    pixels[:, :20] = 255
    mask = np.zeros((20, 40), np.uint8)
    mask[4:8, 2:12] = 2
    mask[0, 39] = 1
    row = {
        "image": Image.fromarray(pixels),
        "mask": Image.fromarray(mask),
        "objects": [{"bbox": [2, 4, 10, 4], "category": 1}],
    }
    features = {"image": datasets.Image(), "mask": datasets.Image()}
    features["objects"] = datasets.List({"bbox": BOX, "category": CATEGORY})
    return datasets.Dataset.from_list([row, {**row, "objects": [], **changed}], features=datasets.Features(features))


def test_boxes_and_masks_are_resized_with_the_images():
    boxes = read_labelled(table(), objects_column="objects", longer_side=20)
    assert boxes.images.shape == (2, 10, 20, 1) and boxes.class_names == ("crack", "void")
    np.testing.assert_array_equal(boxes.boxes[0], [[1, 2, 5, 2]])
    assert boxes.categories[0].tolist() == [1] and boxes.defective.tolist() == [True, False]
    masks = read_labelled(table(), mask_column="mask", mask_values={1: "crack", 2: "void"})
    assert masks.class_names == ("crack", "void") and masks.masks.shape == (2, 20, 40)
    np.testing.assert_array_equal(masks.masks[0], np.asarray(table()[0]["mask"]))
    halved = read_labelled(table(), mask_column="mask", longer_side=20)
    assert (halved.masks[0][2:4, 1:6] == 2).all() and (halved.masks[0] == 2).sum() == 10


def test_images_in_memory_come_out_as_those_of_a_dataset():
    noise = np.random.default_rng(0).integers(0, 255, (20, 40, 3), np.uint8)
    data, mask = table(image=Image.fromarray(noise)), np.asarray(table()[0]["mask"])
    images, names = [data[0]["image"], Image.fromarray(noise)], ("crack", "void")
    boxed = [(images[0], "white and black", [((2, 4, 10, 4), "void")]), (images[1], "noise", [])]
    masked = [(image, name, mask) for image, name, _ in boxed]
    for side in (None, 20, 60):
        ours = labelled_arrays(boxed, names, side, grey=True)
        theirs = read_labelled(data, objects_column="objects", longer_side=side, grey=True)
        np.testing.assert_array_equal(ours.images, theirs.images)
        for own, other in zip((ours.boxes, ours.categories), (theirs.boxes, theirs.categories), strict=True):
            assert [one.tolist() for one in own] == [one.tolist() for one in other]
        ours = labelled_arrays(masked, names, side)
        theirs = read_labelled(data, mask_column="mask", mask_values={1: "crack", 2: "void"}, longer_side=side)
        np.testing.assert_array_equal(ours.masks, theirs.masks)
    with pytest.raises(DataError, match="noise is 40 x 10 pixels and the first one 40 x 20: cut or resize"):
        labelled_arrays([boxed[0], (Image.fromarray(noise[:10]), "noise", [])], names)


def test_colours_stay_unless_grey_is_wanted():
    colour = Image.new("RGB", (40, 20), (200, 10, 10))
    assert read_labelled(table(image=colour), objects_column="objects").images.shape == (2, 20, 40, 3)
    assert read_labelled(table(image=colour), objects_column="objects", grey=True).images.shape == (2, 20, 40, 1)


@pytest.mark.parametrize(
    ("changed", "columns", "message"),
    [
        ({"image": Image.new("L", (30, 20))}, {"objects_column": "objects"}, "image of row 1 is 30 x 20 pixels"),
        ({"objects": None}, {"objects_column": "objects"}, "the objects of row 1 are null"),
        ({"mask": None}, {"mask_column": "mask"}, "mask of row 1 is null"),
        ({"objects": [{"bbox": [90, 0, 4, 4], "category": 0}]}, {"objects_column": "objects"}, "outside the image"),
        ({}, {}, "one of the two"),
        ({}, {"objects_column": "boxes"}, "no column 'boxes'"),
    ],
)
def test_what_cannot_be_used_is_refused(changed, columns, message):
    with pytest.raises(DataError, match=message):
        read_labelled(table(**changed), **columns)
