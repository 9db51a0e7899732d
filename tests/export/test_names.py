"""Names in what is written: files keep theirs where that is safe, and a data set's own columns override no key."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import datasets
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools.coco import COCO

from magical_hub.export import write_dataset
from magical_hub.export.names import file_stems, safe_stem

KINDS = datasets.ClassLabel(names=["good", "crack"])
BOXES = datasets.List({"bbox": datasets.List(datasets.Value("int64"), length=4), "category": KINDS})


def picture(number: int) -> Image.Image:
    return Image.fromarray(np.full((20, 30), 10 * number, np.uint8))


def folder_of(names: list[str], place: Path) -> datasets.Dataset:
    """A data set of files, each of one grey level: ten times its number."""
    for number, name in enumerate(names):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        picture(number).save(place / name)
    features = {"image": datasets.Image(), "label": KINDS, "objects": BOXES}
    return datasets.Dataset.from_list(
        [{"image": str(place / name), "label": 0, "objects": []} for name in names],
        features=datasets.Features(features),
    )


NAMES = [
    "b1/0001.png",
    "b2/0001.bmp",
    "b2/Board 7 (left).JPG",
    "b3/board 7 (LEFT).png",
    "00003.png",
    "ä.png",
    "test_01.png",
]


@pytest.mark.parametrize("format", ["imagefolder", "coco", "yolo", "anomalib"])
def test_files_keep_their_names(tmp_path, format):
    real = folder_of(NAMES, tmp_path / "in")
    plain = datasets.Dataset.from_list([{"image": picture(7), "label": 0, "objects": []}], features=real.features)
    write_dataset(datasets.concatenate_datasets([real, plain]), tmp_path / "out", format)
    place = {"imagefolder": "good", "coco": "images", "yolo": "images/train", "anomalib": "normal"}[format]
    found = {path.stem: int(np.asarray(Image.open(path))[0, 0]) // 10 for path in (tmp_path / "out" / place).iterdir()}
    expected = ["0001", "0001-2", "Board 7 (left)", "board 7 (LEFT)-2", "00003", "ä", "test_01", "00007"]
    if format == "imagefolder":  # "test_01.png" would be read as a split of its own, and the others left out
        expected[6] = "00006"
    assert found == {name: number for number, name in enumerate(expected)}
    if format == "coco":
        images = json.loads((tmp_path / "out/annotations.json").read_text())["images"]
    elif format == "imagefolder":
        images = [json.loads(line) for line in (tmp_path / "out/metadata.jsonl").read_text().splitlines()]
        load = {"data_dir": str(tmp_path / "out"), "cache_dir": str(tmp_path / "cache")}
        again = datasets.load_dataset("imagefolder", **load)
        assert list(again) == ["train"] and len(again["train"]) == 8
        assert [int(np.asarray(image)[0, 0]) // 10 for image in again["train"]["image"]] == list(range(8))
    else:
        return
    assert [image["original_name"] for image in images] == [*(name.rpartition("/")[2] for name in NAMES), None]
    assert not [name for name in NAMES if str(tmp_path) in json.dumps(images)]  # no path of this machine


@settings(max_examples=50)
@given(
    st.lists(st.one_of(st.none(), st.text(), st.sampled_from(["00001.png", "../a/b.png", "A.png", "a.jpg", "CON"])))
)
def test_stems_are_safe_and_differ(names):
    stems = file_stems(names)
    assert len({unicodedata.normalize("NFC", stem).casefold() for stem in stems}) == len(names)
    for stem in stems:
        assert stem and stem == stem.strip(" .") and len(stem.encode()) < 200
        assert not {*stem} & {*'/\\<>:"|?*'} and not [
            letter for letter in stem if unicodedata.category(letter)[0] == "C"
        ]
        assert not stem.startswith((".", "__", "-")) and stem.upper() not in ("CON", "NUL", "COM1")


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("/data/lot 7/cell_01.tif", "cell_01"),
        ("C:\\data\\cell.v2.png", "cell.v2"),
        ("a\nb\x1b[31m.png", "a_b_[31m"),
        ("..png", None),
        ("", None),
        ("a\u0308.png", "ä"),
        ("nul.png", "_nul"),
        ("x" * 300 + ".png", "x" * 120),
        ("caf\udce9.png", "caf_"),
    ],
)
def test_a_stem_of_a_strangers_name(name, stem):
    assert safe_stem(name) == stem


OWN = {
    **{name: datasets.Value("int64") for name in ("id", "width", "height", "category_id", "license", "iscrowd")},
    **{name: datasets.Value("string") for name in ("file_name", "mask_file_name", "board_file_name", "bbox", "mask")},
    "original_id": datasets.Value("string"),
    "ratio": datasets.Value("float32"),
}


def with_own_columns() -> datasets.Dataset:
    """Rows whose own columns are called as keys of formats are, with the wrong values for these."""
    features = {"image": datasets.Image(), "seen": datasets.Image(), "label": KINDS, "objects": BOXES, **OWN}
    rows = []
    for number in range(4):
        image = picture(number)
        objects = [{"bbox": [number, 1, 5, 6], "category": 1}] if number % 2 else []
        own = {name: 3 - number if value.dtype == "int64" else f"{name} {number}" for name, value in OWN.items()}
        own["ratio"] = float("nan") if number == 2 else number / 2
        seen = Image.fromarray(255 * np.uint8([[bool(objects)] * 30] * 20))
        rows.append({"image": image, "seen": seen, "label": bool(objects), "objects": objects, **own})
    return datasets.Dataset.from_list(rows, features=datasets.Features(features))


def test_a_coco_files_keys_are_coco_s(tmp_path):
    write_dataset(with_own_columns(), tmp_path / "out", "coco", mask_column="seen")
    coco = COCO(tmp_path / "out/annotations.json")
    for number in range(4):
        image = coco.imgs[number]
        assert (image["id"], image["width"], image["height"]) == (number, 30, 20)
        assert np.asarray(Image.open(tmp_path / "out/images" / image["file_name"]))[0, 0] == 10 * number
        boxes = [annotation["bbox"] for annotation in coco.loadAnns(coco.getAnnIds(imgIds=number))]
        assert boxes == ([[number, 1, 5, 6]] if number % 2 else [])
        own = {"original_width", "original_height", "original_category_id", "original_license", "original_iscrowd"}
        assert {image[name] for name in own} == {3 - number} and image["original_original_id"] == 3 - number
        assert image["original_id"] == f"original_id {number}" and image["original_name"] == f"file_name {number}"
        assert image["original_bbox"] == f"bbox {number}" and image["mask_file_name"] == f"mask_file_name {number}"
        assert image["ratio"] == (None if number == 2 else number / 2)
    json.loads((tmp_path / "out/annotations.json").read_text(), parse_constant=pytest.fail)  # NaN is not JSON


def test_an_imagefolders_keys_are_the_loaders(tmp_path):
    write_dataset(with_own_columns(), tmp_path / "out", "imagefolder", mask_column="seen")
    load = {"data_dir": str(tmp_path / "out"), "cache_dir": str(tmp_path / "cache")}
    again = datasets.load_dataset("imagefolder", split="train", **load)
    for number, row in enumerate(again):
        assert np.asarray(row["image"])[0, 0] == 10 * number and row["label"] == ["good", "crack"][number % 2]
        assert np.asarray(row["mask"]).max() == 255 * (number % 2)
        assert (row["id"], row["width"], row["original_id"]) == (3 - number, 3 - number, f"original_id {number}")
        assert row["original_name"] == f"file_name {number}" and row["original_mask"] == f"mask {number}"
        assert row["original_mask_name"] == f"mask_file_name {number}"
        assert row["original_board_name"] == f"board_file_name {number}"


def test_columns_that_are_labels_and_objects_may_be_called_as_keys(tmp_path):
    plain = with_own_columns().select_columns(["image", "label", "objects"])
    ds = plain.rename_columns({"label": "file_name", "objects": "defects_file_name"})
    write_dataset(ds, tmp_path / "out", "imagefolder", label_column="file_name")
    load = {"data_dir": str(tmp_path / "out"), "cache_dir": str(tmp_path / "cache")}
    again = datasets.load_dataset("imagefolder", split="train", **load)
    assert again["original_name"][:] == ["good", "crack"] * 2
    assert [item["bbox"] for item in again["original_defects_name"][3]] == [[3, 1, 5, 6]]
