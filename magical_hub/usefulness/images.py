"""The data of a comparison: read once at one size, and cut by group into test and training images."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from magical_hub.data.columns import Columns, objects_feature
from magical_hub.data.images import open_image
from magical_hub.data.kinds import range_of_16_bits
from magical_hub.data.rows import LabelledRows, Stored
from magical_hub.detectors import LabelledImages, labelled_rows, stacked
from magical_hub.errors import DataError

if TYPE_CHECKING:
    import datasets


@dataclass(frozen=True)
class Images:
    """Labelled images, the reference of each where there are references, and the group of each."""

    labelled: LabelledImages
    references: np.ndarray | None
    groups: np.ndarray

    def select(self, places: np.ndarray) -> Images:
        references = None if self.references is None else self.references[places]
        return Images(self.labelled.select(places), references, self.groups[places])

    def __len__(self) -> int:
        return len(self.groups)


@dataclass(frozen=True)
class Parts:
    """The images of a comparison.

    Attributes:
        test: all images of the test groups.
        test_groups: their names.
        training: places of all other images in the data set.
        defective: those of the training images with a defect, to draw from.
        good: those without, the same in all arms.
        further_good: for the placebo.
    """

    test: Images
    test_groups: tuple[str, ...]
    training: np.ndarray
    defective: Images
    good: Images
    further_good: Images


def read(
    dataset: datasets.Dataset,
    columns: Columns,
    image_size: int | None,
    grey: bool = False,
    mask_values: Mapping[int, str] | None = None,
) -> Images:
    """All images of a data set; see `magical_hub.detectors.labelled_rows`.

    Raises:
        DataError: where a column is missing, or images differ in their shape.
    """
    label = "label" if "label" in dataset.features else None  # which says which images without a mask are good
    rows_of = LabelledRows(dataset, replace(columns, label=label), mask_values)
    stored = [] if columns.reference is None else [*_references(rows_of)]
    sixteen_bits = range_of_16_bits(chain((row.image for row in rows_of.over("image")), stored))
    labelled, references = labelled_rows(rows_of, image_size, grey, sixteen_bits), None
    if columns.reference is not None:
        opened = ((open_image(*one, sixteen_bits=sixteen_bits), one[1]) for one in stored)
        references = stacked(opened, image_size, grey)
        if references.shape[1:3] != labelled.images.shape[1:3]:
            raise DataError("references have another size than their images: give them at the same")
        channels = max(references.shape[3], labelled.images.shape[3])
        labelled = replace(labelled, images=_in_channels(labelled.images, channels))
        references = _in_channels(references, channels)
    return Images(labelled, references, rows_of.groups)


def _references(rows_of: LabelledRows) -> Iterator[Stored]:
    for row in rows_of.over("image", "reference"):
        stored = row.stored("reference")
        if stored is None:
            raise DataError(f"{row.name} has no reference: leave it out, or give no column of references")
        yield stored


def _in_channels(images: np.ndarray, channels: int) -> np.ndarray:
    return images if images.shape[3] == channels else np.repeat(images, channels, axis=3)


def cut(images: Images, test_fraction: float, num_good: int, seed: int, least_further: int = 0) -> Parts:
    """Test groups are the first ones in the order of the BLAKE2b of their names, up to the share of images wanted.

    Good images are those without a defect; where every image has one, the references of the training images.

    Args:
        images: all of them.
        test_fraction: whole groups are for testing until they have this share of the images.
        num_good: good images for training at most; half of those that there are, so that as many are left.
        seed: of the choice of good images.
        least_further: where fewer are left than this, all good images are for training, and none are further ones.

    Raises:
        DataError: where a part would be empty.
    """
    bad = images.labelled.defective
    names, counts = np.unique(images.groups, return_counts=True)
    _check(images, bad, names)
    hashes = [hashlib.blake2b(str(name).encode(), digest_size=8).digest() for name in names]
    order = sorted(range(len(names)), key=lambda place: hashes[place])
    before = np.cumsum([0, *counts[order]])[:-1]
    tested = [names[place] for place, count in zip(order, before, strict=True) if count < test_fraction * len(images)]
    test = np.isin(images.groups, tested)
    defective, good = images.select(np.flatnonzero(~test & bad)), images.select(np.flatnonzero(~test & ~bad))
    if not len(good) and images.references is not None:
        good = _references_of(defective)
    if not len(defective) or not len(good) or not bad[test].any():
        raise DataError(
            f"{len(defective)} defective and {len(good)} good images are left for training and {int(bad[test].sum())} "
            "defective ones for testing: each must be at least 1; give another group_column or test_fraction"
        )
    shuffled = np.random.default_rng([seed, 1]).permutation(len(good))
    kept = min(num_good, (len(good) + 1) // 2)
    further = shuffled[kept : 2 * kept]
    if len(further) < least_further:
        kept, further = min(num_good, len(good)), shuffled[:0]
    return Parts(
        images.select(np.flatnonzero(test)),
        tuple(str(name) for name in tested),
        np.flatnonzero(~test),
        defective,
        good.select(shuffled[:kept]),
        good.select(further),
    )


def _check(images: Images, bad: np.ndarray, groups: np.ndarray) -> None:
    if not bad.any():
        raise DataError(
            "no image of the data has a defect (a box, or a mask that marks something): name the column that has them"
        )
    if bad.all() and images.references is None:
        raise DataError(
            "the data has no good image (no box, an empty mask) and no references: add some, for defects are put onto "
            "them"
        )
    if len(groups) == 1:
        raise DataError(
            f"all images are of one group ({groups[0]}), and one must be trained on and another tested on: give "
            "another group_column, or none"
        )


def rows(images: Images) -> datasets.Dataset:
    """As a data set with the columns image, objects or mask, group, and reference."""
    import datasets

    labelled = images.labelled
    table: dict[str, list] = {"image": [picture(pixels) for pixels in labelled.images]}
    features: dict = {"image": datasets.Image()}
    if labelled.boxes is not None and labelled.categories is not None:
        table["objects"] = [
            [{"bbox": box.tolist(), "category": int(kind)} for box, kind in zip(boxes, kinds, strict=True)]
            for boxes, kinds in zip(labelled.boxes, labelled.categories, strict=True)
        ]
        features["objects"] = objects_feature(labelled.class_names)
    else:
        table["mask"] = [Image.fromarray(mask) for mask in labelled.masks]
        features["mask"] = datasets.Image()
    table["group"], features["group"] = images.groups.tolist(), datasets.Value("string")
    if images.references is not None:
        table["reference"] = [picture(pixels) for pixels in images.references]
        features["reference"] = datasets.Image()
    return datasets.Dataset.from_dict(table, features=datasets.Features(features))


def picture(pixels: np.ndarray) -> Image.Image:
    """(H, W, 1) or (H, W, 3) as an image."""
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def with_difference(images: Images) -> LabelledImages:
    """Images with a further channel: the difference to the reference, 128 where there is none."""
    assert images.references is not None
    ours, theirs = (
        values.astype(np.int16).mean(-1, keepdims=True) for values in (images.labelled.images, images.references)
    )
    channel = np.clip(128 + (ours - theirs) / 2, 0, 255).round().astype(np.uint8)
    return replace(images.labelled, images=np.concatenate([images.labelled.images, channel], axis=-1))


def _references_of(images: Images) -> Images:
    assert images.references is not None
    nothing = tuple(np.zeros((0, 4), np.float32) for _ in range(len(images)))
    labels = {"boxes": nothing, "categories": tuple(np.zeros(0, np.int64) for _ in nothing)}
    if images.labelled.masks is not None:
        labels = {"masks": np.zeros_like(images.labelled.masks)}
    return replace(images, labelled=replace(images.labelled, images=images.references, **labels))
