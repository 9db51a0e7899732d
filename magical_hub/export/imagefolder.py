"""PNG files and a metadata.jsonl beside them: the layout that `datasets.load_dataset("imagefolder")` reads."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from magical_hub.errors import check_number
from magical_hub.export.croissant import write_croissant
from magical_hub.export.request import ClassLabels, SeriesRequest, check_folder
from magical_hub.files import append_text, expanded, only_writer, write_text, written_whole
from magical_hub.pipeline import MagicalPipeline
from magical_hub.safety import read_json_lines

ROWS = ".rows.jsonl"
"""The file with a line for each image that is there, in a folder that is not finished."""


def write_imagefolder(
    pipe: MagicalPipeline,
    folder: str | Path,
    num_images: int = 8,
    *,
    class_labels: ClassLabels = None,
    seed: int = 0,
    truncation_psi: float = 1.0,
    batch_size: int = 8,
    croissant: bool = False,
) -> list[dict[str, Any]]:
    """Generate images into a folder: 00000.png and so on, exactly `num_images`.

    The same call continues what a killed one left: images that are there are kept.

    Args:
        pipe, num_images, class_labels, seed, truncation_psi: as of `SeriesRequest`.
        folder: made where it is missing; it must hold no images yet.
        batch_size: images in memory at a time.
        croissant: write Croissant metadata beside them too (croissant.json; extra `croissant`).

    Returns:
        One row per image: file_name, seed and, where there are classes, class_label and class_name. The rows are in
        metadata.jsonl too, and where the images come from in provenance.json.

    Raises:
        ConfigError: where a number is out of range, the folder holds images, or another process is writing there.
    """
    folder = expanded(folder)
    request = SeriesRequest(pipe, num_images, class_labels, seed, truncation_psi, "png")
    check_number("batch_size", batch_size, at_least=1, whole=True)
    with only_writer(folder):
        if not (folder / ROWS).is_file() or (folder / ROWS).is_symlink():
            check_folder(folder)
            write_text(folder / ROWS, "")
        request.begin(folder)
        rows = _write_images(request, folder, batch_size)
        write_text(folder / "metadata.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        if croissant:
            write_croissant(folder, rows, request.record)
        (folder / ROWS).unlink()  # last: it says that something is missing
    return rows


def _known_rows(folder: Path) -> dict[int, dict[str, Any]]:
    """The rows of images that a killed call left, by their numbers."""
    rows, _ = read_json_lines(folder / ROWS)
    names = {f"{number:05d}.png": number for number in range(len(rows) + 1)}
    return {names[row["file_name"]]: row for row in rows if row.get("file_name") in names}


def _write_images(request: SeriesRequest, folder: Path, batch_size: int) -> list[dict[str, Any]]:
    seeds, num_images = request.seeds, request.num_images
    rows = {
        number: row
        for number, row in _known_rows(folder).items()
        if number < num_images and row.get("seed") == seeds[number] and (folder / row["file_name"]).is_file()
    }
    pipe = copy.copy(request.pipe)
    pipe.set_progress_bar_config(disable=True)  # one bar for all batches instead
    for first in tqdm(range(0, num_images, batch_size), desc="Generating", unit="batch"):
        numbers = range(first, min(first + batch_size, num_images))
        if rows.keys() >= {*numbers}:
            continue
        made = pipe(
            seeds=seeds[first : numbers.stop],
            class_labels=None if request.class_labels is None else request.labels[first : numbers.stop],
            truncation_psi=request.truncation_psi,
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
