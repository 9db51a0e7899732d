"""What the images and masks of a dataset are like, so that synthetic ones can be the same; and bringing them there."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from magical_hub.data.images import SIXTEEN_BITS, Intensity
from magical_hub.data.masks import MaskValues
from magical_hub.data.rows import LabelledRows
from magical_hub.errors import DataError

WIDE_TYPES = {"I;16": "<u2", "I;16B": ">u2", "I": "<i4", "F": "<f4"}
"""NumPy types of Pillow's modes of more than 8 bits a channel, which Pillow does not convert: it would clip them."""


@dataclass(frozen=True)
class ImageSpec:
    """Size, mode and intensities of images, and what their masks hold.

    Args:
        size: width and height in pixels.
        mode: Pillow's.
        intensity: the values that black and white stand for, of modes of more than 8 bits.
        masks: what the values of the masks mean; None where there are none.
    """

    size: tuple[int, int]
    mode: str
    intensity: Intensity | None = None
    masks: MaskValues | None = None

    def image(self, image: Image.Image) -> Image.Image:
        """A generated image ("L" or "RGB") in the size, mode and intensities of the dataset's."""
        if image.size != self.size:
            image = image.resize(self.size, Image.Resampling.LANCZOS)
        if self.intensity is not None:
            levels = np.asarray(image.convert("L"))
            return Image.fromarray(self.intensity.from_8_bits(levels, np.dtype(WIDE_TYPES[self.mode])))
        return in_mode(image, self.mode)

    def mask(self, marks: np.ndarray, before: Any = None) -> Image.Image:
        """A mask (H, W) of the numbers of classes, 0 for nothing, in the size, mode and values of the dataset's.

        Args:
            marks: (H, W).
            before: the mask of an image of the dataset that it is for, as of `MaskValues.image`.
        """
        assert self.masks is not None
        if marks.shape[::-1] != self.size:
            marks = np.asarray(Image.fromarray(marks).resize(self.size, Image.Resampling.NEAREST))
        return self.masks.image(marks, before)


def in_mode(image: Image.Image, mode: str) -> Image.Image:
    """An image of 8 bits a channel in another mode of 8 bits or fewer, without dithering."""
    if image.mode == mode:
        return image
    if mode == "P" and image.mode == "RGB":
        return image.quantize(256, dither=Image.Dither.NONE)
    return image.convert(mode, dither=Image.Dither.NONE)


def survey_images(rows: LabelledRows, intensity: Intensity | None = None) -> ImageSpec:
    """The commonest size and mode of the images of rows, and what their masks hold.

    Every box and the size of every mask is checked meanwhile. Of images the headers alone are read.

    Args:
        rows: of a dataset, or of a stream, whose first few are read.
        intensity: the range of values that the checkpoint was trained with; None: that of 8 or 16 bits.

    Raises:
        DataError: where there is no image, one can't be read or has no range of values, a box or a mask is invalid.
    """
    counted: Counter[tuple[tuple[int, int], str]] = Counter()
    for row in rows.over("image", "objects", "mask"):
        if row.stored("image") is not None:
            counted[row.header] += 1
            row.check_sizes()
    if not counted:
        raise DataError(f"column {rows.columns.image!r} holds no image: give a dataset with images")
    ((height, width), mode), _ = counted.most_common(1)[0]
    if mode == "RGB;16":
        raise DataError("the images are in colour of 16 bits a channel, which Pillow can't hold: convert them to 8")
    if mode not in WIDE_TYPES:
        intensity = None
    elif intensity is None:
        if mode in ("I", "F"):
            kind = "floating-point" if mode == "F" else "32-bit"
            raise DataError(
                f"the images hold {kind} pixels, which have no known range: train with --intensity-range LOW HIGH, or "
                "convert them to 8 or 16 bits"
            )
        intensity = SIXTEEN_BITS
    return ImageSpec((width, height), mode, intensity, rows.masks)
