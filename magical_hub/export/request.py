"""Requests for many images: checks, and the record of what is generated."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from magical_hub import provenance
from magical_hub.data.images import EXTENSIONS
from magical_hub.errors import ConfigError, check_number
from magical_hub.pipeline import MagicalPipeline

ClassLabels = Sequence[int | str] | int | str | None
"""A class for all images, or one per image; None draws each."""


def check_request(num_images: int, class_labels: ClassLabels) -> None:
    """Raise a ConfigError unless there is at least one image, and a class for all or one per image."""
    check_number("num_images", num_images, at_least=1)
    if class_labels is not None and not isinstance(class_labels, (int, str)) and len(class_labels) != num_images:
        raise ConfigError(f"{len(class_labels)} class_labels for {num_images} images: give one, or one per image")


def each_class(class_labels: ClassLabels, num_images: int) -> list[int | str] | None:
    """The class of each image."""
    if class_labels is None:
        return None
    many = [class_labels] * num_images if isinstance(class_labels, (int, str)) else class_labels
    return [label if isinstance(label, str) else int(label) for label in many]


def check_folder(folder: Path) -> None:
    """Raise a ConfigError where a folder holds images, or the record of something else."""
    if folder.is_dir():
        if any(path.suffix.lower() in (*EXTENSIONS, ".zarr") for path in folder.iterdir()):
            raise ConfigError(f"{folder} holds images already: give a new or an empty folder")
        if (folder / provenance.FILE).exists():
            raise ConfigError(f"{folder} holds something else that was made here: give a new or an empty folder")


def record_of(
    pipe: MagicalPipeline,
    num_images: int,
    class_labels: ClassLabels,
    seed: int,
    truncation_psi: float,
    format: str,
) -> dict[str, Any]:
    """The record of a folder of images. The seed of each is `image_seed(seed, i)`, and is in metadata.jsonl."""
    one = class_labels is None or isinstance(class_labels, (int, str))
    labels = class_labels if one else each_class(class_labels, num_images)
    image = {"num_images": num_images, "seed": seed, "class_labels": labels, "truncation_psi": truncation_psi}
    return provenance.of_images(pipe, {**image, "format": format})
