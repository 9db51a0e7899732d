"""`magical-hub augment`, as a user runs it."""

from __future__ import annotations

import json

import datasets
import pytest
from PIL import Image


@pytest.fixture
def classes(tmp_path):
    """A folder a class, of small grey images."""
    for number, name in enumerate(["good", "good", "good", "void"]):
        (tmp_path / "data" / name).mkdir(parents=True, exist_ok=True)
        Image.new("L", (24, 16), 40 * number).save(tmp_path / "data" / name / f"{number}.png")
    return tmp_path / "data"


@pytest.fixture
def checkpoint(class_pipe, tmp_path):
    class_pipe.save_pretrained(tmp_path / "run")
    return tmp_path / "run"


def test_a_folder_comes_out_with_synthetic_images_among_its_own(run_command, classes, checkpoint, tmp_path):
    arguments = ("augment", "--data", classes, "--checkpoint", checkpoint, "--num-images", 4)
    cache = {"HF_DATASETS_CACHE": str(tmp_path / "cache")}
    ran = run_command(*arguments, "--output-dir", tmp_path / "out", "--format", "imagefolder", "--json", **cache)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout) == {
        "output_dir": str(tmp_path / "out"),
        "format": "imagefolder",
        "real": 4,
        "synthetic": 4,
        "counts": {"made": 4},
    }
    load = {"data_dir": str(tmp_path / "out"), "cache_dir": str(tmp_path / "cache")}
    rows = datasets.load_dataset("imagefolder", split="train", **load)
    assert sorted(zip(rows["synthetic"], rows["label"], strict=True)) == sorted(
        [(False, "good")] * 3 + [(False, "void")] + [(True, "void")] * 3 + [(True, "good")]
    )
    assert {(image.mode, image.size) for image in rows["image"]} == {("L", (24, 16))}
    assert {source.split("@")[0] for source in rows["source"] if source} == {"run"}  # no path of this machine

    refused = run_command(*arguments, "--output-dir", tmp_path / "out", **cache)
    assert refused.returncode == 2 and "out holds something already" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("--data {data} --num-images 0", "num_images is 0: give 1 or more"),
        ("--data {data}/none --num-images 2", "there is no folder"),
        ("--data {data} --num-images 2 --split test", "has no split 'test': it has train"),
        ("--data {data} --num-images 2 --format coco", "knows no defects: its images have no boxes for coco"),
        ("--data {data} --num-images 2 --label-column kind", "no column 'kind': it has image, label"),
    ],
)
def test_mistakes_are_one_line(run_command, classes, checkpoint, tmp_path, arguments, words):
    filled = arguments.format(data=classes).split()
    ran = run_command(
        *("augment", "--checkpoint", checkpoint, "--output-dir", tmp_path / "out", *filled),
        HF_DATASETS_CACHE=str(tmp_path / "cache"),
    )
    assert ran.returncode == 2 and words in ran.stderr and "Traceback" not in ran.stderr
    assert len([line for line in ran.stderr.splitlines() if line.startswith("error: ")]) == 1
    assert not (tmp_path / "out").exists()
