"""What is compared: of each arm the real rows and the rows beside them, from one draw of defective images alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image

from magical_hub.augmentation import augment_dataset
from magical_hub.defects import DefectBank
from magical_hub.detectors import DetectorOptions, LabelledImages
from magical_hub.pipeline import MagicalPipeline
from magical_hub.seeds import image_seed
from magical_hub.usefulness.images import Images, Parts, rows, with_difference

if TYPE_CHECKING:
    import datasets

REAL, CLASSICAL, PLACEBO, PASTED = "real", "classical", "placebo", "copy-paste"
PAINTED, TUNED, WHOLE = "painted", "tuned", "whole synthetic"
DIFFERENCE, BOTH, ORACLE = "reference channel", "painted and reference channel", "oracle"
NO_SYNTHETIC = (REAL, CLASSICAL, ORACLE)
WITH_REFERENCES = (DIFFERENCE, BOTH)


class Draw(NamedTuple):
    """The images that one detector may use.

    Attributes:
        defective: the K images with defects.
        good: those without.
        further_good: for the placebo.
        num_synthetic: images to make.
        seed: of all that is random.
    """

    defective: Images
    good: Images
    further_good: Images
    num_synthetic: int
    seed: int


class Given(NamedTuple):
    """What a detector is trained on, with which options, and what it is tested with."""

    real: LabelledImages
    synthetic: LabelledImages | None
    test: LabelledImages
    options: DetectorOptions


@dataclass(frozen=True)
class Comparison:
    """What all detectors of a comparison have in common.

    Attributes:
        parts: of the images.
        detector: how they are trained.
        num_synthetic: images that are made for one of them, where its arm has any.
        pipe: for the arm of whole synthetic images.
        seed: of the draws.
        device: what they are trained on.
    """

    parts: Parts
    detector: DetectorOptions
    num_synthetic: int
    pipe: MagicalPipeline | None
    seed: int
    device: str = "cpu"

    def draw(self, count: int | None, number: int) -> Draw:
        """The first `count` images of a draw (None: all); smaller counts are parts of larger ones."""
        parts = self.parts
        order = np.random.default_rng([self.seed, 2, number]).permutation(len(parts.defective))
        chosen = parts.defective.select(order[:count])
        return Draw(chosen, parts.good, parts.further_good, self.num_synthetic, image_seed(self.seed, number))


def given(arm: str, draw: Draw, comparison: Comparison) -> Given:
    """What the detector of an arm gets."""
    test, options = comparison.parts.test, comparison.detector
    if arm in WITH_REFERENCES:
        real = with_difference(draw.defective) + with_difference(draw.good)
        synthetic = with_difference(augmented(draw, bank_of(draw))) if arm == BOTH else None
        return Given(real, synthetic, with_difference(test), options)
    real = draw.defective.labelled + draw.good.labelled
    if arm in NO_SYNTHETIC:
        return Given(real, None, test.labelled, replace(options, augment=options.augment and arm != REAL))
    if arm == WHOLE:
        assert comparison.pipe is not None
        return Given(real, augmented(draw, comparison.pipe).labelled, test.labelled, options)
    if arm == TUNED:
        bank, tuned = DefectBank.tune(_table(draw), **_columns(draw), group_column="group", steps=options.steps // 2)
        options = replace(options, synthetic_share=tuned.synthetic_share, real_only_steps=tuned.real_only_steps)
        synthetic = augmented(draw, bank).labelled if tuned.synthetic_share else None
        return Given(real, synthetic, test.labelled, options)
    if arm == PLACEBO:  # good images that no other arm has
        return Given(real, draw.further_good.labelled, test.labelled, options)
    if arm == PASTED:
        return Given(real, pasted(draw), test.labelled, options)
    return Given(real, augmented(draw, bank_of(draw)).labelled, test.labelled, options)


def bank_of(draw: Draw) -> DefectBank:
    """The bank of this draw alone."""
    return DefectBank.from_dataset(_table(draw), **_columns(draw))


def augmented(draw: Draw, source: MagicalPipeline | DefectBank) -> Images:
    """What `augment_dataset` puts beside the real rows: whole images of a pipeline, or good ones painted by a bank.

    Painted images keep their references; none is in a group.
    """
    labelled, table = draw.defective.labelled, _table(draw)
    values, seed = _mask_values(labelled), draw.seed % 2**32
    made = augment_dataset(
        table, source, draw.num_synthetic, label_column=None, mask_values=values, seed=seed, batch_size=16
    )
    made = made.select(range(len(table), len(made)))
    images, references = _stacked(made["image"], labelled), None
    if "reference" in made.features and isinstance(source, DefectBank):
        references = _stacked(made["reference"], labelled)
    if labelled.masks is not None:
        labels = replace(labelled, images=images, masks=np.stack([np.asarray(mask) for mask in made["mask"]]))
    else:
        boxes = tuple(np.array([one["bbox"] for one in some], np.float32).reshape(-1, 4) for some in made["objects"])
        kinds = tuple(np.array([one["category"] for one in some], np.int64) for some in made["objects"])
        labels = replace(labelled, images=images, boxes=boxes, categories=kinds)
    return Images(labels, references, np.full(len(images), ""))


def _stacked(images: Iterable[Image.Image], like: LabelledImages) -> np.ndarray:
    """(N, H, W, C) uint8, in as many channels as `like`."""
    mode = "L" if like.images.shape[-1] == 1 else "RGB"
    pixels = np.stack([np.asarray(image.convert(mode)) for image in images])
    return pixels.reshape(len(pixels), *like.images.shape[1:])


def pasted(draw: Draw) -> LabelledImages:
    """Plain copy-paste (Ghiasi et al. 2021): the defects of an image, mirrored at random, on a random good image.

    Boxes go each to a place of its own that no other box has, the marks of a mask together. Nothing is matched.
    """
    rng = np.random.default_rng([draw.seed % 2**32, 3])
    source, targets = draw.defective.labelled, draw.good.labelled
    images = targets.images[rng.integers(len(targets), size=draw.num_synthetic)].copy()
    chosen = rng.integers(len(source), size=draw.num_synthetic)
    if source.masks is not None:
        masks = np.zeros(images.shape[:3], np.uint8)
        for number, place in enumerate(chosen):
            _paste_mask(source.images[place], source.masks[place], images[number], masks[number], rng)
        return replace(source, images=images, masks=masks)
    assert source.boxes is not None and source.categories is not None
    boxes, kinds = [], []
    for number, place in enumerate(chosen):
        some = _paste_boxes(source.images[place], source.boxes[place], images[number], rng)
        stayed = [where for where, box in enumerate(some) if box is not None]
        boxes.append(np.array([some[where] for where in stayed], np.float32).reshape(-1, 4))
        kinds.append(source.categories[place][stayed])
    return replace(source, images=images, boxes=tuple(boxes), categories=tuple(kinds))


def _table(draw: Draw) -> datasets.Dataset:
    """The rows of a draw."""
    bad, good = draw.defective, draw.good
    references = None
    if bad.references is not None and good.references is not None:
        references = np.concatenate([bad.references, good.references])
    return rows(Images(bad.labelled + good.labelled, references, np.concatenate([bad.groups, good.groups])))


def _columns(draw: Draw) -> dict[str, Any]:
    """The arguments of `DefectBank` for the rows of a draw."""
    labelled = draw.defective.labelled
    return {
        "objects_column": None if labelled.boxes is None else "objects",
        "mask_column": None if labelled.masks is None else "mask",
        "mask_values": _mask_values(labelled),
        "reference_column": None if draw.defective.references is None or draw.good.references is None else "reference",
    }


def _mask_values(labelled: LabelledImages) -> dict[int, str] | None:
    """What the values of the masks of `rows` mean; None where there are boxes."""
    return None if labelled.masks is None else {1 + number: name for number, name in enumerate(labelled.class_names)}


def _paste_mask(
    image: np.ndarray, mask: np.ndarray, target: np.ndarray, labels: np.ndarray, rng: np.random.Generator
) -> None:
    flips = tuple(slice(None, None, -1 if turned else 1) for turned in rng.integers(0, 2, 2))
    image, mask = image[flips], mask[flips]
    rows_of, cols = np.nonzero(mask)
    height, width = mask.shape
    down = rng.integers(-rows_of.min(), height - rows_of.max())
    right = rng.integers(-cols.min(), width - cols.max())
    target[rows_of + down, cols + right] = image[rows_of, cols]
    labels[rows_of + down, cols + right] = mask[rows_of, cols]


def _paste_boxes(
    image: np.ndarray, boxes: np.ndarray, target: np.ndarray, rng: np.random.Generator
) -> list[tuple[float, float, float, float] | None]:
    """The place of each pasted box; None for one without a free place in twenty tries."""
    taken = np.zeros(target.shape[:2], bool)
    places: list[tuple[float, float, float, float] | None] = []
    for x, y, width, height in boxes:
        left, top = int(x), int(y)
        right, bottom = int(np.ceil(x + width)), int(np.ceil(y + height))
        patch = image[top:bottom, left:right]
        flips = tuple(slice(None, None, -1 if turned else 1) for turned in rng.integers(0, 2, 2))
        patch = patch[flips]
        inset_x = (right - (x + width)) if flips[1].step == -1 else x - left
        inset_y = (bottom - (y + height)) if flips[0].step == -1 else y - top
        places.append(None)
        for _ in range(20):
            row = rng.integers(0, target.shape[0] - patch.shape[0] + 1)
            col = rng.integers(0, target.shape[1] - patch.shape[1] + 1)
            window = slice(row, row + patch.shape[0]), slice(col, col + patch.shape[1])
            if not taken[window].any():
                taken[window] = True
                target[window] = patch
                places[-1] = (float(col + inset_x), float(row + inset_y), float(width), float(height))
                break
    return places
