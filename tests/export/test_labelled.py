"""Labelled datasets in the layouts of other programs, read back by these or by their rules."""

from __future__ import annotations

import json

import datasets
import numpy as np
import pytest
import yaml
from PIL import Image
from pycocotools.coco import COCO

from magical_hub.data import package_dataset
from magical_hub.errors import ConfigError, DataError
from magical_hub.export import write_dataset


def with_mask(row):
    """The inside of the boxes but for a corner, so that mask and box differ."""
    mask = np.zeros((64, 64), np.uint8)
    for item in row["objects"]:
        x, y, width, height = map(int, item["bbox"])
        mask[y : y + height, x : x + width] = 255
        mask[y, x] = 0
    return {"mask": Image.fromarray(mask)}


@pytest.fixture(scope="module")
def packages():
    """Twelve pictures with boxes and masks, about half of them good."""
    plain = package_dataset(12, 64, seed=3)
    features = datasets.Features({**plain.features, "mask": datasets.Image()})
    return plain.map(with_mask, features=features, keep_in_memory=True)


def pixels(path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_imagefolder_is_read_back(packages, tmp_path):
    write_dataset(packages, tmp_path / "out", "imagefolder")
    load = {"data_dir": str(tmp_path / "out"), "cache_dir": str(tmp_path / "cache")}
    again = datasets.load_dataset("imagefolder", split="train", **load)
    assert len(again) == 12 and {*again.features} == {*packages.features}
    for old, new in zip(packages, again, strict=True):
        assert np.array_equal(np.asarray(old["image"]), np.asarray(new["image"]))
        assert np.array_equal(np.asarray(old["mask"]), np.asarray(new["mask"]))
        assert new["label"] == packages.features["label"].int2str(old["label"])
        assert new["package"] == packages.features["package"].int2str(old["package"])
        assert [item["bbox"] for item in new["objects"]] == [item["bbox"] for item in old["objects"]]
        assert [item["category"] for item in new["objects"]] == [new["label"]] * len(old["objects"])
    classes = {path.name for path in (tmp_path / "out").iterdir() if path.is_dir()} - {"masks"}
    assert classes == {*again["label"]}  # one folder per class, for who reads no metadata


def test_unknown_stays_null_in_an_imagefolder(packages, tmp_path):
    unknown = packages.map(lambda row: {"objects": None, "label": None}, features=packages.features)
    write_dataset(unknown, tmp_path / "out", "imagefolder")
    rows = [json.loads(line) for line in (tmp_path / "out" / "metadata.jsonl").read_text().splitlines()]
    assert all(row["objects"] is None and row["label"] is None for row in rows)
    assert rows[3]["file_name"] == "00003.png" and (tmp_path / "out" / "00003.png").is_file()


def test_coco_is_read_by_pycocotools(packages, tmp_path):
    write_dataset(packages, tmp_path / "out", "coco")
    coco = COCO(tmp_path / "out" / "annotations.json")
    names = packages.features["label"].names
    assert [coco.cats[number]["name"] for number in sorted(coco.cats)] == names
    assert len(coco.imgs) == 12
    for number, row in enumerate(packages):
        assert np.array_equal(pixels(tmp_path / "out" / "images" / coco.imgs[number]["file_name"]), row["image"])
        found = coco.loadAnns(coco.getAnnIds(imgIds=number))
        assert [annotation["bbox"] for annotation in found] == [item["bbox"] for item in row["objects"]]
        assert [annotation["category_id"] for annotation in found] == [t["category"] + 1 for t in row["objects"]]
        for annotation in found:
            assert np.array_equal(coco.annToMask(annotation), np.asarray(row["mask"]) // 255)
            assert annotation["area"] == (np.asarray(row["mask"]) > 0).sum()


def test_coco_without_masks_has_boxes_alone(packages, tmp_path):
    write_dataset(packages, tmp_path / "out", "coco", mask_column=None)
    annotations = json.loads((tmp_path / "out" / "annotations.json").read_text())["annotations"]
    assert annotations and not [item for item in annotations if "segmentation" in item]
    assert all(item["area"] == item["bbox"][2] * item["bbox"][3] for item in annotations)


def test_yolo(packages, tmp_path):
    write_dataset(packages, tmp_path / "out", "yolo")
    about = yaml.safe_load((tmp_path / "out" / "data.yaml").read_text())
    assert about["names"] == dict(enumerate(packages.features["label"].names))
    assert about["train"] == "images/train" and about["val"] == "images/val"
    for number, row in enumerate(packages):
        assert np.array_equal(pixels(tmp_path / "out" / about["train"] / f"{number:05d}.png"), row["image"])
        lines = (tmp_path / "out" / "labels" / "train" / f"{number:05d}.txt").read_text().splitlines()
        assert len(lines) == len(row["objects"])
        for line, item in zip(lines, row["objects"], strict=True):
            category, x, y, width, height = map(float, line.split())
            assert category == item["category"]
            corner = (x - width / 2) * 64, (y - height / 2) * 64, width * 64, height * 64
            assert corner == pytest.approx(item["bbox"], abs=1e-3)


def test_anomalib(packages, tmp_path):
    write_dataset(packages, tmp_path / "out", "anomalib")
    stems = {
        name: {path.stem for path in (tmp_path / "out" / name).iterdir()} for name in ("normal", "abnormal", "masks")
    }
    defective = {f"{number:05d}" for number, row in enumerate(packages) if row["objects"]}
    assert stems["abnormal"] == stems["masks"] == defective and 0 < len(defective) < 12
    assert stems["normal"] == {f"{number:05d}" for number in range(12)} - defective
    mask = pixels(tmp_path / "out" / "masks" / f"{min(defective)}.png")
    assert np.array_equal(mask, np.asarray(packages[int(min(defective))]["mask"])) and {*np.unique(mask)} == {0, 255}


def test_anomalib_by_label_alone(packages, tmp_path):
    write_dataset(packages, tmp_path / "out", "anomalib", objects_column=None, mask_column=None)
    normal = {path.stem for path in (tmp_path / "out" / "normal").iterdir()}
    assert normal == {f"{number:05d}" for number, row in enumerate(packages) if row["label"] == 0}
    assert not (tmp_path / "out" / "masks").exists()
    with pytest.raises(
        DataError, match="row 0 does not say whether it is normal: give it objects, a mask, or a label"
    ):
        write_dataset(
            packages, tmp_path / "b", "anomalib", label_column="package", objects_column=None, mask_column=None
        )


def test_hf_is_loaded_from_the_disk(packages, tmp_path):
    write_dataset(packages, tmp_path / "out", "hf")
    assert datasets.load_from_disk(tmp_path / "out").features == packages.features


@pytest.mark.parametrize("format", ["coco", "yolo"])
def test_unknown_objects_are_no_normal_images(packages, tmp_path, format):
    rows = packages.map(lambda row, number: {"objects": None if number == 4 else row["objects"]}, with_indices=True)
    with pytest.raises(DataError, match="row 4 does not say whether it has defects .* another format than " + format):
        write_dataset(rows, tmp_path / "out", format)
    with pytest.raises(DataError, match=f"{format} is for boxes, and no column has objects"):
        write_dataset(packages.remove_columns(["objects", "mask"]), tmp_path / "out", format)
    assert not [*tmp_path.iterdir()]  # nothing half-written


def test_mistakes(packages, tmp_path):
    with pytest.raises(ConfigError, match="no format 'voc': give hf, parquet, imagefolder, coco, yolo, anomalib"):
        write_dataset(packages, tmp_path / "out", "voc")
    with pytest.raises(DataError, match="no column 'class'"):
        write_dataset(packages, tmp_path / "out", label_column="class")
    with pytest.raises(DataError, match="the dataset is empty"):
        write_dataset(packages.select([]), tmp_path / "out")
    slashed = packages.cast_column("label", datasets.ClassLabel(names=["a/b", *map(str, range(8))]))
    with pytest.raises(DataError, match="a folder can't be named after the class 'a/b'"):
        write_dataset(slashed, tmp_path / "out")
    good = packages.filter(lambda row: row["label"] > 0)
    with pytest.raises(DataError, match="there is no normal image"):
        write_dataset(good, tmp_path / "out", "anomalib")
    assert not [*tmp_path.iterdir()]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("precious")
    with pytest.raises(DataError, match="mine holds something already: give a new or an empty folder"):
        write_dataset(packages, tmp_path / "mine")
    assert (tmp_path / "mine" / "notes.txt").read_text() == "precious"
