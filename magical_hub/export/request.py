"""Requests for many images: checks, and the record of what is generated."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from magical_hub import provenance
from magical_hub.conditions import class_numbers, is_one_each
from magical_hub.data.images import EXTENSIONS
from magical_hub.errors import ConfigError, check_number
from magical_hub.models.checks import check_truncation
from magical_hub.pipeline import MagicalPipeline
from magical_hub.seeds import whole_number

ClassLabels = Sequence[int | str] | int | str | None
"""A class for all images, or one per image; None draws each."""


def checked_request(
    pipe: MagicalPipeline, num_images: int, class_labels: ClassLabels, seed: int, truncation_psi: float
) -> list[int | str] | None:
    """Check a request before anything of it is written; gives the class of each image, None where each is drawn.

    Raises:
        ConfigError: where a number is out of range, there is no such class, or not one for all or one per image.
    """
    check_number("num_images", num_images, at_least=1, whole=True)
    whole_number(seed)
    check_truncation(truncation_psi)
    if class_labels is None:
        return None
    numbers = class_numbers(pipe.generator, class_labels, num_images).tolist()
    labels: Any = class_labels
    many = labels if is_one_each(labels) else [labels] * num_images
    return [label if isinstance(label, str) else number for label, number in zip(many, numbers, strict=True)]


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
    if class_labels is not None and not isinstance(class_labels, (int, str)):
        class_labels = [label if isinstance(label, str) else int(label) for label in class_labels]
    image = {"num_images": num_images, "seed": seed, "class_labels": class_labels, "truncation_psi": truncation_psi}
    return provenance.of_images(pipe, {**image, "format": format})
