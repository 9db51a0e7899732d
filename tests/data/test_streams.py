"""Streamed datasets: read once, by real loaders."""

from __future__ import annotations

import functools
import logging
import zipfile
from collections.abc import Iterator
from pathlib import Path

import datasets
import numpy as np
import pytest
from hub_server import HubServer

from magical_hub import Grid, TrainingConfig, train
from magical_hub.data import open_source, prepare_store
from magical_hub.errors import ConfigError, DataError
from magical_hub.training import Split

FEATURES = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=["good", "void"]))
GRID = Grid(2, 2, 32, 32)


class Counted:
    """A generator of rows that counts how many were asked of it."""

    def __init__(self, files: list[Path]) -> None:
        self.files, self.rows = files, 0

    def __call__(self) -> Iterator[dict]:
        for number, file in enumerate(self.files):
            self.rows += 1
            yield {"image": {"bytes": file.read_bytes(), "path": file.name}, "label": number % 2}

    def stream(self, features: datasets.Features | None = FEATURES) -> datasets.IterableDataset:
        # A function, which keeps the count: the object itself would be copied for its hash.
        return datasets.IterableDataset.from_generator(lambda: self(), features=features)


@pytest.fixture
def rows(elpv_files) -> Counted:
    return Counted(elpv_files[:12])


def test_a_stream_is_the_store_of_its_images(rows, elpv_folder, tmp_path):
    source = open_source(rows.stream(), label_column="label")
    assert source.count is None and source.class_names == ["good", "void"]
    store = prepare_store(source, tmp_path / "streamed", GRID, 1, progress=False)
    whole = prepare_store(open_source(elpv_folder, max_images=12), tmp_path / "folder", GRID, 1, progress=False)
    assert len(store) == 12 and store.digests == whole.digests
    assert np.array_equal(store.images(np.arange(12)), whole.images(np.arange(12)))
    assert store.labels.tolist() == [0, 1] * 6 and store.names[1] == f"row 1 ({rows.files[1].name})"


def test_training_reads_a_stream_once(rows, tiny_config, tmp_path):
    """Canvas, grid and channels are chosen from its first images, and resuming asks for none."""
    settings = {"data": rows.stream(), "image_size": None, "rows": None, "cols": None, "label_column": "label"}
    train(tiny_config(tmp_path / "run", max_steps=1, **settings))
    assert rows.rows == 12
    split = Split.load(tmp_path / "run" / "split.json")
    assert len(split.digests) == 12
    settings["image_size"] = (288, 288)  # what was chosen
    assert train(tiny_config(tmp_path / "run", max_steps=2, resume=True, **settings)).steps == 2
    assert rows.rows == 12
    (tmp_path / "run" / "data" / "canvas.arrow").unlink()  # lost: only then it is streamed again
    rows.files[3] = rows.files[4]
    with pytest.raises(DataError, match="the data is not what"):
        train(tiny_config(tmp_path / "run", max_steps=3, resume=True, **settings))


def test_a_look_at_more_than_is_kept_starts_again(rows):
    rows.files = rows.files * 4
    source = open_source(rows.stream())
    look = source.records()
    first = [next(look).name for _ in range(40)]
    again = [record.name for record in source.records()]
    assert again[:40] == first and len(again) == 48 and rows.rows == 40 + 48


def test_the_first_so_many(rows, elpv_folder, tiny_config, tmp_path):
    source = open_source(rows.stream(), max_images=5)
    assert len(list(source.records())) == 5 and rows.rows == 5
    assert source.fingerprint != open_source(rows.stream()).fingerprint
    whole = open_source(elpv_folder)
    assert open_source(elpv_folder, max_images=1000).count == whole.count == 24
    assert [record.name for record in open_source(elpv_folder, max_images=3).records()] == [
        record.name for record in whole.records()
    ][:3]
    train(tiny_config(tmp_path / "run", max_images=10, max_steps=1))
    assert len(Split.load(tmp_path / "run" / "split.json").digests) == 10
    with pytest.raises(ConfigError, match="max_images is 11, and the run began with 10"):
        train(tiny_config(tmp_path / "run", max_images=11, max_steps=2, resume=True))
    with pytest.raises(ConfigError, match="max_images is 0: it must be at least 1"):
        TrainingConfig(data="x", output_dir="y", max_images=0)


def test_loaders_of_datasets(rows, tmp_path):
    """Image folders hand out paths, Parquet files bytes, and archives addresses inside them."""
    with zipfile.ZipFile(tmp_path / "train.zip", "w") as archive:
        for number, file in enumerate(rows.files):
            name = Path("void" if number % 2 else "good") / file.name
            archive.write(file, name)
        archive.extractall(tmp_path / "images")
    datasets.Dataset.from_list(list(rows()), features=FEATURES).to_parquet(str(tmp_path / "train.parquet"))
    stream = functools.partial(datasets.load_dataset, split="train", streaming=True)
    streams = {
        "folder": stream("imagefolder", data_dir=str(tmp_path / "images")),
        "parquet": stream("parquet", data_files=str(tmp_path / "train.parquet")),
        "archive": stream("imagefolder", data_files=str(tmp_path / "train.zip"), drop_labels=True),
    }
    expected = prepare_store(open_source(rows.stream()), tmp_path / "run", GRID, 1, progress=False).digests
    for name, data in streams.items():
        labels = None if name == "archive" else "label"
        source = open_source(data, label_column=labels, files_below=tmp_path)
        store = prepare_store(source, tmp_path / name, GRID, 1, progress=False)
        assert sorted(store.digests) == sorted(expected), name
        if labels:
            assert store.class_names == ["good", "void"] and sum(store.labels) == 6, name


def test_a_stream_that_breaks_off_leaves_nothing(rows, tmp_path):
    def broken() -> Iterator[dict]:
        for number, row in enumerate(rows()):
            if number == 7:
                raise ConnectionError("reset by peer")
            yield row

    stream = datasets.IterableDataset.from_generator(broken, features=FEATURES)
    with pytest.raises(DataError, match=r"the stream broke off at row 7 \(.*reset by peer.*\): try again"):
        prepare_store(open_source(stream), tmp_path / "run", GRID, 1, progress=False)
    assert list((tmp_path / "run").iterdir()) == []


def test_a_row_that_cannot_be_read_is_skipped_by_name(rows, tmp_path, caplog):
    rows.files = [*rows.files[:2], tmp_path / "broken.png"]
    (tmp_path / "broken.png").write_bytes(b"no image")
    with caplog.at_level(logging.WARNING):
        store = prepare_store(open_source(rows.stream()), tmp_path / "run", GRID, 1, progress=False)
    assert len(store) == 2 and "skipped: row 2 (broken.png) cannot be read" in caplog.text


def test_streams_that_cannot_be_used(rows, elpv_folder):
    with pytest.raises(DataError, match="the stream does not say what its columns hold: give it features"):
        open_source(rows.stream(features=None))
    with pytest.raises(DataError, match="no column 'picture', only image, label"):
        open_source(rows.stream(), image_column="picture")
    with pytest.raises(DataError, match="column 'label' holds no images"):
        open_source(rows.stream(), image_column="label")
    text = datasets.Features(image=datasets.Image(), label=datasets.Value("string"))
    with pytest.raises(DataError, match=r"column 'label' of the stream is not a ClassLabel.*cast it"):
        open_source(rows.stream(features=text), label_column="label")
    with pytest.raises(DataError, match="streaming is for datasets of the Hub, and data is a folder"):
        open_source(elpv_folder, streaming=True)
    data = datasets.Dataset.from_list(list(rows()), features=FEATURES)
    with pytest.raises(DataError, match=r"streaming is for datasets of the Hub, and data is a datasets\.Dataset"):
        open_source(data, streaming=True)


@pytest.mark.parametrize("kind", ["images", pytest.param("parquet", marks=pytest.mark.slow)])
def test_a_dataset_of_the_hub(rows, run_python, tmp_path, kind):
    """From a real server by the real client: no file of the dataset lands on the disk."""
    folder = tmp_path / "repo"
    if kind == "parquet":
        (folder / "data").mkdir(parents=True)
        data = datasets.Dataset.from_list(list(rows()), features=FEATURES)
        data.to_parquet(str(folder / "data" / "train-00000-of-00001.parquet"))
    else:
        for number, file in enumerate(rows.files):
            target = folder / "train" / ("void" if number % 2 else "good") / file.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes())
    source = """
from pathlib import Path
from magical_hub import Grid
from magical_hub.data import open_source, prepare_store
source = open_source("acme/boards", label_column="label", streaming=True)
store = prepare_store(source, Path("run"), Grid(2, 2, 32, 32), 1, progress=False)
print(store.class_names, sum(store.labels), *sorted(store.digests))
"""
    with HubServer(tmp_path / "server", {"acme/boards": folder}) as server:
        environment = {"HF_ENDPOINT": server.url, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1"}
        ran = run_python(source, cwd=tmp_path, HF_HUB_OFFLINE="0", **environment)
    assert ran.returncode == 0, ran.stderr
    expected = prepare_store(open_source(rows.stream()), tmp_path / "expected", GRID, 1, progress=False).digests
    assert ran.stdout.split("] ")[1].split() == ["6", *sorted(expected)]
    assert "GET /datasets/acme/boards/resolve" in " ".join(server.requests)
    assert sum(file.stat().st_size for file in (tmp_path / "home").rglob("*") if file.is_file()) < 10_000
