"""Which images to ask for: a class or a defect each, so that the classes of a training set come out balanced."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from magical_hub.augmentation.labels import LabelColumn
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

    Args:
        wanted: a wish an image, of one kind all.
        seeds: of the images; a defect's place is drawn from it.
        label: the column that the wishes name classes of; None where they name none.
        config: the generator's.
    """
    names = [wish.label for wish in wanted]
    if label is None or None in names:
        return {}
    if not label.is_defect:
        return {"class_labels": names}
    return {
        "defects": [
            {} if name == label.none else {_place(config, seed): name} for name, seed in zip(names, seeds, strict=True)
        ]
    }


def _place(config: Any, seed: int) -> tuple[int, int]:
    """A sub-region for a defect, by its row and column."""
    rng = np.random.default_rng(seed)
    return int(rng.integers(config.rows)), int(rng.integers(config.cols))
