"""Boxes and masks become the defect maps that training reads."""

from __future__ import annotations

import io
import json
from pathlib import Path

import datasets
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from magical_hub import Grid
from magical_hub.data import open_source, open_store, package_dataset, prepare_store
from magical_hub.data.defect_maps import Boxes, Mask
from magical_hub.data.masks import survey_masks
from magical_hub.errors import DataError

GRID = Grid(2, 4, 64, 128)  # sub-regions of 32 px


def png(pixels: np.ndarray) -> bytes:
    target = io.BytesIO()
    Image.fromarray(pixels).save(target, "PNG")
    return target.getvalue()


@pytest.mark.parametrize(
    ("boxes", "defect_map"),
    [
        ([], [[0, 0, 0, 0], [0, 0, 0, 0]]),
        ([((33, 2, 20, 20), 0)], [[0, 1, 0, 0], [0, 0, 0, 0]]),
        ([((70, 40, 2, 2), 4)], [[0, 0, 0, 0], [0, 0, 5, 0]]),  # 0.4 % of a sub-region, and not lost
        ([((0, 24, 128, 16), 1)], [[2, 2, 2, 2], [2, 2, 2, 2]]),  # a quarter of each
        ([((16, 0, 18, 30), 2)], [[3, 0, 0, 0], [0, 0, 0, 0]]),  # 6 % of the second is less than a tenth
        ([((0, 0, 32, 32), 0), ((0, 0, 8, 32), 1)], [[1, 0, 0, 0], [0, 0, 0, 0]]),  # who covers more
        ([((0, 0, 17, 16), 3), ((16, 16, 60, 16), 0)], [[4, 1, 1, 0], [0, 0, 0, 0]]),
    ],
)
def test_the_defect_map_of_boxes(boxes, defect_map):
    made = Boxes(boxes).defect_map((64, 128), GRID, 0.1, "x")
    assert made.tolist() == defect_map
    # The file may have another size than the canvas: then its boxes have, too.
    larger = [(tuple(3 * x for x in box), number) for box, number in boxes]
    assert Boxes(larger).defect_map((192, 384), GRID, 0.1, "x").tolist() == defect_map


@given(st.integers(0, 100), st.integers(0, 50), st.integers(1, 27), st.integers(1, 13))
def test_a_mask_marks_what_its_box_marks(left, top, width, height):
    mask = np.zeros((64, 128), np.uint8)
    mask[top : top + height, left : left + width] = 7
    by_mask = Mask(png(mask), survey_masks([(png(mask), "x")]), 2).defect_map((64, 128), GRID, 0.1001, "x")
    by_box = Boxes([((left, top, width, height), 2)]).defect_map((64, 128), GRID, 0.1001, "x")
    np.testing.assert_array_equal(by_mask, by_box)
    assert by_mask.any()


def test_wrong_boxes_and_masks_are_one_line():
    with pytest.raises(
        DataError, match=r"row 3 has the box \[128.0, 0.0, 40.0, 10.0\] .* outside the image of 64 x 128"
    ):
        Boxes([((128, 0, 40, 10), 0)]).defect_map((64, 128), GRID, 0.1, "row 3")
    with pytest.raises(DataError, match=r"row 3 has the box .* which has no area"):
        Boxes([((10, 10, 0, 5), 0)]).defect_map((64, 128), GRID, 0.1, "row 3")
    blank = png(np.zeros((64, 64), np.uint8))
    with pytest.raises(DataError, match="mask of row 3 is 64 x 64 and its image 64 x 128"):
        Mask(blank, survey_masks([(blank, "x")]), 0).defect_map((64, 128), GRID, 0.1, "row 3")


def test_a_store_keeps_the_defect_maps_and_the_names_that_occur(tmp_path: Path):
    packages = package_dataset(24, image_size=128, seed=3)
    grid = Grid(4, 4, 128, 128)
    source = open_source(packages, label_column="package", objects_column="objects")
    store = prepare_store(source, tmp_path / "run", grid, 3, progress=False)
    again = open_store(tmp_path / "run")
    occurring = {name for row in packages for name in (row["label"],) if row["objects"]}
    kinds = packages.features["label"]
    assert store.defect_names == [name for name in kinds.names if kinds.str2int(name) in occurring]
    assert "normal" not in store.defect_names
    for row, field in zip(packages, store.defects, strict=True):
        assert set(np.unique(field)) - {0} == (
            {1 + store.defect_names.index(kinds.int2str(row["label"]))} if row["objects"] else set()
        )
    np.testing.assert_array_equal(again.defects, store.defects)
    assert again.fingerprint == store.fingerprint
    bare = prepare_store(open_source(packages, label_column="package"), tmp_path / "bare", grid, 3, progress=False)
    assert bare.defects is None and bare.defect_names is None and bare.fingerprint != store.fingerprint


def test_records_of_lists_and_plain_names_are_objects_too(tmp_path: Path):
    """As older versions of datasets stored them, and as a metadata.jsonl has them."""
    picture = Image.fromarray(np.zeros((64, 128), np.uint8))
    rows = {
        "image": [picture, picture],
        "objects": [{"bbox": [[33.0, 2, 20, 20]], "category": ["pit"]}, {"bbox": [], "category": []}],
    }
    lists = datasets.Dataset.from_dict(rows).cast_column("image", datasets.Image())
    store = prepare_store(open_source(lists, objects_column="objects"), tmp_path / "a", GRID, 1, progress=False)
    folder = tmp_path / "folder"
    folder.mkdir()
    lines = []
    for number, objects in enumerate(rows["objects"]):
        picture.save(folder / f"{number}.png")
        lines.append(json.dumps({"file_name": f"{number}.png", "objects": objects}))
    (folder / "metadata.jsonl").write_text("\n".join(lines))
    other = prepare_store(open_source(folder, objects_column="objects"), tmp_path / "b", GRID, 1, progress=False)
    for made in (store, other):
        assert made.defect_names == ["pit"]
        assert made.defects.tolist() == [[[0, 1, 0, 0], [0, 0, 0, 0]], np.zeros((2, 4)).tolist()]
    rows["objects"][0]["category"] = ["none"]  # which a call of the pipeline could not request
    unnamed = datasets.Dataset.from_dict(rows).cast_column("image", datasets.Image())
    with pytest.raises(DataError, match=r"^a defect is called 'none', which is how no defect is requested: rename it"):
        prepare_store(open_source(unnamed, objects_column="objects"), tmp_path / "c", GRID, 1, progress=False)


def test_a_mask_is_of_the_class_of_its_image(tmp_path: Path):
    mask = np.zeros((64, 128), np.uint8)
    mask[:20, :20] = 255
    features = datasets.Features(
        {"image": datasets.Image(), "mask": datasets.Image(), "label": datasets.ClassLabel(names=["good", "crack"])}
    )
    picture = Image.fromarray(mask)
    table = datasets.Dataset.from_dict(
        {"image": [picture, picture], "mask": [picture, None], "label": [1, 0]}, features=features
    )
    source = open_source(table, label_column="label", mask_column="mask")
    store = prepare_store(source, tmp_path / "a", GRID, 1, progress=False)
    assert store.defect_names == ["crack"] and store.defects.sum() == 1 == store.defects[0, 0, 0]
    alone = prepare_store(open_source(table.select([0]), mask_column="mask"), tmp_path / "b", GRID, 1, progress=False)
    assert alone.defect_names == ["defect"]
    unsaid = r"^row 1 has no mask in 'mask': give it an empty one where it has no defect$"
    with pytest.raises(DataError, match=unsaid):  # nothing calls it good
        prepare_store(open_source(table, mask_column="mask"), tmp_path / "c", GRID, 1, progress=False)
    with pytest.raises(DataError, match=unsaid):
        bad = table.map(lambda row: {"label": 1}, features=features)
        prepare_store(
            open_source(bad, label_column="label", mask_column="mask"), tmp_path / "c", GRID, 1, progress=False
        )


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"objects_column": "items"}, "no column 'items'"),
        ({"objects_column": "label"}, "'label' holds no list of bbox and category"),
        ({"mask_column": "label"}, "'label' holds no images"),
        ({"objects_column": "objects", "mask_column": "image"}, "give one of them"),
    ],
)
def test_columns_that_hold_no_defects(columns, message):
    with pytest.raises(DataError, match=message):
        list(open_source(package_dataset(2), **columns).records())


def test_null_is_not_an_empty_list():
    rows = package_dataset(4).to_list()
    rows[2]["objects"] = None
    table = datasets.Dataset.from_list(rows, features=package_dataset(1).features)
    with pytest.raises(DataError, match=r"row 2 has null in 'objects': give \[\]"):
        list(open_source(table, objects_column="objects").records())
