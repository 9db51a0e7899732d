"""From the rows of a dataset, or images in memory, to labelled images: all at one size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np
from PIL import Image

from magical_hub.boxes import Box
from magical_hub.data.columns import find_columns
from magical_hub.data.images import Intensity, open_image
from magical_hub.data.kinds import range_of_16_bits
from magical_hub.data.rows import ONE_CLASS, LabelledRow, LabelledRows
from magical_hub.detectors.labelled import LabelledImages
from magical_hub.errors import DataError

if TYPE_CHECKING:
    import datasets

QUARTER = 0.25
"""Of a pixel of a mask that is made smaller, the share that a defect must cover."""
LONGER_SIDE = {"boxes": 256, "masks": 128}
"""Pixels of the longer side that detectors of boxes and of masks are trained at, unless another is wanted."""

Marks = np.ndarray | Sequence[tuple[Box, str]]
"""The mask of an image (H, W) uint8, 0 for no defect, else 1 + the place of the class; or boxes x, y, width, height in
pixels and the names of their classes."""


def read_labelled(
    dataset: datasets.Dataset,
    image_column: str = "image",
    objects_column: str | None = None,
    mask_column: str | None = None,
    mask_values: Mapping[int, str] | None = None,
    longer_side: int | None = None,
    grey: bool = False,
    sixteen_bits: Intensity | None = None,
) -> LabelledImages:
    """The images of a dataset with their boxes or their masks.

    Args:
        dataset: with a column of images, and one of objects (`bbox` and `category`) or of masks.
        image_column, objects_column, mask_column: their names; objects or masks, one of the two.
        mask_values: names of the classes that the values of the masks stand for.
        longer_side: in pixels, that images are resized to, boxes and masks with them; None leaves them.
        grey: convert colours to grey; where all images are grey this is done anyway.
        sixteen_bits: the values of 16-bit images that become black and white; None: from 0 to the next 2^n - 1 at or
            above the greatest value of these images. Data sets that are compared must be given the same.

    Raises:
        DataError: where a column is missing, an image or a label cannot be read, or the images differ in size.
    """
    columns = find_columns(dataset.features, image_column, None, objects_column, mask_column)
    return labelled_rows(LabelledRows(dataset, columns, mask_values), longer_side, grey, sixteen_bits)


def labelled_rows(
    rows: LabelledRows, longer_side: int | None = None, grey: bool = False, sixteen_bits: Intensity | None = None
) -> LabelledImages:
    """The images of rows with their boxes or their masks; see `read_labelled`.

    A null mask is that of a good image where its class says so: see `LabelledRows.kinds`.

    Raises:
        DataError: as `read_labelled`.
    """
    if (rows.columns.objects is None) == (rows.columns.mask is None):
        raise DataError("give objects_column or mask_column, one of the two")
    names = rows.defect_names if rows.masks is None else rows.masks.names or (ONE_CLASS,)
    sixteen_bits = sixteen_bits or range_of_16_bits(row.image for row in rows.over("image"))
    items = (
        (open_image(*row.image, sixteen_bits=sixteen_bits), row.image[1], _marks_of(row, rows))
        for row in rows.over("image", "label", "objects", "mask")
    )
    return labelled_arrays(items, names, longer_side, grey)


def _marks_of(row: LabelledRow, rows: LabelledRows) -> Marks:
    if rows.masks is None:
        if row.objects is None:
            raise DataError(f"the objects of {row.name} are null: give an empty list where there is no defect")
        return [(item.box, item.category) for item in row.objects]
    if row.marked is not None:
        return row.marked
    if row.number not in rows.kinds.good:
        raise DataError(
            f"the mask of {row.name} is null: leave the row out; for a mask without a defect name a black image"
        )
    return np.zeros(row.size, np.uint8)


def labelled_arrays(
    items: Iterable[tuple[Image.Image, str, Marks]],
    class_names: Sequence[str],
    longer_side: int | None = None,
    grey: bool = False,
) -> LabelledImages:
    """Images with their boxes or their masks: what `read_labelled` gives of them as a dataset.

    Args:
        items: images of mode "L" or "RGB", what to call each in an error, and its boxes or its mask.
        class_names: of the defects.
        longer_side, grey: as of `read_labelled`.

    Raises:
        DataError: where the images differ in size.
    """
    masks: list[np.ndarray] = []
    boxes: list[np.ndarray] = []
    kinds: list[np.ndarray] = []

    def images() -> Iterator[tuple[Image.Image, str]]:
        for image, name, marks in items:
            height, width = _resized_size(image, longer_side)
            if isinstance(marks, np.ndarray):
                masks.append(_resized(marks, height, width, len(class_names)))
            else:
                scale = np.tile([width / image.width, height / image.height], 2)
                boxes.append((np.array([box for box, _ in marks]).reshape(-1, 4) * scale).astype(np.float32))
                kinds.append(np.array([class_names.index(category) for _, category in marks], np.int64))
            yield image, name

    stack = stacked(images(), longer_side, grey)
    if masks:
        return LabelledImages(stack, tuple(class_names), masks=np.stack(masks))
    return LabelledImages(stack, tuple(class_names), tuple(boxes), tuple(kinds))


def stacked(
    images: Iterable[tuple[Image.Image, str]], longer_side: int | None = None, grey: bool = False
) -> np.ndarray:
    """Images, and what to call each in an error, at one size: (N, H, W, 3) uint8, or (N, H, W, 1) where all are grey.

    Raises:
        DataError: where they differ in size.
    """
    read: list[np.ndarray] = []
    for image, name in images:
        pixels = np.asarray(image.convert("L") if grey else image)
        height, width = _resized_size(image, longer_side)
        if (height, width) != pixels.shape[:2]:
            how = cv2.INTER_AREA if max(height, width) < max(image.size) else cv2.INTER_LINEAR
            pixels = cv2.resize(pixels, (width, height), interpolation=how)
        read.append(pixels)
        if read[0].shape[:2] != pixels.shape[:2]:
            raise DataError(
                f"{name} is {width} x {height} pixels and the first one {read[0].shape[1]} x {read[0].shape[0]}: cut "
                "or resize them to one size"
            )
    if all(pixels.ndim == 2 for pixels in read):
        return np.stack(read)[..., None]
    return np.stack([np.repeat(pixels[..., None], 3, axis=-1) if pixels.ndim == 2 else pixels for pixels in read])


def longer_side_of(rows: LabelledRows, wanted: int | None) -> int:
    """Pixels of the longer side of images for detectors: as wanted, or by their labels; never more than it is."""
    return min(max(rows[0].size), wanted or LONGER_SIDE["boxes" if rows.columns.mask is None else "masks"])


def _resized_size(image: Image.Image, longer_side: int | None) -> tuple[int, int]:
    """Height and width of an image whose longer side is to have so many pixels."""
    scale = 1.0 if longer_side is None else longer_side / max(image.size)
    return max(1, round(image.height * scale)), max(1, round(image.width * scale))


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
