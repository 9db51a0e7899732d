"""A request for many images of a pipeline in a folder: checked, recorded, begun."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from magical_hub import provenance
from magical_hub.conditions import class_numbers, is_one_each
from magical_hub.data.images import EXTENSIONS
from magical_hub.errors import ConfigError, check_number
from magical_hub.files import write_text
from magical_hub.models.checks import check_truncation
from magical_hub.pipeline import MagicalPipeline
from magical_hub.seeds import image_seed, whole_number

ClassLabels = Sequence[int | str] | int | str | None
"""A class for all images, or one per image; None draws each."""


@dataclass(frozen=True)
class SeriesRequest:
    """Images of a pipeline, of which image i is made from `image_seed(seed, i)` and nothing else.

    Attributes:
        pipe: makes the images.
        num_images: how many images.
        class_labels: a class for all, or one per image; None draws by the training set's frequencies.
        seed: of the series.
        truncation_psi: 1 is as trained (see `MagicalPipeline`).
        format: "png", "tiff" or "zarr".

    Raises:
        ConfigError: where a number is out of range, there is no such class, or not one for all or one per image.
    """

    pipe: MagicalPipeline
    num_images: int
    class_labels: ClassLabels
    seed: int
    truncation_psi: float
    format: str

    def __post_init__(self) -> None:
        check_number("num_images", self.num_images, at_least=1, whole=True)
        whole_number(self.seed)
        check_truncation(self.truncation_psi)
        _ = self.labels

    @cached_property
    def labels(self) -> list[Any]:
        """The class of each image; None where it is drawn."""
        labels: Any = self.class_labels
        if labels is None:
            return [None] * self.num_images
        numbers = class_numbers(self.pipe.generator, labels, self.num_images).tolist()
        many = labels if is_one_each(labels) else [labels] * self.num_images
        return [label if isinstance(label, str) else number for label, number in zip(many, numbers, strict=True)]

    @cached_property
    def seeds(self) -> list[int]:
        """The seed of each image."""
        return [image_seed(self.seed, number) for number in range(self.num_images)]

    @cached_property
    def record(self) -> dict[str, Any]:
        """Where the images come from."""
        labels = self.class_labels
        if labels is not None and not isinstance(labels, (int, str)):
            labels = [label if isinstance(label, str) else int(label) for label in labels]
        image = {"num_images": self.num_images, "seed": self.seed, "class_labels": labels}
        about = {**image, "truncation_psi": self.truncation_psi, "format": self.format}
        return provenance.of_images(self.pipe, about)

    def begin(self, folder: Path) -> None:
        """Write the record into a folder, before all that follows, or find it there of a call that was stopped.

        Raises:
            ConfigError: where the folder holds images, or what was begun is something else.
        """
        before = provenance.read(folder / provenance.FILE)
        if before is None:
            check_folder(folder)
            write_text(folder / provenance.FILE, json.dumps(self.record, indent=2))
        elif before.get("image") != self.record["image"]:
            raise ConfigError(f"{folder} holds images of another request: repeat it, or give a new folder")


def check_folder(folder: Path) -> None:
    """Raise a ConfigError where a folder holds images, or the record of something else."""
    if folder.is_dir():
        if any(path.suffix.lower() in (*EXTENSIONS, ".zarr") for path in folder.iterdir()):
            raise ConfigError(f"{folder} holds images already: give a new or an empty folder")
        if (folder / provenance.FILE).exists():
            raise ConfigError(f"{folder} holds something else that was made here: give a new or an empty folder")
