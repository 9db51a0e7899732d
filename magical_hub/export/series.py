"""Many large images in a folder, each written tile by tile; an interrupted series continues where it stopped."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from magical_hub import provenance
from magical_hub.errors import ConfigError
from magical_hub.export.request import check_folder, check_request, each_class, record_of
from magical_hub.export.writing import SUFFIXES, Format, write
from magical_hub.files import expanded, only_writer, write_text
from magical_hub.pipeline import MagicalPipeline
from magical_hub.seeds import image_seed


def write_series(
    pipe: MagicalPipeline,
    folder: str | Path,
    num_images: int = 8,
    format: Format = "tiff",
    *,
    class_labels: Sequence[int | str] | int | str | None = None,
    seed: int = 0,
    truncation_psi: float = 1.0,
) -> list[dict[str, Any]]:
    """Generate images of any size into a folder: 00000.tif (or 00000.zarr) and so on, by `write`.

    The same call continues what a killed one left: images that are there are kept.

    Args:
        pipe: makes them.
        folder: made where it is missing; it must hold no images of another request.
        num_images: how many.
        format: "tiff" or "zarr".
        class_labels: a class for all, or one an image; None draws by the training set's frequencies.
        seed: image i is made from `image_seed(seed, i)` and nothing else.
        truncation_psi: 1 is as trained (see `MagicalPipeline`).

    Returns:
        A row an image, as `write_imagefolder`; the rows are in metadata.jsonl too.

    Raises:
        ConfigError: as `write`, and where the folder holds other images.
    """
    folder = expanded(folder)
    check_request(num_images, class_labels)
    seeds = [image_seed(seed, number) for number in range(num_images)]
    labels: list[Any] = each_class(class_labels, num_images) or [None] * num_images
    for own_seed, label in zip(seeds, labels, strict=True):
        pipe.annotation(own_seed, label)  # no class that isn't there is found out at the last image
    folder.mkdir(parents=True, exist_ok=True)
    with only_writer(folder):
        record = record_of(pipe, num_images, class_labels, seed, truncation_psi, format)
        before = provenance.read(folder / provenance.FILE)
        if before is not None and before.get("image") != record["image"]:
            raise ConfigError(f"{folder} holds images of another request: repeat it, or give a new folder")
        if before is None:
            check_folder(folder)
            write_text(folder / provenance.FILE, json.dumps(record, indent=2))  # first: what follows is this request's
        rows: list[dict[str, Any]] = []
        for number, (own_seed, label) in enumerate(zip(seeds, labels, strict=True)):
            path = folder / f"{number:05d}{SUFFIXES[format][0]}"
            if not path.exists():
                write(pipe, path, format, seed=own_seed, class_label=label, truncation_psi=truncation_psi)
            rows.append({"file_name": path.name, "seed": own_seed, **pipe.annotation(own_seed, label)})
        write_text(folder / "metadata.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    return rows
