"""Packages with boxes: the few real ones, and what may stand beside them."""

from __future__ import annotations

from typing import Literal, NamedTuple

import datasets
import numpy as np
from scipy import ndimage

from magical_hub import MagicalPipeline, augment_dataset
from magical_hub.data import package_dataset
from magical_hub.data.packages import DEFECTS
from magical_hub.evaluation.usefulness.classification import alterations

FEATHER = 1.5
"""Pixels over which a pasted defect fades into the package."""


class Boxed(NamedTuple):
    """Images (N, 3, S, S) uint8; of each its boxes (n, 4), x, y, width and height in pixels, and their kinds (n,)."""

    images: np.ndarray
    boxes: list[np.ndarray]
    kinds: list[np.ndarray]


def few_of_each(count: int, image_size: int, seed: int) -> datasets.Dataset:
    """The first `count` packages of a series with each kind of defect, and as many sound ones as all these."""
    wanted = {0: count * len(DEFECTS), **dict.fromkeys(range(1, 1 + len(DEFECTS)), count)}
    length = sum(wanted.values())
    while True:
        length *= 2
        rows = package_dataset(length, image_size, seed=seed)
        labels = np.array(rows["label"])
        chosen = [np.flatnonzero(labels == label)[:many] for label, many in wanted.items()]
        if all(len(its) == many for its, many in zip(chosen, wanted.values(), strict=True)):
            return rows.select(np.sort(np.concatenate(chosen)))


def boxed(rows: datasets.Dataset) -> Boxed:
    images = np.stack([np.asarray(image.convert("RGB")) for image in rows["image"]]).transpose(0, 3, 1, 2)
    objects = list(rows["objects"])
    boxes = [np.array([thing["bbox"] for thing in things], np.float32).reshape(-1, 4) for things in objects]
    return Boxed(images, boxes, [np.array([thing["category"] for thing in things], np.int64) for things in objects])


def classical(real: Boxed, count: int, turn: int) -> Boxed:
    """Real packages moved, lit and blurred a little, as in the classifier's arm; every kind equally often."""
    how = alterations(turn, bbox_params={"format": "coco", "label_fields": ["kinds"], "min_visibility": 0.3})
    made: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for number in _balanced(real, count, np.random.default_rng([turn, 1])):
        image = np.ascontiguousarray(real.images[number].transpose(1, 2, 0))
        altered = how(image=image, bboxes=real.boxes[number], kinds=real.kinds[number])
        boxes = np.array(altered["bboxes"], np.float32).reshape(-1, 4)
        made.append((altered["image"].transpose(2, 0, 1), boxes, np.array(altered["kinds"], np.int64)))
    images, all_boxes, kinds = zip(*made, strict=True)
    return Boxed(np.stack(images), list(all_boxes), list(kinds))


def copy_paste(real: Boxed, packages: np.ndarray, count: int, turn: int) -> Boxed:
    """A real defect at its place on another, sound package of its type (Ghiasi et al., "Copy-Paste", CVPR 2021).

    Half of the images stay as they are: sound.

    Args:
        real: where both come from.
        packages: (N,) the type of each.
        count: images wanted.
        turn: seed.
    """
    rng = np.random.default_rng([turn, 2])
    sound = np.array([not len(kinds) for kinds in real.kinds])
    made = Boxed(np.empty((count, *real.images.shape[1:]), np.uint8), [], [])
    for place, number in enumerate(_balanced(real, count, rng)):
        ground = real.images[rng.choice(np.flatnonzero(sound & (packages == packages[number])))].astype(np.float32)
        mask = np.zeros(ground.shape[1:], np.float32)
        for x, y, width, height in real.boxes[number].round().astype(int):
            mask[y : y + height, x : x + width] = 1
        mask = ndimage.gaussian_filter(ndimage.maximum_filter(mask, 3), FEATHER)
        made.images[place] = (ground + mask * (real.images[number] - ground)).round()
        made.boxes.append(real.boxes[number])
        made.kinds.append(real.kinds[number])
    return made


def synthetic(
    real: datasets.Dataset, pipe: MagicalPipeline, count: int, keep: Literal["verified", "all"], turn: int
) -> Boxed:
    """What `augment_dataset` puts beside the real rows."""
    whole = augment_dataset(real, pipe, count, seed=turn, batch_size=16, keep=keep)
    return boxed(whole.select(range(len(real), len(whole))))


def _balanced(real: Boxed, count: int, rng: np.random.Generator) -> np.ndarray:
    """(count,) numbers of real images: half of them sound, of the others every kind equally often."""
    labels = np.array([kinds[0] if len(kinds) else 0 for kinds in real.kinds])
    kinds = np.unique(labels[labels > 0])
    wanted = np.where(np.arange(count) % 2, 0, kinds[np.arange(count) // 2 % len(kinds)])
    return np.array([rng.choice(np.flatnonzero(labels == label)) for label in wanted])
