"""Which images to ask for: a class or a defect each, so that the classes of a training set come out balanced."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from magical_hub.augmentation.labels import Known, LabelColumn
from magical_hub.seeds import image_seed


@dataclass(frozen=True)
class Wish:
    """What is asked of one image: its number, and the name that its label is to have (None: as it comes)."""

    number: int
    label: str | None


def wishes(counts: Mapping[str, int], num_images: int, balance: bool, seed: int) -> list[Wish]:
    """A wish an image. With the same counts, more images begin with the fewer.

    Args:
        counts: how often each name of the label column occurs; empty where no class is to be asked for.
        num_images: how many.
        balance: each image goes to the class that has the fewest by then, so that all come as near to each other as
            they can. Otherwise classes are drawn as often as they occur.
        seed: of the draws.
    """
    names = _fewest_first(counts) if balance else _as_they_occur(counts, seed)
    return [Wish(number, next(names) if counts else None) for number in range(num_images)]


def _fewest_first(counts: Mapping[str, int]) -> Iterator[str]:
    queue = [(count, rank, name) for rank, (name, count) in enumerate(counts.items())]
    heapq.heapify(queue)
    while True:
        count, rank, name = queue[0]
        yield name
        heapq.heapreplace(queue, (count + 1, rank, name))


def _as_they_occur(counts: Mapping[str, int], seed: int) -> Iterator[str]:
    names, shares = list(counts), np.array(list(counts.values()), float)
    rng = np.random.default_rng([seed, 1])
    while True:
        yield names[rng.choice(len(names), p=shares / shares.sum())]


def try_seed(seed: int, number: int, turn: int) -> int:
    """The seed of image `number` at try `turn`: at the first `image_seed(seed, number)`, as everywhere else."""
    first = image_seed(seed, number)
    return first if turn == 0 else image_seed(first, turn)


def request(wanted: Sequence[Wish], seeds: Sequence[int], label: LabelColumn | None, config: Any) -> dict[str, Any]:
    """What the pipeline is called with so that images come out as wished for.

    A defect is put where the training images had it: the image's class, and then the place, are drawn by how often it
    stood there, from the image's own seed.

    Args:
        wanted: a wish an image, of one kind all.
        seeds: of the images.
        label: the column that the wishes name classes of; None where they name none.
        config: the generator's.
    """
    names = [wish.label for wish in wanted]
    if label is None or None in names:
        return {}
    if not label.is_defect:
        return {"class_labels": names}
    drawn = [
        _draw(config, None if name == label.none else name, seed) for name, seed in zip(names, seeds, strict=True)
    ]
    classes = {"class_labels": [number for number, _ in drawn]} if config.num_classes else {}
    return {"defects": [field for _, field in drawn], **classes}


def _draw(config: Any, defect: str | None, seed: int) -> tuple[int, dict[tuple[int, int], str]]:
    """A class, and a defect at a place of it (none at all for None)."""
    rng = np.random.default_rng(seed)
    classes, locations = max(1, config.num_classes), config.rows * config.cols
    shares = np.array(config.class_frequencies or [1.0] * classes)
    if defect is None:
        return int(rng.choice(classes, p=shares / shares.sum())), {}
    number = Known.of(config).defects.index(defect)
    frequencies = np.ones((classes, locations))
    if config.defect_frequencies is not None:
        frequencies = np.array(config.defect_frequencies)[..., number].reshape(-1, locations)
    weights = (shares[:, None] * frequencies).reshape(-1)
    weights = weights if weights.any() else np.ones(classes * locations)  # seen nowhere, so anywhere
    label, location = divmod(int(rng.choice(len(weights), p=weights / weights.sum())), locations)
    return label, {divmod(location, config.cols): defect}
