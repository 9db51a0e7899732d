"""Images of the page: generated ones, a defect put where the user clicked, a walk between two images."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from PIL import Image

from magical_hub.devices import move
from magical_hub.errors import ConfigError, check_number
from magical_hub.files import expanded
from magical_hub.pipeline import MagicalPipeline
from magical_hub.seeds import image_seed

BATCH = 8
"""Images at a time, as the command does."""
MOST_PIXELS = 2**26
"""The most pixels of all images that are requested together: the page keeps them."""
Progress = Callable[[tuple[int, int]], Any]
"""Called with how many images are done, and of how many."""


class Pipelines:
    """Gives the pipeline of a checkpoint, for all users of the page; of many, the least recently used is dropped.

    Args:
        device: where they run.
        most: how many stay loaded.
    """

    def __init__(self, device: str = "cpu", most: int = 3) -> None:
        self._device = device
        self._lock = threading.Lock()
        self._load_once = lru_cache(most)(self._load)

    def get(self, checkpoint: str) -> MagicalPipeline:
        """Load a checkpoint, or find it loaded. A pipeline keeps no state between calls, so that all may share it.

        Raises:
            CheckpointError, ConfigError: as `from_pretrained`, and where there is no such device.
        """
        index = expanded(checkpoint) / "model_index.json"
        with self._lock:
            return self._load_once(checkpoint, index.stat().st_mtime_ns if index.is_file() else 0)

    def _load(self, checkpoint: str, written: int) -> MagicalPipeline:
        """`written` is when the index in its folder was: a RUN that was trained on is loaded again."""
        pipe = MagicalPipeline.from_pretrained(checkpoint)
        move(self._device, pipe)
        pipe.set_progress_bar_config(disable=True)
        return pipe


@dataclass(frozen=True, eq=False)
class Picture:
    """An image as it was made, and the same without its defects.

    Args:
        seed: of the image.
        label: the number of its class; None without classes.
        field: (R, K) int64, the requested defect map; None where the checkpoint was trained without defects.
        image: with the defects.
        defect_free: the image without the defects.
        objects: boxes and names of those that show.
        mask: (H, W) uint8; None where the checkpoint was trained without defects.
    """

    seed: int
    label: int | None
    field: np.ndarray | None
    image: Image.Image
    defect_free: Image.Image
    objects: list[dict[str, Any]]
    mask: np.ndarray | None


@dataclass(frozen=True, eq=False)
class Made:
    """The images that one user has made.

    Args:
        checkpoint: that made the images.
        truncation_psi: of all pictures.
        pictures: one per image.
        chosen: the number of the picture that is shown.
    """

    checkpoint: str
    truncation_psi: float
    pictures: tuple[Picture, ...]
    chosen: int = 0

    @property
    def picture(self) -> Picture:
        """The picture that is shown."""
        return self.pictures[self.chosen]


def make(
    pipe: MagicalPipeline,
    num_images: int,
    seed: int,
    class_label: str | None,
    truncation_psi: float,
    draw_defects: bool,
    progress: Progress,
) -> tuple[Picture, ...]:
    """The images that `magical-hub generate` makes of a seed; without defects unless they are to be drawn.

    Raises:
        ConfigError: where numbers are out of range, or the images are more than the page can hold.
    """
    check_count(pipe, num_images)
    seeds = [image_seed(seed, number) for number in range(num_images)]
    pictures: list[Picture] = []
    for first in range(0, num_images, BATCH):
        some = seeds[first : first + BATCH]
        pictures += _pictures(pipe, some, class_label, truncation_psi, None if draw_defects else {})
        progress((len(pictures), num_images))
    return tuple(pictures)


def check_count(pipe: MagicalPipeline, num_images: int) -> None:
    """Raise a ConfigError where there are no images, or more than the page can hold."""
    check_number("the number of images", num_images, whole=True)
    grid = pipe.generator.grid
    if num_images < 1 or num_images * grid.height * grid.width > max(MOST_PIXELS, grid.height * grid.width):
        raise ConfigError(
            f"{num_images} images of {grid.height} x {grid.width} px are none or more than the page holds: give "
            f"1 to {max(1, MOST_PIXELS // (grid.height * grid.width))}, or take magical-hub generate"
        )


def place(pipe: MagicalPipeline, made: Made, row: int, col: int, defect: str) -> Made:
    """The chosen picture with a defect ("none": without) in one more sub-region.

    Raises:
        ConfigError, GridError: where there is no such defect or place.
    """
    before = made.picture
    if before.field is None:
        raise ConfigError(f"{made.checkpoint} was trained without defects: take one that was trained with them")
    field = {(int(r), int(k)): int(before.field[r, k]) for r, k in np.argwhere(before.field)} | {(row, col): defect}
    (after,) = _pictures(pipe, [before.seed], before.label, made.truncation_psi, field, [before.defect_free])
    pictures = [*made.pictures]
    pictures[made.chosen] = after
    return replace(made, pictures=tuple(pictures))


def walk(
    pipe: MagicalPipeline,
    seeds: tuple[int, int],
    frames: int,
    class_label: str | None,
    truncation_psi: float,
    progress: Progress,
) -> list[Image.Image]:
    """From the first image of one seed to that of another, along the sphere near which latents are.

    Class and local noise stay those of the first, so that nothing jumps.

    Raises:
        ConfigError: where numbers are out of range.
    """
    check_count(pipe, frames)
    image_seeds = [image_seed(seed, 0) for seed in seeds]
    ends = pipe(seeds=image_seeds, class_labels=class_label, regions=[0])
    label = ends.annotations[0]["class_label"] if ends.annotations else None
    path = torch.stack(
        [_between(ends.latents[0], ends.latents[1], share) for share in np.linspace(0, 1, frames).tolist()]
    )
    images: list[Image.Image] = []
    for some in path.split(BATCH):
        labels = _labels(pipe, label, {})
        made = pipe(latents=some, seeds=image_seeds[:1] * len(some), truncation_psi=truncation_psi, **labels)
        images += made.images
        progress((len(images), frames))
    return images


def _between(start: torch.Tensor, end: torch.Tensor, share: float) -> torch.Tensor:
    """Spherical interpolation (Shoemake, 1985) of two latents (L,)."""
    angle = torch.arccos((start @ end / (start.norm() * end.norm())).clamp(-1, 1))
    if angle < 1e-4:
        return start + share * (end - start)
    return (((1 - share) * angle).sin() * start + (share * angle).sin() * end) / angle.sin()


def _labels(pipe: MagicalPipeline, label: int | str | None, defects: Any) -> dict[str, Any]:
    """The arguments of a call of the pipeline for classes and defects, where the checkpoint has some."""
    config = pipe.generator.config
    labels = {"class_labels": label} if label is not None else {}
    return labels | ({"defects": defects, "masks": True} if config.num_defects else {})


def _pictures(
    pipe: MagicalPipeline,
    seeds: list[int],
    label: int | str | None,
    truncation_psi: float,
    defects: Any,
    defect_free: Sequence[Image.Image] | None = None,
) -> list[Picture]:
    """Pictures of some seeds; those without defects are made too, unless they are given or the same."""
    made = pipe(seeds=seeds, truncation_psi=truncation_psi, images_per_batch=BATCH, **_labels(pipe, label, defects))
    images: list[Any] = list(made.images)
    if defect_free is None:
        defect_free = images
        if made.defects is not None and made.defects.any():
            labels = _labels(pipe, label, {})
            defect_free = list(
                pipe(seeds=seeds, truncation_psi=truncation_psi, images_per_batch=BATCH, **labels).images
            )
    annotations = made.annotations or [{} for _ in seeds]
    return [
        Picture(
            seed,
            annotations[number].get("class_label"),
            None if made.defects is None else made.defects[number].numpy(),
            images[number],
            defect_free[number],
            annotations[number].get("objects", []),
            None if made.masks is None else made.masks[number],
        )
        for number, seed in enumerate(seeds)
    ]
