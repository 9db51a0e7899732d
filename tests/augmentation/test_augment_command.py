"""`magical-hub augment`, as a user runs it."""

from __future__ import annotations

import json

import datasets
import pytest
from PIL import Image

from magical_hub.augmentation import Settings, write_augmented
from magical_hub.errors import DataError


@pytest.fixture
def classes(tmp_path):
    """One folder per class, of small grey images."""
    for number, name in enumerate(["good", "good", "good", "void"]):
        (tmp_path / "data" / name).mkdir(parents=True, exist_ok=True)
        Image.new("L", (24, 16), 40 * number).save(tmp_path / "data" / name / f"{number}.png")
    return tmp_path / "data"


@pytest.fixture
def checkpoint(class_pipe, tmp_path):
    class_pipe.save_pretrained(tmp_path / "run")
    return tmp_path / "run"


def test_a_folder_comes_out_with_synthetic_images_among_its_own(run_here, classes, checkpoint, tmp_path):
    arguments = ("augment", "--data", classes, "--checkpoint", checkpoint, "--num-images", 4)
    ran = run_here(*arguments, "--output-dir", tmp_path / "out", "--format", "imagefolder", "--json")
    assert ran.returncode == 0, ran.stderr
    about = json.loads(ran.stdout)
    (record,) = about.pop("provenance")  # the checkpoint was never trained, and so has none
    assert (record["made"], record["real"], record["image"]["num_images"]) == ("dataset", 4, 4)
    assert about == {
        "output_dir": str(tmp_path / "out"),
        "format": "imagefolder",
        "real": 4,
        "synthetic": 4,
        "counts": {"made": 4},
        "pictures": None,
    }
    load = {"data_dir": str(tmp_path / "out"), "cache_dir": str(tmp_path / "cache")}
    rows = datasets.load_dataset("imagefolder", split="train", **load)
    assert sorted(zip(rows["synthetic"], rows["label"], strict=True)) == sorted(
        [(False, "good")] * 3 + [(False, "void")] + [(True, "void")] * 3 + [(True, "good")]
    )
    assert {(image.mode, image.size) for image in rows["image"]} == {("L", (24, 16))}
    assert {source.split("@")[0] for source in rows["source"] if source} == {"run"}  # no path of this machine
    with pytest.raises(DataError, match="out holds something already"):
        write_augmented(str(classes), str(checkpoint), tmp_path / "out", Settings(2))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data": "{}/none"}, "there is no folder"),
        ({"data": "{}/void/empty"}, "holds no images"),
        ({"split": "test"}, "which has no split 'test'"),
        ({"format": "coco"}, "coco is for boxes, and no column has objects"),
        ({"label_column": "kind"}, "no column 'kind', only image, label"),
    ],
)
def test_mistakes(classes, checkpoint, tmp_path, changes, words):
    settings = Settings(2, label_column=changes.pop("label_column", "label"))
    (classes / "void" / "empty").mkdir()
    data = changes.pop("data", "{}").format(classes)
    with pytest.raises(DataError, match=words) as refusal:
        write_augmented(data, str(checkpoint), tmp_path / "out", settings, **changes)
    assert "\n" not in str(refusal.value) and not (tmp_path / "out").exists()


def test_a_dataset_saved_to_the_disk(labelled, checkpoint, tmp_path):
    labelled.save_to_disk(tmp_path / "saved")
    datasets.DatasetDict(train=labelled, test=labelled).save_to_disk(tmp_path / "splits")
    for name in ("saved", "splits"):
        made = write_augmented(str(tmp_path / name), str(checkpoint), tmp_path / "out" / name, Settings(2))
        assert (made.real, made.synthetic, made.counts) == (10, 2, {"made": 2})
        assert len(datasets.load_from_disk(tmp_path / "out" / name)) == 12


def test_the_result_goes_to_a_place_elsewhere(run_here, classes, checkpoint, tmp_path):
    url = f"file://{tmp_path}/bucket/out"
    arguments = ("augment", "--data", classes, "--checkpoint", checkpoint, "--num-images", 2, "--format", "parquet")
    ran = run_here(*arguments, "--output-dir", url, "--json")
    assert ran.returncode == 0, ran.stderr
    about = json.loads(ran.stdout)
    assert about["output_dir"] == url and about["provenance"][0]["made"] == "dataset"
    place = tmp_path / "bucket" / "out"
    assert json.loads((place / "provenance.json").read_text())["format"] == "parquet"
    rows = datasets.load_dataset(str(place), split="train", cache_dir=str(tmp_path / "cache"))
    assert rows["synthetic"] == [False] * 4 + [True] * 2
    with pytest.raises(DataError, match="out holds something already: give a new or an empty place"):
        write_augmented(str(classes), str(checkpoint), url, Settings(2), "parquet")  # before any work is done
