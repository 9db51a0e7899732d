"""Synthetic rows with defects: labels, boxes and masks that agree with the image, in the terms of the dataset."""

from __future__ import annotations

from collections import Counter

import datasets
import numpy as np
import pytest
from PIL import Image

from magical_hub import augment_dataset
from magical_hub.errors import AugmentationError, DataError
from magical_hub.models import LabelVerifier


def names(dataset, column: str = "label") -> list[str]:
    return dataset.features[column].int2str(dataset[column][:])


@pytest.fixture
def made(packages, defect_pipe):
    """Thirty synthetic rows."""
    return augment_dataset(packages, defect_pipe, 30, provenance=True).filter(lambda row: row["synthetic"])


def test_labels_boxes_and_masks_agree(packages, made):
    assert made.remove_columns(["synthetic", "source", "seed"]).features == packages.features
    for row, label, package in zip(made, names(made), names(made, "package"), strict=True):
        categories = [packages.features["label"].names[item["category"]] for item in row["objects"]]
        assert categories == ([] if label == "normal" else [label])
        mask = np.asarray(row["mask"])
        assert row["mask"].mode == "L" and mask.shape == (96, 96) and {*np.unique(mask)} <= {0, 255}
        assert mask.any() == (label != "normal")
        for item in row["objects"]:
            rows, cols = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            x, y, width, height = item["bbox"]
            about = cols[0], rows[0], cols[-1] + 1 - cols[0], rows[-1] + 1 - rows[0]
            assert np.abs(np.subtract((x, y, width, height), about)).max() <= 2  # 32 x 48 scaled to 96 x 96
        if label != "normal":  # where the training images had them, and nowhere else
            assert package in {"scratch": ("QFN", "BGA"), "void": ("SOIC",)}[label]
            x, y, width, height = row["objects"][0]["bbox"]
            assert (x + width / 2 < 48 and y + height / 2 < 48) == (label == "scratch")


@pytest.mark.parametrize(("mode", "value"), [("1", 1), ("L", 1), ("P", 3)])
def test_masks_look_as_those_of_the_dataset(packages, defect_pipe, mode, value):
    def marked(row):
        marks = np.asarray(row["mask"]) > 0
        if mode == "1":
            return {"mask": Image.fromarray(marks)}
        image = Image.new(mode, (96, 96))
        if mode == "P":
            image.putpalette(list(range(12)))
        image.putdata((marks * value).reshape(-1).tolist())
        return {"mask": image}

    real = packages.map(marked, keep_in_memory=True)
    made = augment_dataset(real, defect_pipe, 6).select(range(len(real), len(real) + 6))
    assert {image.mode for image in made["mask"]} == {mode}
    assert {*np.unique([np.asarray(image).astype(int) for image in made["mask"]])} == {0, value}
    for image, objects in zip(made["mask"], made["objects"], strict=True):
        assert np.asarray(image).any() == bool(objects)


def test_the_defect_is_what_tells_the_image_from_its_twin(made, defect_pipe, packages):
    row = made.filter(lambda row: len(row["objects"]) > 0)[0]
    package = packages.features["package"].names[row["package"]]
    good = defect_pipe(seeds=[row["seed"]], class_labels=[package], defects={}).images[0]
    change = np.abs(np.asarray(row["image"]).astype(int) - np.asarray(good.resize((96, 96), 1)).astype(int)).max(2)
    x, y, width, height = map(int, row["objects"][0]["bbox"])
    far = np.ones((96, 96), bool)
    far[max(0, y - 24) : y + height + 24, max(0, x - 24) : x + width + 24] = False
    assert change[np.asarray(row["mask"]) > 0].mean() > 10 and far.any() and change[far].mean() < 3


def test_defects_are_balanced_with_sound_images(packages, defect_pipe):
    before = Counter(names(packages))
    whole = augment_dataset(packages, defect_pipe, 3 * max(before.values()) - len(packages))
    assert Counter(names(whole)) == dict.fromkeys(before, max(before.values()))


def test_normal_images_alone(packages, defect_pipe):
    """What a detector that learns from normal images alone is given."""
    normals = packages.filter(lambda row: row["label"] == 0)
    whole = augment_dataset(normals, defect_pipe, 6)
    assert {*whole["label"]} == {0} and whole["objects"][:] == [[]] * len(whole)


def test_image_classes_asked_for_with_defects_as_they_come(packages, defect_pipe):
    whole = augment_dataset(packages, defect_pipe, 40, label_column="package", provenance=True)
    made = whole.filter(lambda row: row["synthetic"])
    assert {"normal", "scratch", "void"} == {*names(made)}
    for row, label in zip(made, names(made), strict=True):
        categories = [packages.features["label"].names[item["category"]] for item in row["objects"]]
        assert categories == ([] if label == "normal" else [label])


def test_lists_of_records_and_records_of_lists(packages, defect_pipe):
    category = datasets.Value("string")
    fields = {"bbox": datasets.List(datasets.Value("int64"), length=4), "category": category}
    more = {**fields, "area": datasets.Value("float64"), "id": datasets.Value("int64")}
    text = packages.features["label"].names

    def record(row):
        return [
            {"bbox": item["bbox"], "category": text[item["category"]], "area": 1.0, "id": 1} for item in row["objects"]
        ]

    features = datasets.Features({**packages.features, "objects": datasets.List(more)})
    lists = packages.map(lambda row: {"objects": record(row)}, features=features)
    features = datasets.Features(
        {**packages.features, "objects": {name: datasets.List(item) for name, item in more.items()}}
    )
    records = packages.map(
        lambda row: {"objects": {name: [item[name] for item in record(row)] for name in more}}, features=features
    )
    lists, records = (augment_dataset(item, defect_pipe, 20) for item in (lists, records))
    assert any(len(objects) for objects in lists["objects"][-20:])
    for one, other in zip(lists["objects"][-20:], records["objects"][-20:], strict=True):
        assert other == {name: [item[name] for item in one] for name in more}
        for item in one:
            assert item["id"] is None and item["category"] in ("scratch", "void")
            assert item["area"] == pytest.approx(item["bbox"][2] * item["bbox"][3], rel=0.2)


def test_categories_that_the_dataset_has_no_name_for(packages, defect_pipe):
    other = datasets.ClassLabel(names=["dent", *map(str, range(8))])
    features = datasets.Features({**packages.features, "label": other})
    features["objects"] = datasets.List(
        {"bbox": datasets.List(datasets.Value("float32"), length=4), "category": other}
    )
    renamed = packages.cast(features)
    with pytest.raises(DataError, match="lack 'void', 'scratch': cast them to a ClassLabel"):
        augment_dataset(renamed, defect_pipe, 2, label_column="package")


def test_what_the_verifier_does_not_find_is_made_again(packages, defect_pipe, caplog):
    config = defect_pipe.generator.config
    shape = {"rows": config.rows, "cols": config.cols, "image_size": config.image_size, "channels": config.channels}
    untrained = LabelVerifier(**shape, num_classes=0, num_defects=2)  # untrained
    strict = type(defect_pipe)(defect_pipe.generator, verifier=untrained.eval())
    with pytest.raises(AugmentationError, match=r"images gave \d+ of the 6 wanted \(\d+ not verified\)"):
        augment_dataset(packages, strict, 6)
    assert len(augment_dataset(packages, strict, 6, keep="all")) == len(packages) + 6
