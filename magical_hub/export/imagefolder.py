"""PNG files and a metadata.jsonl beside them: the layout that `datasets.load_dataset("imagefolder")` reads."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from magical_hub import provenance
from magical_hub.errors import ConfigError, check_number
from magical_hub.export.croissant import write_croissant
from magical_hub.export.request import check_folder, checked_request, record_of
from magical_hub.files import append_text, expanded, only_writer, write_text, written_whole
from magical_hub.pipeline import MagicalPipeline
from magical_hub.safety import read_json_lines
from magical_hub.seeds import image_seed

ROWS = ".rows.jsonl"
"""The file with a line for each image that is there, in a folder that is not finished."""


def write_imagefolder(
    pipe: MagicalPipeline,
    folder: str | Path,
    num_images: int = 8,
    *,
    class_labels: Sequence[int | str] | int | str | None = None,
    seed: int = 0,
    truncation_psi: float = 1.0,
    batch_size: int = 8,
    croissant: bool = False,
) -> list[dict[str, Any]]:
    """Generate images into a folder: 00000.png and so on, exactly `num_images`.

    The same call continues what a killed one left: images that are there are kept.

    Args:
        pipe: makes the images.
        folder: made where it is missing; it must hold no images yet.
        num_images: how many images.
        class_labels: a class for all, or one per image; None draws by the training set's frequencies.
        seed: image i is made from `image_seed(seed, i)` and nothing else.
        truncation_psi: 1 is as trained (see `MagicalPipeline`).
        batch_size: images in memory at a time.
        croissant: write Croissant metadata beside them too (croissant.json; extra `croissant`).

    Returns:
        One row per image: file_name, seed and, where there are classes, class_label and class_name. The rows are in
        metadata.jsonl too, and where the images come from in provenance.json.

    Raises:
        ConfigError: where a number is out of range, the folder holds images, or another process is writing there.
    """
    folder = expanded(folder)
    labels = checked_request(pipe, num_images, class_labels, seed, truncation_psi)
    check_number("batch_size", batch_size, at_least=1, whole=True)
    with only_writer(folder):
        record = record_of(pipe, num_images, class_labels, seed, truncation_psi, "png")
        _begin(folder, record)
        rows = _write_images(pipe, folder, num_images, labels, seed, truncation_psi, batch_size)
        write_text(folder / "metadata.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        if croissant:
            write_croissant(folder, rows, record)
        (folder / ROWS).unlink()  # last: it says that something is missing
    return rows


def _begin(folder: Path, record: dict[str, Any]) -> None:
    """Begin, or continue what a killed call left: the record first, for all that follows is of this request."""
    if (folder / ROWS).is_file() and not (folder / ROWS).is_symlink():
        before = provenance.read(folder / provenance.FILE)
        if before is not None and before.get("image") != record["image"]:
            raise ConfigError(f"{folder} holds the beginnings of other images: give the same again, or a new folder")
        if before is not None:
            return
    check_folder(folder)
    write_text(folder / ROWS, "")
    write_text(folder / provenance.FILE, json.dumps(record, indent=2))


def _known_rows(folder: Path) -> dict[int, dict[str, Any]]:
    """The rows of images that a killed call left, by their numbers."""
    rows, _ = read_json_lines(folder / ROWS)
    names = {f"{number:05d}.png": number for number in range(len(rows) + 1)}
    return {names[row["file_name"]]: row for row in rows if row.get("file_name") in names}


def _write_images(
    pipe: MagicalPipeline,
    folder: Path,
    num_images: int,
    labels: list[int | str] | None,
    seed: int,
    truncation_psi: float,
    batch_size: int,
) -> list[dict[str, Any]]:
    rows = {
        number: row
        for number, row in _known_rows(folder).items()
        if row.get("seed") == image_seed(seed, number) and (folder / row["file_name"]).is_file()
    }
    pipe = copy.copy(pipe)
    pipe.set_progress_bar_config(disable=True)  # one bar for all batches instead
    for first in tqdm(range(0, num_images, batch_size), desc="Generating", unit="batch"):
        numbers = range(first, min(first + batch_size, num_images))
        if rows.keys() >= {*numbers}:
            continue
        made = pipe(
            seeds=[image_seed(seed, number) for number in numbers],
            class_labels=None if labels is None else [labels[number] for number in numbers],
            truncation_psi=truncation_psi,
            images_per_batch=batch_size,
        )
        annotations = made.annotations or [{}] * len(numbers)
        for number, image, own_seed, annotation in zip(numbers, made.images, made.seeds, annotations, strict=True):
            name = f"{number:05d}.png"
            with written_whole(folder / name) as beside:
                image.save(beside, format="PNG")
            rows[number] = {"file_name": name, "seed": int(own_seed), **annotation}
        append_text(folder / ROWS, "".join(json.dumps(rows[number]) + "\n" for number in numbers))
    return [rows[number] for number in range(num_images)]
