"""Where images come from: folders and datasets, and what is refused."""

from __future__ import annotations

from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image

from magical_hub.data import open_image, open_source
from magical_hub.errors import DataError


def image(value: int) -> Image.Image:
    return Image.fromarray(np.full((4, 4), value, np.uint8))


def put(folder: Path, *names: str) -> Path:
    """A small image at each of these paths, its grey value the number of the path."""
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        image(number).save(folder / name)
    return folder


def dataset(images: list | None = None, **columns: list) -> datasets.Dataset:
    count = len(next(iter(columns.values()), [0, 0, 0]))
    columns = {"image": [image(n) for n in range(count)] if images is None else images, **columns}
    data = datasets.Dataset.from_dict(columns)
    return data if isinstance(data.features["image"], datasets.Image) else data.cast_column("image", datasets.Image())


def names(source) -> list[str]:
    return [record.name for record in source.records()]


def test_a_folder_at_any_depth(tmp_path):
    put(tmp_path, "b.png", "x/a.JPG", "x/y/z/c.tiff", "d.bmp", "e.jpeg", "f.tif")
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "folder.png").mkdir()
    source = open_source(tmp_path)
    assert source.count == 6 and source.class_names is None
    assert names(source) == ["b.png", "d.bmp", "e.jpeg", "f.tif", "x/a.JPG", "x/y/z/c.tiff"]
    assert names(source) == names(open_source(str(tmp_path)))  # again, in the same order
    for record in source.records():
        assert record.image == tmp_path / record.name and record.label is None and record.group is None


def test_class_folders(tmp_path):
    put(tmp_path, "void/2024/a.png", "good/b.png", "good/deep/c.png")
    source = open_source(tmp_path, label_column="label")
    assert source.class_names == ["good", "void"]
    labels = {record.name: record.label for record in source.records()}
    assert labels == {"void/2024/a.png": 1, "good/b.png": 0, "good/deep/c.png": 0}


def test_an_image_beside_the_class_folders_is_refused(tmp_path):
    put(tmp_path, "good/a.png", "stray.png")
    with pytest.raises(DataError, match=r"stray\.png lies in no class folder"):
        open_source(tmp_path, label_column="label")


def test_groups_of_a_pattern(tmp_path):
    put(tmp_path, "lot1/board7_a.png", "lot1/board7_b.png", "lot2/board8_a.png")
    for pattern, groups in (
        (r"board(\d+)", ["7", "7", "8"]),  # its first group
        (r"lot\d", ["lot1", "lot1", "lot2"]),  # or the whole match
    ):
        assert [record.group for record in open_source(tmp_path, group_regex=pattern).records()] == groups
    with pytest.raises(DataError, match=r"does not match lot1/board7_a\.png"):
        open_source(tmp_path, group_regex=r"wafer(\d+)")
    with pytest.raises(DataError, match="is not a regular expression"):
        open_source(tmp_path, group_regex="(")


def test_folders_that_cannot_be_used(tmp_path):
    with pytest.raises(DataError, match="holds no images: put png, jpg"):
        open_source(tmp_path)
    with pytest.raises(DataError, match=r"there is no folder .*nowhere"):
        open_source(tmp_path / "nowhere")
    file = tmp_path / "a.png"
    image(0).save(file)
    with pytest.raises(DataError, match="is a file: give the folder"):
        open_source(file)
    with pytest.raises(DataError, match=r"has no metadata\.jsonl, and so no column 'lot'"):
        open_source(tmp_path, group_column="lot")


def test_a_dataset_with_class_labels():
    data = dataset(label=[1, 0, 1], lot=["a", "b", None])
    data = data.cast_column("label", datasets.ClassLabel(names=["good", "void"]))
    source = open_source(data, label_column="label", group_column="lot")
    records = list(source.records())
    assert source.count == 3 and source.class_names == ["good", "void"]
    assert [record.label for record in records] == [1, 0, 1]
    assert [record.group for record in records] == ["a", "b", None]
    for number, record in enumerate(records):
        assert record.name.startswith(f"row {number}")
        assert np.unique(open_image(record.image, record.name)).tolist() == [number]


def test_a_dataset_with_labels_of_any_kind():
    source = open_source(dataset(kind=["void", "good", "void"]), label_column="kind")
    assert source.class_names == ["good", "void"]
    assert [record.label for record in source.records()] == [1, 0, 1]
    source = open_source(dataset(kind=[30, 10, 30]), label_column="kind")
    assert source.class_names == ["10", "30"]
    assert [record.label for record in source.records()] == [1, 0, 1]


def test_a_dataset_without_labels():
    source = open_source(dataset(label=[1, 0, 1]))
    assert source.class_names is None and [record.label for record in source.records()] == [None] * 3


def test_a_dataset_of_files(tmp_path):
    put(tmp_path, "a.png", "b.png")
    data = dataset([str(tmp_path / "a.png"), str(tmp_path / "b.png")])
    records = list(open_source(data, files_below=tmp_path).records())
    assert [record.name for record in records] == [f"row 0 ({tmp_path.name}/a.png)", f"row 1 ({tmp_path.name}/b.png)"]
    assert [np.asarray(open_image(record.image, record.name)).max() for record in records] == [0, 1]


def test_another_name_for_the_column_of_images():
    data = dataset(label=[0, 1]).rename_column("image", "scan")
    assert open_source(data, image_column="scan").count == 2


def test_datasets_that_cannot_be_used():
    data = dataset(label=[0, 1])
    with pytest.raises(DataError, match="no column 'picture', only image, label"):
        open_source(data, image_column="picture")
    with pytest.raises(DataError, match="no column 'kind'"):
        open_source(data, label_column="kind")
    with pytest.raises(DataError, match="no column 'lot'"):
        open_source(data, group_column="lot")
    with pytest.raises(DataError, match="column 'label' holds no images"):
        open_source(data, image_column="label")
    with pytest.raises(DataError, match="the dataset is empty"):
        open_source(data.select([]))
    with pytest.raises(DataError, match="data is a DatasetDict"):
        open_source(datasets.DatasetDict(train=data))


def test_rows_that_cannot_be_used():
    """Such a row is named when it is read; one without an image is as one that can't be decoded."""
    _, empty = open_source(dataset([image(0), None])).records()
    with pytest.raises(DataError, match="row 1 cannot be read"):
        open_image(empty.image, empty.name)
    unlabelled = dataset(label=[1, -1]).cast_column("label", datasets.ClassLabel(names=["good", "void"]))
    with pytest.raises(DataError, match=r"row 1.* has no class in 'label': give it one of good, void"):
        list(open_source(unlabelled, label_column="label").records())


def test_a_name_that_is_no_folder_and_no_dataset(run_python, tmp_path):
    """What might be a dataset of the Hub is asked for there; without a network, one line says so."""
    source = """
from magical_hub.data import open_source
from magical_hub.errors import DataError
for streaming in (False, True):
    try:
        open_source("nobody/nothing", streaming=streaming)
    except DataError as error:
        print(error)
"""
    ran = run_python(source, cwd=tmp_path, HF_HOME=str(tmp_path))
    assert ran.returncode == 0, ran.stderr
    lines = ran.stdout.splitlines()
    assert len(lines) == 2
    for line in lines:
        assert line.startswith("nobody/nothing is neither a folder here nor a dataset that can be loaded")


def test_whole_numbers_are_classes_in_their_own_order():
    """As text, 10 would come before 2."""
    numbers = [10, 2, 0, 2]
    data = datasets.Dataset.from_dict({"image": [np.zeros((4, 4), np.uint8)] * 4, "label": numbers})
    source = open_source(data.cast_column("image", datasets.Image()), label_column="label")
    assert source.class_names == ["0", "2", "10"]
    assert [record.label for record in source.records()] == [2, 1, 0, 1]


def test_a_column_of_lists_holds_no_classes():
    data = datasets.Dataset.from_dict({"image": [np.zeros((4, 4), np.uint8)], "label": [[1, 2]]})
    with pytest.raises(DataError, match="column 'label' holds no classes"):
        open_source(data.cast_column("image", datasets.Image()), label_column="label")


def test_other_data_has_another_fingerprint(tmp_path):
    Image.new("L", (4, 4)).save(tmp_path / "a.png")
    before = open_source(tmp_path).fingerprint
    assert open_source(tmp_path).fingerprint == before
    Image.new("L", (64, 64)).save(tmp_path / "b.png")
    assert open_source(tmp_path).fingerprint != before
