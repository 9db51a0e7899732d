"""Errors name the file of a row, in every command that reads rows."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from magical_hub import DefectBank
from magical_hub.data import open_dataset, open_source
from magical_hub.detectors import read_labelled
from magical_hub.errors import DataError
from magical_hub.export import write_dataset

BROKEN = "broken\x1b[31m.png"
"""A name that would turn a terminal red."""


@pytest.fixture
def folder(tmp_path) -> Path:
    """Three images with boxes and masks in a metadata file."""
    rows = []
    for number, name in enumerate(("a.png", "b.png", BROKEN)):
        mask = np.zeros((48, 48), np.uint8)
        mask[10:20, 10:20] = 255 if number else 0
        for kind, pixels in (("images", np.full((48, 48), 90 + number, np.uint8)), ("masks", mask)):
            (tmp_path / kind).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / kind / name)
        objects = [{"bbox": [10.0, 10.0, 10.0, 10.0], "category": "dent"}] if number else []
        rows.append({"file_name": f"images/{name}", "mask_file_name": f"masks/{name}", "objects": objects})
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return tmp_path


def break_mask(folder: Path) -> None:
    (folder / "masks" / BROKEN).write_bytes(b"no image")


def shrink_mask(folder: Path) -> None:
    Image.new("L", (20, 20)).save(folder / "masks" / BROKEN)


def break_image(folder: Path) -> None:
    (folder / "images" / BROKEN).write_bytes(b"no image")


def move_box(folder: Path) -> None:
    lines = (folder / "metadata.jsonl").read_text().splitlines()
    (folder / "metadata.jsonl").write_text(
        "\n".join([*lines[:2], lines[2].replace("10.0, 10.0, 10", "90.0, 90.0, 10")])
    )


READERS: dict[str, Callable] = {
    "bank": DefectBank.from_dataset,
    "coco": lambda rows: write_dataset(rows, "out", "coco"),
    "detector of boxes": lambda rows: read_labelled(rows, objects_column="objects"),
    "detector of masks": lambda rows: read_labelled(rows, mask_column="mask"),
    "training": lambda rows: list(open_source(rows, mask_column="mask", files_below=".").records()),
}


@pytest.mark.parametrize(
    ("breaks", "readers"),
    [
        (break_mask, ["bank", "coco", "detector of masks", "training"]),
        (shrink_mask, ["bank", "coco", "detector of masks"]),
        (break_image, ["bank", "coco", "detector of boxes", "detector of masks"]),
        (move_box, ["bank", "coco", "detector of boxes"]),
    ],
)
def test_an_error_names_the_file_of_the_row(breaks, readers, folder, monkeypatch):
    monkeypatch.chdir(folder)
    breaks(folder)
    rows = open_dataset(folder)
    of_mask = breaks in (break_mask, shrink_mask)
    for reader in readers:
        with pytest.raises(DataError) as error:
            READERS[reader](rows)
        named = "row 2 (" + ("masks" if of_mask else "images") + "/broken\\x1b[31m.png)"
        assert named in str(error.value), reader


def test_what_is_left_out_of_a_bank_is_named(folder, caplog):
    lines = (folder / "metadata.jsonl").read_text().splitlines()
    whole = lines[2].replace("10.0, 10.0, 10.0, 10.0", "0.0, 0.0, 48.0, 48.0")
    (folder / "metadata.jsonl").write_text("\n".join([*lines[:2], whole]))
    Image.new("L", (48, 48), 255).save(folder / "masks" / BROKEN)
    DefectBank.from_dataset(open_dataset(folder))
    said = "".join(caplog.messages)  # which the command cleans when it prints them
    assert f"1 defects of row 2 (images/{BROKEN}) that fill their image" in said
