"""From a dataset to labelled images: all at one size, in memory."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from PIL import Image

from magical_hub.boxes import Box, checked_box
from magical_hub.data.columns import (
    file_of,
    find_columns,
    object_fields,
    read_objects,
    row_name,
    stored_values,
    undecoded,
)
from magical_hub.data.images import image_size, open_image
from magical_hub.data.masks import check_mask_size, survey_masks
from magical_hub.detectors.labelled import LabelledImages
from magical_hub.errors import DataError

if TYPE_CHECKING:
    import datasets

QUARTER = 0.25
"""Of a pixel of a mask that is made smaller, the share that a defect must cover."""


def read_labelled(
    dataset: datasets.Dataset,
    image_column: str = "image",
    objects_column: str | None = None,
    mask_column: str | None = None,
    mask_values: Mapping[int, str] | None = None,
    longer_side: int | None = None,
    grey: bool = False,
) -> LabelledImages:
    """The images of a dataset with their boxes or their masks.

    Args:
        dataset: with a column of images, and one of objects (`bbox` and `category`, a ClassLabel) or of masks.
        image_column, objects_column, mask_column: their names; objects or masks, one of the two.
        mask_values: names of the classes that the values of the masks stand for.
        longer_side: in pixels, that images are resized to, boxes and masks with them; None leaves them.
        grey: convert colours to grey; where all images are grey this is done anyway.

    Raises:
        DataError: where a column is missing, an image or a label cannot be read, or the images differ in size.
    """
    (images,) = read_images(dataset, [image_column], longer_side, grey)
    return with_labels(dataset, images, image_column, objects_column, mask_column, mask_values)


def read_images(
    dataset: datasets.Dataset, columns: Sequence[str], longer_side: int | None = None, grey: bool = False
) -> list[np.ndarray]:
    """The images of each column, (N, H, W, 3) uint8, or (N, H, W, 1) where all of all columns are grey; see above."""
    for column in columns:
        find_columns(dataset.features, column, None, None, None)
    pixels = [_pixels(dataset, column, longer_side, grey) for column in columns]
    if all((images == images[..., :1]).all() for images in pixels):
        return [np.ascontiguousarray(images[..., :1]) for images in pixels]
    return pixels


def with_labels(
    dataset: datasets.Dataset,
    images: np.ndarray,
    image_column: str = "image",
    objects_column: str | None = None,
    mask_column: str | None = None,
    mask_values: Mapping[int, str] | None = None,
    without_mask: Collection[int] = (),
) -> LabelledImages:
    """Images (N, H, W, C) that were read from a dataset, with its boxes or masks; see `read_labelled`.

    Args:
        dataset, image_column, objects_column, mask_column, mask_values: as there.
        images: of all rows.
        without_mask: numbers of rows whose mask is null because the image shows no defect.
    """
    if (objects_column is None) == (mask_column is None):
        raise DataError("give objects_column or mask_column, one of the two")
    find_columns(dataset.features, image_column, None, objects_column, mask_column)
    if mask_column is not None:
        return _with_masks(dataset, mask_column, image_column, mask_values, images, without_mask)
    assert objects_column is not None
    return _with_boxes(dataset, objects_column, image_column, images)


def _row_name(dataset: datasets.Dataset, number: int, image_column: str) -> str:
    """What to call a row by its image."""
    return row_name(number, undecoded(dataset, image_column)[number][image_column])


def _files(
    dataset: datasets.Dataset, column: str, image_column: str, left_out: Collection[int] = ()
) -> list[tuple[Path | bytes, str]]:
    """The files of a column of images, but for those of the rows left out, and what to call each in an error."""
    files = []
    for number, value in enumerate(undecoded(dataset, column)[column]):
        where = f"{column} of {row_name(number, value)}"
        if number in left_out:
            continue
        if value is None:
            where = f"{column} of {_row_name(dataset, number, image_column)}"
            raise DataError(f"{where} is null: leave the row out; for a mask without a defect name a black image")
        files.append((file_of(value), where))
    return files


def labelled_arrays(
    images: Sequence[tuple[np.ndarray, str]],
    class_names: Sequence[str],
    masks: Sequence[np.ndarray] | None = None,
    objects: Sequence[Sequence[tuple[Box, str]]] | None = None,
    longer_side: int | None = None,
) -> LabelledImages:
    """Images in memory with their boxes or their masks, in grey: what `read_labelled` gives of them as a dataset.

    Args:
        images: (H, W) or (H, W, 3) uint8, and what to call each in an error.
        class_names: of the defects.
        masks: of each image (H, W) uint8, 0 for no defect, else 1 + the place of the class in `class_names`.
        objects: boxes x, y, width, height in pixels and their classes; masks or objects, one of the two.
        longer_side: in pixels, that images are resized to, boxes and masks with them; None leaves them.

    Raises:
        DataError: where the images differ in size, or a box is invalid.
    """
    shown = ((Image.fromarray(pixels), name) for pixels, name in images)
    stack = np.ascontiguousarray(_stacked(shown, longer_side, grey=True)[..., :1])
    height, width = stack.shape[1:3]
    if masks is not None:
        resized = [_resized(mask, height, width, len(class_names)) for mask in masks]
        return LabelledImages(stack, tuple(class_names), masks=np.stack(resized))
    places = {name: place for place, name in enumerate(class_names)}
    found = [
        _scaled(items, places, pixels.shape[:2], (height, width), name)
        for items, (pixels, name) in zip(objects or (), images, strict=True)
    ]
    boxes, categories = tuple(own for own, _ in found), tuple(kinds for _, kinds in found)
    return LabelledImages(stack, tuple(class_names), boxes, categories)


def _pixels(dataset: datasets.Dataset, column: str, longer_side: int | None, grey: bool) -> np.ndarray:
    files = _files(dataset, column, column)
    return _stacked(((open_image(source, where), where) for source, where in files), longer_side, grey)


def _stacked(images: Iterable[tuple[Image.Image, str]], longer_side: int | None, grey: bool) -> np.ndarray:
    """Images, and what to call each in an error, at one size: (N, H, W, 3) uint8."""
    read: list[np.ndarray] = []
    for image, where in images:
        pixels = np.asarray(image.convert("L") if grey else image)
        scale = 1.0 if longer_side is None else longer_side / max(image.size)
        height, width = (max(1, round(side * scale)) for side in (image.height, image.width))
        if scale != 1:
            how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
            pixels = cv2.resize(pixels, (width, height), interpolation=how)
        read.append(np.repeat(pixels[..., None], 3, axis=-1) if pixels.ndim == 2 else pixels)
        if read[0].shape != read[-1].shape:
            raise DataError(
                f"{where} is {width} x {height} pixels and the first one {read[0].shape[1]} x {read[0].shape[0]}: cut "
                "or resize them to one size"
            )
    return np.stack(read)


def _with_masks(
    dataset: datasets.Dataset,
    column: str,
    image_column: str,
    mask_values: Mapping[int, str] | None,
    images: np.ndarray,
    without_mask: Collection[int],
) -> LabelledImages:
    files = _files(dataset, column, image_column, without_mask)
    meaning = survey_masks(files, mask_values)
    names = meaning.names or ("defect",)
    height, width = images.shape[1:3]
    masks = np.zeros(images.shape[:3], np.uint8)
    numbers = (number for number in range(len(dataset)) if number not in without_mask)
    shown = _files(dataset, image_column, image_column)
    for number, (mask, where) in zip(numbers, files, strict=True):
        marked = meaning.read(mask, where)
        check_mask_size(where, marked.shape, image_size(*shown[number])[::-1])
        masks[number] = _resized(marked, height, width, len(names))
    return LabelledImages(images, names, masks=masks)


def _resized(mask: np.ndarray, height: int, width: int, num_classes: int) -> np.ndarray:
    """A mask at another size: each pixel has the class that covers most of it, where that is a quarter at least.

    The nearest pixel would break up cracks, and half of a pixel would lose them.
    """
    if mask.shape == (height, width):
        return mask
    shrunk = height <= mask.shape[0] and width <= mask.shape[1]
    how = cv2.INTER_AREA if shrunk else cv2.INTER_LINEAR
    covered = [
        cv2.resize((mask == number).astype(np.float32), (width, height), interpolation=how)
        for number in range(1, 1 + num_classes)
    ]
    shares = np.stack(covered)
    return np.where(shares.max(0) >= QUARTER, 1 + shares.argmax(0), 0).astype(np.uint8)


def _with_boxes(dataset: datasets.Dataset, column: str, image_column: str, images: np.ndarray) -> LabelledImages:
    files = _files(dataset, image_column, image_column)
    rows = [read_objects(value, where) for value, (_, where) in zip(dataset[column], files, strict=True)]
    if None in rows:
        where = _row_name(dataset, rows.index(None), image_column)
        raise DataError(f"{column} of {where} is null: give an empty list where there is no defect")
    feature = (object_fields(dataset.features[column]) or {})["category"]
    values = stored_values(feature, (category for row in rows for _, category in row or ()), column)
    places = {stored: place for place, stored in enumerate(values.values())}
    boxes, categories = [], []
    for objects, (source, where) in zip(rows, files, strict=True):
        width, height = image_size(source, where)
        own, kinds = _scaled(objects or (), places, (height, width), images.shape[1:3], where)
        boxes.append(own)
        categories.append(kinds)
    return LabelledImages(images, tuple(values), tuple(boxes), tuple(categories))


def _scaled(
    objects: Sequence[tuple[Sequence[Any], Any]],
    places: Mapping[Any, int],
    size: tuple[int, ...],
    wanted: tuple[int, ...],
    where: str,
) -> tuple[np.ndarray, np.ndarray]:
    """The boxes (n, 4) float32 of an image of one size in another one, and the places (n,) int64 of their classes."""
    (height, width), (new_height, new_width) = size, wanted
    checked = [checked_box(box, (height, width), where) for box, _ in objects]
    unknown = [category for _, category in objects if category not in places]
    if unknown:
        raise DataError(f"{where} has a box of the category {unknown[0]!r}, which is not a class: name one")
    scale = np.tile([new_width / width, new_height / height], 2)
    boxes = (np.array(checked, np.float64).reshape(-1, 4) * scale).astype(np.float32)
    return boxes, np.array([places[category] for _, category in objects], np.int64)
