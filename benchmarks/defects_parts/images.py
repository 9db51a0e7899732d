"""The data of the benchmark: read once at one size, and cut by group into test and training images."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass, replace

import cv2
import datasets
import numpy as np
from PIL import Image

from magical_hub.data.boxes import checked_box
from magical_hub.data.images import open_image
from magical_hub.data.masks import MaskValues, survey_masks
from magical_hub.detectors import LabelledImages
from magical_hub.errors import DataError


@dataclass(frozen=True)
class Columns:
    """Where a data set has what; None where it has none."""

    image: str = "image"
    objects: str | None = None
    mask: str | None = None
    reference: str | None = None
    group: str | None = "group"


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
    """The images of the benchmark.

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


def read(dataset: datasets.Dataset, columns: Columns, image_size: int | None, grey: bool = False) -> Images:
    """All images at one size (the longer side), grey where `grey` says so or all are grey.

    Raises:
        DataError: where a column is missing, or images differ in their shape.
    """
    for name in (columns.image, columns.objects, columns.mask, columns.reference, columns.group):
        if name is not None and name not in dataset.column_names:
            raise DataError(f"the data set has no column {name!r}: it has {', '.join(dataset.column_names)}")
    if (columns.objects is None) == (columns.mask is None):
        raise DataError("give objects_column or mask_column, one of the two")
    names = [name for name in (columns.image, columns.mask, columns.reference) if name]
    for name in names:
        dataset = dataset.cast_column(name, datasets.Image(decode=False))
    pixels = {name: _pixels(dataset, name, image_size, grey) for name in (columns.image, columns.reference) if name}
    if all((images == images[..., :1]).all() for images in pixels.values()):
        pixels = {name: images[..., :1] for name, images in pixels.items()}
    images = pixels[columns.image]
    groups = np.array(dataset[columns.group] if columns.group else np.arange(len(dataset)), str)
    references = pixels.get(columns.reference) if columns.reference else None
    if columns.mask is not None:
        return Images(_with_masks(dataset, columns.mask, images), references, groups)
    return Images(_with_boxes(dataset, str(columns.objects), columns.image, images), references, groups)


def cut(images: Images, test_fraction: float, num_good: int, seed: int) -> Parts:
    """Test groups are the first ones in the order of the BLAKE2b of their names, up to the share of images wanted.

    Good images are those without a defect; where every image has one, the references of the training images.

    Raises:
        DataError: where a part would be empty.
    """
    names, counts = np.unique(images.groups, return_counts=True)
    order = sorted(range(len(names)), key=lambda place: hashlib.blake2b(names[place].encode(), digest_size=8).digest())
    before = np.cumsum([0, *counts[order]])[:-1]
    tested = [names[place] for place, count in zip(order, before, strict=True) if count < test_fraction * len(images)]
    test = np.isin(images.groups, tested)
    bad = images.labelled.defective
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
    return Parts(
        images.select(np.flatnonzero(test)),
        tuple(str(name) for name in tested),
        np.flatnonzero(~test),
        defective,
        good.select(shuffled[:kept]),
        good.select(shuffled[kept : 2 * kept]),
    )


def rows(images: Images) -> datasets.Dataset:
    """As a data set with the columns image, objects or mask, and reference."""
    labelled = images.labelled
    table: dict[str, list] = {"image": [picture(pixels) for pixels in labelled.images]}
    features: dict = {"image": datasets.Image()}
    if labelled.boxes is not None and labelled.categories is not None:
        table["objects"] = [
            [{"bbox": box.tolist(), "category": int(kind)} for box, kind in zip(boxes, kinds, strict=True)]
            for boxes, kinds in zip(labelled.boxes, labelled.categories, strict=True)
        ]
        category = datasets.ClassLabel(names=list(labelled.class_names))
        box = datasets.List(datasets.Value("float32"), length=4)
        features["objects"] = datasets.List({"bbox": box, "category": category})
    else:
        table["mask"] = [Image.fromarray(mask) for mask in labelled.masks]
        features["mask"] = datasets.Image()
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


def _pixels(dataset: datasets.Dataset, column: str, image_size: int | None, grey: bool) -> np.ndarray:
    read_ones = []
    for number, value in enumerate(dataset[column]):
        image = open_image(_source(value), f"{column} {number}")
        pixels = np.asarray(image.convert("L").convert("RGB") if grey else image.convert("RGB"))
        scale = 1.0 if image_size is None else image_size / max(pixels.shape[:2])
        if scale != 1:
            size = round(pixels.shape[1] * scale), round(pixels.shape[0] * scale)
            pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        read_ones.append(pixels)
    shapes = {pixels.shape for pixels in read_ones}
    if len(shapes) > 1:
        raise DataError(f"the images of column {column!r} have {len(shapes)} sizes: cut or resize them to one")
    return np.stack(read_ones)


def _source(value: dict) -> bytes:
    if value is None:
        raise DataError("a row has no image: leave it out")
    if value["bytes"] is not None:
        return value["bytes"]
    with open(value["path"], "rb") as file:
        return file.read()


def _with_masks(dataset: datasets.Dataset, column: str, images: np.ndarray) -> LabelledImages:
    sources = [(_source(value), f"{column} {number}") for number, value in enumerate(dataset[column])]
    meaning: MaskValues = survey_masks(sources, None)
    size = images.shape[2], images.shape[1]
    masks = [cv2.resize(meaning.read(source, name), size, interpolation=cv2.INTER_NEAREST) for source, name in sources]
    return LabelledImages(images, meaning.names or ("defect",), masks=np.stack(masks))


def _with_boxes(dataset: datasets.Dataset, column: str, image_column: str, images: np.ndarray) -> LabelledImages:
    category = dataset.features[column].feature["category"]
    if not isinstance(category, datasets.ClassLabel):
        raise DataError(f"the categories in {column!r} are no ClassLabel: cast them to one")
    boxes, categories = [], []
    for number, (objects, value) in enumerate(zip(dataset[column], dataset[image_column], strict=True)):
        with Image.open(io.BytesIO(_source(value))) as image:
            width, height = image.size
        scale = images.shape[2] / width
        checked = [checked_box(one["bbox"], (height, width), f"row {number}") for one in objects]
        boxes.append(np.array(checked, np.float32).reshape(-1, 4) * scale)
        categories.append(np.array([one["category"] for one in objects], np.int64))
    return LabelledImages(images, tuple(category.names), tuple(boxes), tuple(categories))
