"""The images that a report is computed from: generated ones, and real ones to compare with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from magical_hub.checkpoint import weights_sha256
from magical_hub.data import Intensity, Source, inspect_image, open_source, open_store, prepare_store
from magical_hub.data.images import image_size
from magical_hub.errors import ConfigError, DataError, check_number
from magical_hub.evaluation.images import FeatureCache, ImageSet
from magical_hub.export import write_imagefolder
from magical_hub.files import expanded
from magical_hub.grid import Grid
from magical_hub.pipeline import MagicalPipeline
from magical_hub.training import Split

if TYPE_CHECKING:
    import datasets

Data: TypeAlias = "str | Path | datasets.Dataset"
"""A source of real images."""


@dataclass(frozen=True)
class Evidence:
    """What the sections are computed from.

    Args:
        generated: every generated image that is evaluated.
        compared: as many of them as there are in `reference`, for figures that depend on the number of images.
        reference: real images, held out where the caller has such.
        other: as many more real images: what they show beside `reference` is the floor.
        train: the images that the generator was trained on.
        holdout: real images that were not used for training; None where none are known.
        grid: how the images are cut.
        has_grid: whether it was given; a grid of one sub-region means that it was not.
        cache: features and small pixels.
        seed: of every random choice.
        pipe: what made the generated images, where that is known.
        normal_class: name of the class without defects, where it was given.
    """

    generated: ImageSet
    compared: ImageSet
    reference: ImageSet
    other: ImageSet
    train: ImageSet
    holdout: ImageSet | None
    grid: Grid
    has_grid: bool
    cache: FeatureCache
    seed: int
    pipe: MagicalPipeline | None
    normal_class: str | None


@dataclass(frozen=True)
class Subject:
    """What is evaluated: a pipeline, or a folder of images; and the folder of the run that made it."""

    name: str
    pipe: MagicalPipeline | None
    images: Path | None
    run: Path | None

    @classmethod
    def of(cls, subject: MagicalPipeline | str | Path) -> Subject:
        """A pipeline, RUN, a checkpoint's name, or else a folder of images.

        Raises:
            CheckpointError: where it is none of them.
        """
        if isinstance(subject, MagicalPipeline):
            return cls(type(subject.generator).__name__, subject, None, None)
        folder = expanded(subject)
        if folder.is_dir() and not ((folder / "model_index.json").exists() or (folder / "checkpoints").is_dir()):
            return cls(str(subject), None, folder, None)
        pipe = MagicalPipeline.from_pretrained(subject)
        return cls(str(subject), pipe, None, folder if (folder / "split.json").is_file() else None)

    @property
    def weights_sha256(self) -> str | None:
        """The SHA-256 of the generator's weights as `save_pretrained` writes them; None for a folder of images."""
        return None if self.pipe is None else weights_sha256(self.pipe.generator)


def gather(
    subject: Subject,
    real: Data | None,
    holdout: Data | None,
    *,
    num_images: int,
    seed: int,
    cache: FeatureCache,
    scratch: Path,
    label_column: str | None = None,
    normal_class: str | None = None,
    rows: int | None = None,
    cols: int | None = None,
) -> Evidence:
    """Find the real images, make or read the generated ones, and bring all to one size.

    Raises:
        ConfigError: where something is missing or out of range.
        DataError, GridError: where images cannot be used, or held-out ones were trained on.
    """
    check_number("num_images", num_images, at_least=1, whole=True)
    check_number("seed", seed, at_least=0, whole=True)
    for name, number in (("rows", rows), ("cols", cols)):
        if number is not None:
            check_number(name, number, at_least=1, whole=True)
    grid, channels = _canvas(subject, rows, cols)
    train, holdout_set = _real(subject, real, holdout, label_column, grid, channels, scratch)
    names = train.store.class_names or []
    if normal_class is not None and normal_class not in names:
        raise ConfigError(f"there is no class {normal_class!r}: the training images have {', '.join(names) or 'none'}")
    order = train.shuffled(seed)
    if holdout_set is None:  # two halves of what there is
        half = len(order) // 2
        reference, other = order.take(half), order.after(half)
    else:
        reference, other = holdout_set.shuffled(seed), order
    if not len(reference):
        raise DataError("one real image has nothing to be compared with: give more")
    generated = _generated(subject, num_images, seed, grid, channels, scratch)
    count = min(len(reference), len(other), len(generated))
    return Evidence(
        generated=generated,
        compared=generated.take(count),
        reference=reference.take(count),
        other=other.take(count),
        train=train,
        holdout=holdout_set,
        grid=grid,
        has_grid=grid.num_locations > 1,
        cache=cache,
        seed=seed,
        pipe=subject.pipe,
        normal_class=normal_class,
    )


def _real(
    subject: Subject,
    real: Data | None,
    holdout: Data | None,
    label_column: str | None,
    grid: Grid,
    channels: int,
    scratch: Path,
) -> tuple[ImageSet, ImageSet | None]:
    """The training images, and those held out: as given, or the run's own."""
    intensity = None if subject.pipe is None else Intensity.of(subject.pipe.generator.config.intensity_range)
    if real is not None:
        train = _opened("training images", real, grid, channels, scratch, label_column, intensity)
        if holdout is None:
            return train, None
        held_out = _opened("held-out images", holdout, grid, channels, scratch, label_column, intensity)
    elif holdout is not None:
        raise ConfigError("held-out images say nothing without those of training: give real too")
    elif subject.run is None:
        raise ConfigError("there is nothing to compare with: give real, a folder of images, or evaluate a RUN")
    else:
        store, split = open_store(subject.run / "data"), Split.load(subject.run / "split.json")
        train = ImageSet("training images", store, np.asarray(split.train))
        if not split.holdout:
            return train, None
        held_out = ImageSet("held-out images", store, np.asarray(split.holdout))
    _check_apart(train, held_out)
    return train, held_out


def _canvas(subject: Subject, rows: int | None, cols: int | None) -> tuple[Grid, int]:
    """The grid over images of the generated size, and their channels."""
    if subject.pipe is not None:
        own = subject.pipe.generator.grid
        return Grid(rows or own.rows, cols or own.cols, own.height, own.width), subject.pipe.generator.config.channels
    assert subject.images is not None
    first = inspect_image(next(open_source(subject.images).records()))
    return Grid(rows or 1, cols or 1, *first.size), 1 if first.mode == "L" else 3


def _generated(subject: Subject, num_images: int, seed: int, grid: Grid, channels: int, scratch: Path) -> ImageSet:
    if subject.pipe is not None:
        write_imagefolder(subject.pipe, scratch / "generated", num_images, seed=seed)
        return _opened("generated images", scratch / "generated", grid, channels, scratch, None)
    assert subject.images is not None
    _check_one_size(open_source(subject.images))
    images = _opened("generated images", subject.images, grid, channels, scratch, None)
    return images.shuffled(seed).take(num_images)


def _opened(
    name: str,
    data: Any,
    grid: Grid,
    channels: int,
    scratch: Path,
    label_column: str | None,
    intensity: Intensity | None = None,
) -> ImageSet:
    """Images of a folder or dataset, decoded once and resized as for training."""
    source = open_source(data, label_column=label_column, intensity=intensity)
    store = prepare_store(source, scratch / name.replace(" ", "-"), grid, channels, strict=True)
    return ImageSet(name, store, np.arange(len(store)))


def _check_one_size(source: Source) -> None:
    names: dict[tuple[int, int], str] = {}
    for record in source.records():
        try:
            names.setdefault(image_size(record.image, record.name), record.name)
        except DataError:
            continue  # named when it is decoded
    if len(names) > 1:
        (one, name), (other, other_name) = list(names.items())[:2]
        raise DataError(
            f"{name} is {one[1]} x {one[0]} and {other_name} {other[1]} x {other[0]}: "
            "generated images must be of one size"
        )


def _check_apart(train: ImageSet, holdout: ImageSet) -> None:
    """Refuse held-out images that were trained on."""
    known = dict(zip(train.digests, train.names, strict=True))
    both = [(name, known[sha]) for name, sha in zip(holdout.names, holdout.digests, strict=True) if sha in known]
    if both:
        raise DataError(
            f"{len(both)} of the held-out images are training images too ({both[0][0]} is {both[0][1]}): "
            "take them out of one of the two"
        )
