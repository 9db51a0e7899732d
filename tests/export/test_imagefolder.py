"""Images in a folder: exactly as many as asked for, each of its own number, readable by `datasets`."""

from __future__ import annotations

import json

import datasets
import numpy as np
import pytest
from PIL import Image

from magical_hub.errors import ConfigError
from magical_hub.export import write_imagefolder, write_series
from magical_hub.seeds import image_seed


def pixels(folder, number: int) -> np.ndarray:
    return np.asarray(Image.open(folder / f"{number:05d}.png")).astype(int)


def test_exactly_as_many_images_as_asked_for(pipe, tmp_path):
    rows = write_imagefolder(pipe, tmp_path / "new" / "folder", 5, batch_size=2)
    folder = tmp_path / "new" / "folder"
    names = [*(f"0000{n}.png" for n in range(5)), "metadata.jsonl", "provenance.json"]
    assert sorted(path.name for path in folder.iterdir()) == names
    assert rows == [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    assert rows == [{"file_name": f"0000{n}.png", "seed": image_seed(0, n)} for n in range(5)]
    for n in range(5):
        image = Image.open(folder / f"0000{n}.png")
        assert image.mode == "L" and image.size == (48, 32)


def test_image_i_hangs_on_the_seed_and_i_alone(pipe, tmp_path):
    write_imagefolder(pipe, tmp_path / "three", 3, seed=7)
    write_imagefolder(pipe, tmp_path / "eight", 8, seed=7, batch_size=3)
    write_imagefolder(pipe, tmp_path / "other", 3, seed=8)
    for n in range(3):
        assert np.abs(pixels(tmp_path / "three", n) - pixels(tmp_path / "eight", n)).max() <= 1
        assert np.abs(pixels(tmp_path / "three", n) - pixels(tmp_path / "other", n)).mean() > 1
    alone = np.asarray(pipe(seeds=[image_seed(7, 2)]).images[0]).astype(int)
    assert np.abs(alone - pixels(tmp_path / "three", 2)).max() <= 1


def test_the_same_call_writes_the_same_bytes(pipe, tmp_path):
    for name in ("a", "b"):
        write_imagefolder(pipe, tmp_path / name, 3, seed=1)
    for file in ("00000.png", "00002.png", "metadata.jsonl"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_classes(class_pipe, tmp_path):
    rows = write_imagefolder(class_pipe, tmp_path / "each", 3, class_labels=["void", "good", 0], batch_size=2)
    assert [row["class_name"] for row in rows] == ["void", "good", "crack"]
    assert [row["class_label"] for row in rows] == [2, 1, 0]
    rows = write_imagefolder(class_pipe, tmp_path / "all", 3, class_labels="void")
    assert {row["class_name"] for row in rows} == {"void"}
    drawn = write_imagefolder(class_pipe, tmp_path / "drawn", 20)
    assert len({row["class_name"] for row in drawn}) > 1
    with pytest.raises(ConfigError, match="class_labels are for 2 images, and there are 3"):
        write_imagefolder(class_pipe, tmp_path / "new", 3, class_labels=["void", "good"])
    with pytest.raises(ConfigError, match="there is no class 'scratch'"):
        write_imagefolder(class_pipe, tmp_path / "new", 3, class_labels="scratch")


@pytest.mark.parametrize(
    "wrong",
    [
        {"class_labels": "scratch"},
        {"class_labels": [1.7, 1, 1]},
        {"class_labels": 1.5},
        {"truncation_psi": 3.0},
        {"num_images": 2.5},
        {"batch_size": 2.5},
        {"seed": 0.5},
    ],
)
def test_a_wrong_request_leaves_nothing_behind(class_pipe, tmp_path, wrong):
    """Neither is a number rounded, nor is the folder taken for the beginnings of something."""
    for write in (write_imagefolder, write_series):
        if "batch_size" not in wrong or write is write_imagefolder:
            with pytest.raises(ConfigError):
                write(class_pipe, tmp_path / "new", **{"num_images": 3, **wrong})
            assert not (tmp_path / "new").exists()


def test_a_folder_that_is_a_file_or_a_broken_link(pipe, tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to("nowhere")
    for name in ("file", "link"):
        with pytest.raises(ConfigError, match="exists, and is not a folder: give another name"):
            write_imagefolder(pipe, tmp_path / name, 1)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("name", ["00000.png", "mine.JPG", "scan.tiff", "wafer.zarr"])
def test_a_folder_that_holds_images_is_refused(pipe, tmp_path, name):
    (tmp_path / name).write_bytes(b"precious")
    with pytest.raises(ConfigError, match="holds images already: give a new or an empty folder"):
        write_imagefolder(pipe, tmp_path, 2)
    assert [path.name for path in tmp_path.iterdir()] == [name] and (tmp_path / name).read_bytes() == b"precious"


def test_the_record_of_something_else_is_not_overwritten(pipe, tmp_path):
    (tmp_path / "provenance.json").write_text("{}")
    with pytest.raises(ConfigError, match="holds something else that was made here"):
        write_imagefolder(pipe, tmp_path, 2)
    assert (tmp_path / "provenance.json").read_text() == "{}"


def test_other_files_do_not_matter(pipe, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    write_imagefolder(pipe, tmp_path, 1)
    names = ["00000.png", "metadata.jsonl", "notes.txt", "provenance.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names


@pytest.mark.parametrize("wrong", [{"num_images": 0}, {"num_images": -3}, {"batch_size": 0}])
def test_numbers_out_of_range(pipe, tmp_path, wrong):
    with pytest.raises(ConfigError, match=f"{next(iter(wrong))} is "):
        write_imagefolder(pipe, tmp_path / "new", **wrong)
    assert not (tmp_path / "new").exists()


def test_datasets_reads_the_folder(class_pipe, tmp_path):
    rows = write_imagefolder(class_pipe, tmp_path / "images", 4, seed=3)
    folders = {"data_dir": str(tmp_path / "images"), "cache_dir": str(tmp_path / "cache")}
    data = datasets.load_dataset("imagefolder", split="train", **folders)
    assert len(data) == 4 and {"image", "seed", "class_label", "class_name"} <= {*data.column_names}
    assert data["seed"][:] == [row["seed"] for row in rows]
    assert data["class_name"][:] == [row["class_name"] for row in rows]
    for n, image in enumerate(data["image"]):
        assert np.array_equal(np.asarray(image), np.asarray(Image.open(tmp_path / "images" / f"0000{n}.png")))
