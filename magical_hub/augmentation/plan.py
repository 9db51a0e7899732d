"""Which images to generate: a class or a defect each, so that the classes of a training set come out balanced."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from magical_hub.augmentation.labels import LabelColumn
from magical_hub.conditions import draw_location
from magical_hub.seeds import image_seed


@dataclass(frozen=True)
class SampleRequest:
    """One image to generate: its number in the series, and the name of its label (None: drawn by the pipeline)."""

    number: int
    label: str | None


def sample_requests(counts: Mapping[str, int], num_images: int, balance: bool, seed: int) -> list[SampleRequest]:
    """One request per image; more images with the same counts begin with the same requests.

    Args:
        counts: how often each name of the label column occurs; empty for images of any class.
        num_images: how many images.
        balance: each image goes to the class that has the fewest by then, so that all come as near to each other as
            they can. Otherwise classes are drawn as often as they occur.
        seed: of the draws.
    """
    names = _fewest_first(counts) if balance else _as_they_occur(counts, seed)
    return [SampleRequest(number, next(names) if counts else None) for number in range(num_images)]


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


def pipeline_arguments(
    requests: Sequence[SampleRequest], seeds: Sequence[int], label: LabelColumn | None, config: Any
) -> dict[str, Any]:
    """The arguments of a call of the pipeline for these requests.

    The class and the location of a defect are drawn by the training frequencies, from the image's own seed.

    Args:
        requests: one per image, all with a label or all without.
        seeds: of the images.
        label: the column of the labels; None where the requests have none.
        config: the generator's.
    """
    names = [request.label for request in requests]
    if label is None or None in names:
        return {}
    if not label.is_defect:
        return {"class_labels": names}
    drawn = [
        draw_location(config, None if name == label.none else name, seed)
        for name, seed in zip(names, seeds, strict=True)
    ]
    classes = {"class_labels": [number for number, _ in drawn]} if config.num_classes else {}
    return {"defects": [defects for _, defects in drawn], **classes}
