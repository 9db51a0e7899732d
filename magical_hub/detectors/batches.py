"""Batches of real and synthetic rows by a share, augmented; which ones depends on the seed and the data alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from magical_hub.detectors.labelled import LabelledImages
from magical_hub.detectors.options import DetectorOptions
from magical_hub.extras import extra

MIN_VISIBLE = 0.5
"""A box of which less than this is left after a crop goes."""


class Rows:
    """Goes through the places of some rows in random order, again and again."""

    def __init__(self, places: np.ndarray, rng: np.random.Generator) -> None:
        self._places, self._rng = places, rng
        self._left: list[int] = []

    def take(self, count: int) -> list[int]:
        """The next `count` places; none comes twice before all came once."""
        while len(self._left) < count:
            self._left += self._rng.permutation(self._places).tolist()
        taken, self._left = self._left[:count], self._left[count:]
        return taken


def part(step: int, share: float, size: int) -> int:
    """How many of the `size` images of this step's batch belong to a share, so that it is met over all steps."""
    return int((step + 1) * share * size + 1e-9) - int(step * share * size + 1e-9)


def rows_of_batches(
    real: LabelledImages,
    synthetic: LabelledImages | None,
    options: DetectorOptions,
    rng: np.random.Generator,
) -> Iterator[list[tuple[LabelledImages, int]]]:
    """The rows of each batch, as pairs of a set and the place in it.

    Args:
        real, synthetic: what they are drawn from.
        options: how many batches, of how many rows, and the shares of good and of synthetic rows.
        rng: draws.
    """
    steps, batch_size, good_share = options.steps, options.batch_size, options.good_share
    defective = real.defective
    good, bad = (Rows(np.flatnonzero(which), rng) for which in (~defective, defective))
    if defective.all() or not defective.any():
        good_share = float(not defective.any())
    added = None if synthetic is None or not len(synthetic) else Rows(np.arange(len(synthetic)), rng)
    last_mixed = steps - round(options.real_only_steps * steps)
    of_good = 0.0
    for step in range(steps):
        count = part(step, options.synthetic_share, batch_size) if added is not None and step < last_mixed else 0
        rows = [(synthetic, place) for place in added.take(count)] if added is not None and synthetic else []
        of_good += good_share * (batch_size - count)
        without = min(int(of_good + 1e-9), batch_size - count)
        of_good -= without
        rows += [(real, place) for place in good.take(without) + bad.take(batch_size - count - without)]
        yield rows


def check_packages() -> None:
    """Refuse to begin where what training a detector needs is not installed.

    Raises:
        MissingPackageError: naming the extra.
    """
    with extra("eval"):
        import albumentations  # noqa: F401


def classical(crop: tuple[int, int] | None, strong: bool, quarter_turns: bool, boxes: bool, seed: int) -> Any:
    """An `albumentations.Compose` of (H, W, C) uint8 images with `bboxes` and `categories`, or a `mask`.

    Args:
        crop: height and width of the part of an image that is trained on, a defect in it where there is one; None
            takes the whole image.
        strong: mirrors, small turns, scale, brightness, contrast, blur and noise; else the crop alone.
        quarter_turns: whether images may be turned by quarters; else they are only mirrored.
        boxes: whether there are boxes, in pixels (x, y, width, height); else there are masks.
        seed: of all that is random.
    """
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # its import would ask the network for a newer release
    with extra("eval"):
        import albumentations as A

    steps: list[Any] = []
    if crop is not None and boxes:
        steps.append(A.AtLeastOneBBoxRandomCrop(height=crop[0], width=crop[1], erosion_factor=0.2))
    elif crop is not None:
        steps.append(A.CropNonEmptyMaskIfExists(height=crop[0], width=crop[1]))
    if strong:
        steps += [
            *([A.D4(p=1)] if quarter_turns else [A.HorizontalFlip(p=0.5), A.VerticalFlip(p=0.5)]),
            A.Affine(scale=(0.9, 1.1), translate_percent=(-0.05, 0.05), rotate=(-5, 5), border_mode=1, p=0.4),
            A.RandomBrightnessContrast(0.25, 0.25, p=0.6),
            A.GaussianBlur(blur_limit=(3, 3), p=0.1),
            A.GaussNoise(std_range=(0.01, 0.04), p=0.15),
        ]
    more: dict[str, Any] = {}
    if boxes:
        more["bbox_params"] = A.BboxParams(
            format="coco", label_fields=["categories"], min_visibility=MIN_VISIBLE, clip=True
        )
    return A.Compose(steps or [A.NoOp()], seed=seed, **more)


def augmented(rows: list[tuple[LabelledImages, int]], how: Any) -> dict[str, Any]:
    """The arguments of a detector's loss: images (N, H, W, C) uint8, and boxes with categories or masks.

    Args:
        rows: sets and places in them.
        how: an `albumentations.Compose` as `classical` gives it.
    """
    made = []
    for rows_of, place in rows:
        if rows_of.boxes is not None and rows_of.categories is not None:
            labels = {"bboxes": rows_of.boxes[place], "categories": rows_of.categories[place]}
        else:
            assert rows_of.masks is not None
            labels = {"mask": rows_of.masks[place]}
        made.append(how(image=rows_of.images[place], **labels))
    batch: dict[str, Any] = {"images": np.stack([one["image"] for one in made])}
    if "mask" in made[0]:
        return batch | {"masks": np.stack([one["mask"] for one in made])}
    boxes = [np.asarray(one["bboxes"], np.float32).reshape(-1, 4) for one in made]
    return batch | {"boxes": boxes, "categories": [np.asarray(one["categories"], np.int64) for one in made]}
