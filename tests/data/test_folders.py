"""Folders as people have them: every image is read once, under its own name, and nothing is guessed from names."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from magical_hub.data import open_dataset, open_source, package_dataset, read_pixels
from magical_hub.errors import DataError
from magical_hub.export import write_dataset
from magical_hub.grid import Grid

BOX = {"bbox": [2, 2, 4, 4], "category": "crack"}


def put(folder: Path, *names: str, pixels: np.ndarray | None = None) -> list[Path]:
    """Noisy images of 16 x 16 px, all different."""
    paths = []
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(number).integers(0, 256, (16, 16), np.uint8)
        Image.fromarray(noise if pixels is None else pixels).save(path)
        paths.append(path)
    return paths


def names(source) -> list[str]:
    return [record.name for record in source.records()]


def metadata(folder: Path, rows: list[dict], name: str = "metadata.jsonl") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_what_programs_leave_behind_is_no_image_and_no_class(tmp_path):
    put(tmp_path, "good/a.png", "crack/b.webp", ".ipynb_checkpoints/a-checkpoint.png", ".hidden/c.png", "good/.d.png")
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "__MACOSX" / "a.png").write_bytes(b"\0\5\x16\7" + bytes(100))
    (tmp_path / "good" / "._a.png").write_bytes(b"\0\5\x16\7" + bytes(100))
    source = open_source(tmp_path, label_column="label")
    assert source.class_names == ["crack", "good"] and names(source) == ["crack/b.webp", "good/a.png"]


def test_linked_folders_are_read_once(tmp_path):
    put(tmp_path / "data", "good/a.png")
    put(tmp_path / "elsewhere", "b.png", "deep/c.png")
    (tmp_path / "data" / "crack").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "loop").symlink_to(tmp_path / "data")
    source = open_source(tmp_path / "data", label_column="label")
    assert names(source) == ["crack/b.png", "crack/deep/c.png", "good/a.png"]
    assert [record.label for record in source.records()] == [0, 0, 1]


def test_a_class_exists_once_one_of_its_files_opens(tmp_path, caplog):
    put(tmp_path, "good/a.png", "crack/b.png")
    (tmp_path / "void").mkdir()
    (tmp_path / "void" / "c.png").write_bytes(b"no image")
    with caplog.at_level(logging.WARNING):
        source = open_source(tmp_path, label_column="label")
    assert source.class_names == ["crack", "good"] and "there is no class void" in caplog.text


def test_folders_of_splits_are_no_classes(tmp_path):
    put(tmp_path, "train/good/a.png", "test/good/b.png")
    with pytest.raises(DataError, match=r"folders test, train of .* called after splits .* give one of them"):
        open_source(tmp_path, label_column="label")
    assert open_source(tmp_path / "train", label_column="label").class_names == ["good"]
    for name in ("train", "test"):
        (tmp_path / name / "metadata.csv").write_text(f"file_name,lot\ngood/{'a' if name == 'train' else 'b'}.png,1\n")
    for read in (open_source, open_dataset):  # neither reads the images of a test set along with the others
        with pytest.raises(DataError, match=r"would all be read: give one of them, for instance .*train$"):
            read(tmp_path)
    assert open_dataset(tmp_path / "train")["lot"] == [1]


@pytest.mark.parametrize("folder", ["masks", "ground_truth", "Mask"])
def test_folders_of_masks_are_left_out_by_name(tmp_path, caplog, folder):
    mask = np.zeros((16, 16), np.uint8)
    mask[4:8, 4:8] = 255
    put(tmp_path, "images/a.png", "images/b.png")
    put(tmp_path, f"{folder}/a.png", f"{folder}/b.png", pixels=mask)
    with caplog.at_level(logging.WARNING):
        source = open_source(tmp_path, label_column="label")
    assert source.class_names == ["images"] and names(source) == ["images/a.png", "images/b.png"]
    assert (
        f"2 files in folders called {folder} look like masks and are left out: name them in a metadata" in caplog.text
    )


def test_photographs_in_a_folder_called_masks_are_images(tmp_path):
    put(tmp_path, "masks/a.png", "blanks/b.png")
    assert open_source(tmp_path, label_column="label").class_names == ["blanks", "masks"]


def test_an_export_of_the_program_is_read_with_its_masks(tmp_path):
    """The images alone are trained on, and the masks come out as they went in."""
    data = package_dataset(6, image_size=64, seed=1)
    write_dataset(data, tmp_path / "out", "imagefolder", label_column="label")
    table = open_dataset(tmp_path / "out")
    assert len(table) == open_source(tmp_path / "out", label_column="label").count == len(data)
    independent = datasets.load_dataset("imagefolder", data_dir=str(tmp_path / "out"), split="train")
    masks = [name for name in table.column_names if "mask" in name]
    for ours, theirs in zip(
        *(sorted(rows, key=lambda row: row["image"].filename) for rows in (table, independent)), strict=True
    ):
        assert np.array_equal(ours["image"], theirs["image"])
        for name in masks:
            assert np.array_equal(ours[name], theirs[name])


@pytest.mark.parametrize(
    "name",
    [
        "train-1.png",
        "test_2.png",
        "validation.png",
        "a-00000-of-00002.png",
        "a[3].png",
        "a#b.png",
        "50%.png",
        "a*b.png",
    ],
)
def test_names_of_files_mean_nothing(tmp_path, name):
    """Neither splits nor patterns: all rows are there, with the pixels of their own file."""
    folder = tmp_path / "line [3] #1 100%"
    files = put(folder / "classes", f"good/{name}", "good/b.png", "crack/c.png")
    table = open_dataset(folder / "classes")
    assert len(table) == 3 and sorted(table.features["label"].names) == ["crack", "good"]
    for row, path in zip(table, sorted(files), strict=True):
        assert np.array_equal(row["image"], Image.open(path))
        assert table.features["label"].int2str(row["label"]) == path.parent.name
    files = put(folder / "boxes", name, "b.png")
    metadata(folder / "boxes", [{"file_name": path.name, "objects": [BOX]} for path in files])
    assert names(open_source(folder / "boxes", objects_column="objects")) == [name, "b.png"]
    datasets.Dataset.from_dict({"image": list(map(str, files))}).cast_column("image", datasets.Image()).save_to_disk(
        folder / "saved"
    )
    assert len(open_dataset(folder / "saved")) == 2 == open_source(folder / "saved").count


def test_a_name_that_is_no_utf_8_is_read_or_named(tmp_path, caplog):
    put(tmp_path, "a.png", "b.png")
    os.rename(os.fsencode(tmp_path / "a.png"), os.fsencode(tmp_path) + b"/Pr\xfcfung.png")
    records = list(open_source(tmp_path).records())
    assert [record.name for record in records] == ["Pr\\xfcfung.png", "b.png"]
    assert read_pixels(records[0].image, "it").shape == (16, 16)
    with caplog.at_level(logging.WARNING):
        assert len(open_dataset(tmp_path)) == 1
    assert "skipped: Pr\\xfcfung.png has a name that is not UTF-8" in caplog.text


def test_the_class_is_that_of_the_metadata_or_else_of_the_folder(tmp_path):
    put(tmp_path / "a", "good/1.png", "crack/2.png")
    rows = [{"file_name": "good/1.png", "objects": []}, {"file_name": "crack/2.png", "objects": [BOX]}]
    metadata(tmp_path / "a", rows)
    source = open_source(tmp_path / "a", label_column="kind", objects_column="objects")
    assert source.class_names == ["crack", "good"] and [record.label for record in source.records()] == [1, 0]
    put(tmp_path / "b", "1.png", "2.png")
    metadata(
        tmp_path / "b", [{"file_name": f"{n}.png", "kind": kind, "lot": "x"} for n, kind in ((1, "ok"), (2, "bad"))]
    )
    source = open_source(tmp_path / "b", label_column="kind", group_column="lot")
    assert source.class_names == ["bad", "ok"] and [record.group for record in source.records()] == ["x", "x"]
    with pytest.raises(DataError, match="has no column 'label', and not every image lies in a class folder"):
        open_source(tmp_path / "b", label_column="label")


def test_metadata_in_every_form_and_at_any_depth(tmp_path):
    put(tmp_path, "x/1.png", "y/2.png")
    metadata(tmp_path / "x", [{"file_name": "1.png", "lot": "a"}])
    (tmp_path / "y" / "metadata.csv").write_text("file_name,lot\n2.png,b\n")
    assert [row["lot"] for row in open_dataset(tmp_path)] == ["a", "b"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"file": "1.png"}], r"metadata\.jsonl of .* has no column file_name"),
        ([{"file_name": "gone.png"}], r"names 'gone\.png' in row 0, which is not a file in that folder"),
        ([{"file_name": "../outside.png"}], r"names '\.\./outside\.png' in row 0, which is not a file in that folder"),
        ([{"file_name": "1.png", "objects": 3}, {"file_name": "1.png", "objects": "x"}], "cannot be read"),
        ([{"file_name": "1.png"}, {"file_name": "./1.png"}], r"more than one row for 1\.png: give one row per image"),
        (
            [{"file_name": "1.png", "mask_file_name": "./1.png"}],
            r"names '\./1\.png' as image and as mask: correct row 0",
        ),
        ([{"file_name": "1.png"}, [1]], r"cannot be read \(line 2 is not an object\)"),
    ],
)
def test_metadata_that_cannot_be_used(tmp_path, rows, message):
    put(tmp_path, "folder/1.png", "outside.png")
    metadata(tmp_path / "folder", rows)
    with pytest.raises(DataError, match=message) as error:
        open_dataset(tmp_path / "folder")
    assert "\n" not in str(error.value)


def test_images_that_no_metadata_names_are_named(tmp_path, caplog):
    put(tmp_path, "1.png", "2.png", "3.png")
    metadata(tmp_path, [{"file_name": "2.png", "objects": [BOX]}])
    with caplog.at_level(logging.WARNING):
        assert names(open_source(tmp_path, objects_column="objects")) == ["2.png"]
    assert "2 images of" in caplog.text and "no metadata file names them, 1.png among them" in caplog.text


def test_rows_of_others_name_no_files_of_this_machine(tmp_path):
    """Of a dataset in memory, of one that was sent, and of a stream: files outside it must be allowed."""
    (secret,) = put(tmp_path / "home", "secret.png")
    rows = {"image": [{"bytes": None, "path": str(secret)}]}
    features = datasets.Features(image=datasets.Image())
    data = datasets.Dataset.from_dict(rows, features=features)
    with pytest.raises(DataError, match="outside the dataset: put it into"):
        list(open_source(data).records())
    (allowed,) = open_source(data, files_below=tmp_path / "home").records()
    assert allowed.problem is None and allowed.image == secret
    (tmp_path / "home" / "link.png").symlink_to("/etc/hostname")
    rows = {"image": [{"bytes": None, "path": str(tmp_path / "home" / "link.png")}]}
    with pytest.raises(DataError, match="outside the dataset"):
        list(open_source(datasets.Dataset.from_dict(rows, features=features), files_below=tmp_path / "home").records())
    sent = pa.table({"image": [{"bytes": None, "path": str(secret)}]})
    (tmp_path / "sent" / "data").mkdir(parents=True)
    schema = datasets.Features(image=datasets.Image()).arrow_schema
    pq.write_table(sent.cast(schema), tmp_path / "sent" / "data" / "train-00000-of-00001.parquet")
    with pytest.raises(DataError, match=r"column 'image' names the file .*secret\.png', which is outside the dataset"):
        open_dataset(tmp_path / "sent")
    for address in (f"file://{secret}", "http://127.0.0.1:9/a.png", f"zip://a.png::{secret}"):
        stream = datasets.Dataset.from_dict({"image": [{"bytes": None, "path": address}]}, features=features)
        with pytest.raises(DataError, match="outside the dataset"):
            list(open_source(stream.to_iterable_dataset()).records())


@pytest.mark.parametrize(
    ("values", "expected"),
    [([True, False, True], ["False", "True"]), (["b", "a", "b"], ["a", "b"]), ([30, 4, 30], ["4", "30"])],
)
def test_classes_of_any_kind_are_named_in_order(values, expected):
    image = Image.fromarray(np.zeros((4, 4), np.uint8))
    data = datasets.Dataset.from_dict({"image": [image] * 3, "kind": values})
    source = open_source(data.cast_column("image", datasets.Image()), label_column="kind")
    assert source.class_names == expected
    assert [source.class_names[record.label] for record in source.records()] == list(map(str, values))


def test_numbers_with_a_point_are_no_classes():
    image = Image.fromarray(np.zeros((4, 4), np.uint8))
    data = datasets.Dataset.from_dict({"image": [image] * 2, "kind": [0.5, 1.0]}).cast_column(
        "image", datasets.Image()
    )
    with pytest.raises(DataError, match="column 'kind' holds float64, which is not a class: cast it"):
        open_source(data, label_column="kind")


def test_text_in_metadata_stays_the_text_that_it_is(tmp_path):
    """Lots and classes that look like numbers or times are not joined with others of the same number or time."""
    put(tmp_path / "csv", "1.png", "2.png", "3.png", "4.png")
    lines = ["file_name,kind,lot,count", "1.png,007,1.10,3", "2.png,7,1.1,4", "3.png,true,0012,5", "4.png,,NA,6"]
    (tmp_path / "csv" / "metadata.csv").write_text("\n".join(lines))
    table = open_dataset(tmp_path / "csv")
    assert table["kind"][:] == ["007", "7", "true", None] and table["count"][:] == [3, 4, 5, 6]
    assert table["lot"][:] == ["1.10", "1.1", "0012", "NA"]
    put(tmp_path / "json", "1.png", "2.png")
    lots = ["2024-01-02 10:00:00", "2024-01-02T10:00:00Z"]
    metadata(tmp_path / "json", [{"file_name": f"{n}.png", "lot": lot} for n, lot in enumerate(lots, start=1)])
    assert [record.group for record in open_source(tmp_path / "json", group_column="lot").records()] == lots


def test_an_image_without_a_class_is_no_class_of_its_own(tmp_path):
    put(tmp_path, "1.png", "2.png")
    (tmp_path / "metadata.csv").write_text("file_name,kind\n1.png,good\n2.png,\n")
    with pytest.raises(DataError, match=r"2\.png has no class in 'kind': give it one of good"):
        list(open_source(tmp_path, label_column="kind").records())
    metadata(tmp_path, [{"file_name": "1.png", "kind": "good"}, {"file_name": "2.png", "kind": " "}])
    (tmp_path / "metadata.csv").unlink()
    with pytest.raises(DataError, match="column 'kind' holds an empty name"):
        open_source(tmp_path, label_column="kind")


@pytest.mark.parametrize("bbox", [[None, 1, 2, 2], [float("nan"), 1, 2, 2], ["1", "1", "2", "2"]])
def test_a_box_of_something_else_than_numbers_is_named(tmp_path, bbox):
    """Null in a list made PyArrow's reader of JSON return a table that could not be used."""
    put(tmp_path, "1.png")
    metadata(tmp_path, [{"file_name": "1.png", "objects": [{"bbox": bbox, "category": "crack"}]}])
    (record,) = open_source(tmp_path, objects_column="objects").records()
    with pytest.raises(DataError, match=r"1\.png has the box .*: give four numbers"):
        record.defects.defect_map((16, 16), Grid(2, 2, 16, 16), 0.1, record.name)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"split": "test"}, "is a folder of images, which has no split 'test'"),
        ({"group_regex": "(x?)"}, r"finds an empty group in 1\.png"),
        ({"group_regex": r"(x)?\d"}, r"finds an empty group in 1\.png"),
        ({"image_column": "image", "mask_column": "image"}, "are both 'image': name two columns"),
        ({"max_images": 0}, "max_images is 0"),
        ({"mask_column": "mask", "mask_values": "1=crack"}, "--mask-values gives each value of a defect"),
    ],
)
def test_options_that_do_not_fit_a_folder(tmp_path, options, words):
    put(tmp_path, "1.png", "mask.png", pixels=np.full((16, 16), 255, np.uint8))
    if "mask_column" in options:
        metadata(tmp_path, [{"file_name": "1.png", "mask_file_name": "mask.png"}])
    with pytest.raises(DataError, match=words):
        open_source(tmp_path, **options)


def test_one_saved_split_has_no_other(tmp_path):
    package_dataset(2, image_size=64).save_to_disk(tmp_path / "saved")
    for data in (tmp_path / "saved", package_dataset(2, image_size=64)):
        with pytest.raises(DataError, match="which has no split 'test': give that split itself"):
            open_source(data, split="test")
