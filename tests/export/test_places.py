"""Datasets written to places that fsspec reaches: in memory, and by a URL of files, where a real kill cuts one off."""

from __future__ import annotations

import os
import signal

import datasets
import fsspec
import numpy as np
import pytest
from forks import start
from fsspec.implementations.local import LocalFileSystem

from magical_hub.data import package_dataset
from magical_hub.errors import DataError, MagicalError, MissingPackageError
from magical_hub.export import write_dataset
from magical_hub.export.places import MARK


@pytest.fixture(scope="module")
def packages():
    return package_dataset(150, 64, seed=3)


def same(rows, others) -> bool:
    return len(rows) == len(others) and all(
        {**a, "image": None} == {**b, "image": None} and np.array_equal(a["image"], b["image"])
        for a, b in zip(rows, others, strict=True)
    )


def test_parquet_is_what_load_dataset_reads(packages, tmp_path):
    write_dataset(packages, tmp_path / "out", "parquet", record={"made": "dataset"})
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"data", "provenance.json"}
    again = datasets.load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    assert again.features == packages.features and same(again, packages)


def test_images_of_a_folder_lie_in_the_parquet_file(packages, tmp_path):
    """They are read from files by a dataset that was loaded from a folder, and these may go."""
    write_dataset(packages, tmp_path / "images", "imagefolder")
    load = {"split": "train", "cache_dir": str(tmp_path / "cache")}
    rows = datasets.load_dataset("imagefolder", data_dir=str(tmp_path / "images"), **load)
    write_dataset(rows, tmp_path / "out", "parquet")
    (tmp_path / "images").rename(tmp_path / "elsewhere")
    again = datasets.load_dataset(str(tmp_path / "out"), **load)
    assert {*again.column_names} == {*rows.column_names} and np.array_equal(again[7]["image"], packages[7]["image"])


@pytest.mark.parametrize("format", ["parquet", "imagefolder", "coco"])
def test_a_place_holds_what_a_folder_does(packages, tmp_path, format):
    write_dataset(packages, tmp_path / "out", format)
    write_dataset(packages, f"memory://bucket/{format}", format)
    fsspec.filesystem("memory").get(f"/bucket/{format}", str(tmp_path / "fetched"), recursive=True)
    here, there = [
        {path.relative_to(tmp_path / name): path.read_bytes() for path in (tmp_path / name).rglob("*.*")}
        for name in ("out", "fetched")
    ]
    assert here == there and len(here) > 0


class KilledAtTheSeventh(LocalFileSystem):
    """A file system in whose process the seventh file is the last."""

    left = 7

    def put_file(self, *files, **options):
        KilledAtTheSeventh.left -= 1
        if not KilledAtTheSeventh.left:
            os.kill(os.getpid(), signal.SIGKILL)
        super().put_file(*files, **options)


def test_what_a_kill_left_is_gone_on_with(packages, tmp_path):
    packages.save_to_disk(tmp_path / "data")
    url, out = f"file://{tmp_path}/out", tmp_path / "out"

    def write() -> None:
        fsspec.register_implementation("file", KilledAtTheSeventh, clobber=True)
        write_dataset(datasets.load_from_disk(tmp_path / "data"), url, "imagefolder")

    writer = start(write)
    writer.join()
    assert writer.exitcode == -signal.SIGKILL
    assert len([*out.rglob("*.png")]) >= 5
    assert (out / MARK).is_file() and not (out / "metadata.jsonl").exists()
    last = max(out.rglob("*.png"))  # they are written in this order, several of them within one tick of a file's time
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*.png") if path != last}
    last.write_bytes(last.read_bytes()[:20])  # as a file system that shows files as they grow would leave it

    with pytest.raises(DataError, match="out holds the beginnings of another dataset: delete them"):
        write_dataset(packages, url, "coco")
    write_dataset(datasets.load_from_disk(tmp_path / "data"), url, "imagefolder")
    assert not (out / MARK).exists() and {path: path.stat().st_mtime_ns for path in times} == times
    load = {"split": "train", "cache_dir": str(tmp_path / "cache")}
    rows = datasets.load_dataset("imagefolder", data_dir=str(out), **load)
    assert len(rows) == len(packages) and np.array_equal(rows[149]["image"], packages[149]["image"])
    with pytest.raises(DataError, match="out holds something already: give a new or an empty place"):
        write_dataset(packages, url, "imagefolder")


class FullDisk(LocalFileSystem):
    """A file system whose disk is full: what is written to a file goes to /dev/full."""

    protocol = "full"

    def put_file(self, lpath, rpath, **options):
        with open(lpath, "rb") as source, open("/dev/full", "wb") as target:
            target.write(source.read())


@pytest.mark.parametrize(
    ("target", "kind", "words"),
    [
        ("nowhere://bucket", DataError, "nowhere://bucket is not a place that fsspec can write to"),
        ("s3://bucket/name", MissingPackageError, "s3://bucket/name needs a package of its own: Install s3fs"),
        ("full://{tmp}", DataError, r"can't be written to \(.*No space left on device.*the same call continues"),
        ("file:///proc/none/out", DataError, r"can't be written to \(.*No such file"),
    ],
)
def test_places_that_cannot_be(packages, tmp_path, target, kind, words):
    fsspec.register_implementation("full", FullDisk, clobber=True)
    with pytest.raises(MagicalError, match=words) as refusal:
        write_dataset(packages.select(range(2)), target.format(tmp=tmp_path / "out"), "parquet")
    assert type(refusal.value) is kind and "\n" not in str(refusal.value)
