"""A labelled row is read in one way by all that use rows: what one refuses, all refuse."""

from __future__ import annotations

from collections.abc import Callable

import datasets
import numpy as np
import pytest
from PIL import Image

from magical_hub import DefectBank
from magical_hub.data import open_source
from magical_hub.data.columns import Columns, objects_feature
from magical_hub.data.rows import LabelledRow, LabelledRows
from magical_hub.detectors import read_labelled
from magical_hub.errors import DataError
from magical_hub.export import write_dataset
from magical_hub.usefulness.images import read

FEATURES = datasets.Features(
    image=datasets.Image(),
    mask=datasets.Image(),
    label=datasets.ClassLabel(names=["good", "dent"]),
    objects=objects_feature(["dent", "scratch"]),
)


def rows(**last) -> datasets.Dataset:
    """Two good images and a dented one, with a mask and a box."""
    dent = np.zeros((48, 48), np.uint8)
    dent[10:20, 12:24] = 255
    image = Image.fromarray(np.where(dent, 40, 150).astype(np.uint8))
    good = {"image": Image.new("L", (48, 48), 150), "mask": Image.new("L", (48, 48)), "label": 0, "objects": []}
    box = {"bbox": [12.0, 10.0, 12.0, 10.0], "category": 0}
    dented = {"image": image, "mask": Image.fromarray(dent), "label": 1, "objects": [box]}
    return datasets.Dataset.from_list([good, good, {**dented, **last}], features=FEATURES)


def paint(table: datasets.Dataset, **columns) -> None:
    DefectBank.from_dataset(table, label_column="label", **columns)


def export(table: datasets.Dataset, **columns) -> None:
    write_dataset(table, "out", "coco", **columns)


def train(table: datasets.Dataset, **columns) -> None:
    for record in open_source(table, **columns).records():
        record.check()
        assert record.defects is not None
        record.defects.classes(record.name)


def detect(table: datasets.Dataset, **columns) -> None:
    read_labelled(table, **columns)


@pytest.mark.parametrize(
    ("last", "columns", "readers", "words"),
    [
        ({"label": 0}, "mask", (paint, export), "row 2 is called 'good', and its mask marks a defect"),
        ({"label": 0}, "mask", (train,), "row 2 is called good, and its mask marks a defect"),
        ({"label": None}, "mask", (paint, export), "row 2 is called None, and its mask marks a defect"),
        (
            {"objects": [{"bbox": [1.0, 1.0, 4.0, 4.0], "category": None}]},
            "objects",
            (paint, export, train, detect),
            "row 2 has an object of the category None: give it one with a name",
        ),
    ],
)
def test_what_nothing_names_is_refused_by_all(last, columns, readers, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict[Callable, dict] = {
        paint: {"objects_column": None, "mask_column": None},
        export: {"objects_column": None, "mask_column": None},
        train: {"label_column": "label"},
        detect: {},
    }
    for reader in readers:
        with pytest.raises(DataError, match=words):
            reader(rows(**last), **{**names[reader], f"{columns}_column": columns})


@pytest.mark.parametrize("format", ["coco", "anomalib"])
@pytest.mark.parametrize(
    ("last", "words"),
    [
        ({"objects": []}, "row 2 has no objects, and its mask marks a defect"),
        ({"mask": Image.new("L", (48, 48))}, "row 2 has an object at 12, 10, 12, 10, where its mask marks nothing"),
        (
            {"objects": [{"bbox": [12, 10, 12, 10], "category": 0}, {"bbox": [30, 0.5, 8, 8], "category": 1}]},
            "row 2 has an object at 30, 0.5, 8, 8, where its mask marks nothing",
        ),
    ],
)
def test_objects_and_a_mask_that_contradict_each_other(last, words, format, tmp_path):
    for reader in (lambda: paint(rows(**last)), lambda: write_dataset(rows(**last), tmp_path / "out", format)):
        with pytest.raises(DataError, match=words + ": correct one, or leave a column out"):
            reader()
    assert not (tmp_path / "out").exists()
    write_dataset(rows(**last), tmp_path / "out", format, mask_column=None)


@pytest.mark.parametrize("reader", [paint, export, train, detect])
def test_names_of_values_need_masks(reader, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = rows().remove_columns("mask")
    with pytest.raises(DataError, match="mask_values name what masks mark"):
        reader(table, objects_column="objects", mask_values={255: "dent"})


def test_which_rows_are_good():
    """By objects, else by the mask, else by the class, if it is called so and none of its rows has a defect."""
    table = datasets.concatenate_datasets(
        [rows(), rows(objects=None, mask=None), rows(objects=None, mask=None, label=0)]
    )
    columns = Columns(label="label", objects="objects", mask="mask")
    assert LabelledRows(table, columns).kinds == ([2], [0, 1, 3, 4, 6, 7, 8], [5])
    passed = datasets.concatenate_datasets([table, rows(label=0)])  # a defect that was let pass
    assert LabelledRows(passed, columns).kinds == ([2, 11], [0, 1, 3, 4, 6, 7, 9, 10], [5, 8])
    blank = table.cast_column("label", datasets.ClassLabel(names=["Good ", "dent"]))
    assert LabelledRows(blank, columns).kinds == LabelledRows(table, columns).kinds
    products = table.cast_column("label", datasets.ClassLabel(names=["board", "dent"]))
    assert LabelledRows(products, columns).kinds == ([2], [0, 1, 3, 4, 6, 7], [5, 8])


@pytest.mark.parametrize("image", [None, {"bytes": None, "path": None}])
def test_a_row_without_an_image_is_named(image):
    row = LabelledRow(LabelledRows(rows(), Columns()), 1, {"image": image})
    with pytest.raises(DataError, match="row 1 has no image: leave it out"):
        _ = row.size


def test_references_have_the_size_of_their_images():
    table = rows().remove_columns("objects").rename_column("mask", "reference")
    table = table.map(lambda row: {"reference": Image.new("L", (48, 40))}, features=table.features)
    table = table.add_column("objects", [[], [], []], feature=FEATURES["objects"])
    with pytest.raises(DataError, match="references have another size than their images"):
        read(table, Columns(objects="objects", reference="reference"), None)
