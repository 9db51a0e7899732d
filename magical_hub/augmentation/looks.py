"""What the images and masks of a dataset look like, so that synthetic ones can look the same; and bringing them there.

Only the headers of image files are read for it.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from magical_hub.data.columns import LabelledColumns, read_objects
from magical_hub.errors import DataError, first_line

MASKS_READ = 32
"""Masks that are decoded, to see which values mark a defect."""
_TO_16_BITS = 257  # 65535 = 257 * 255: undoes what `magical_hub.data.images` does to 16-bit grey


@dataclass(frozen=True)
class Look:
    """Size and mode of images, and of masks.

    Args:
        size: width and height in pixels.
        mode: Pillow's.
        mask_mode: of the masks; None where there are none.
        mask_value: what marks a defect; None where masks hold numbers of classes.
    """

    size: tuple[int, int]
    mode: str
    mask_mode: str | None = None
    mask_value: int | None = None

    def image(self, image: Image.Image) -> Image.Image:
        """A generated image, looking as the dataset's do."""
        if image.size != self.size:
            image = image.resize(self.size, Image.Resampling.LANCZOS)
        if self.mode.startswith("I"):
            wide = np.asarray(image.convert("L")).astype(np.int32) * _TO_16_BITS
            return Image.fromarray(wide.astype(np.uint16) if self.mode != "I" else wide)
        return image if image.mode == self.mode else image.convert(self.mode)

    def mask(self, mask: np.ndarray) -> Image.Image:
        """A mask (H, W) uint8 of values that the dataset uses, in its size and mode."""
        image = Image.fromarray(mask)
        if image.size != self.size:
            image = image.resize(self.size, Image.Resampling.NEAREST)
        if self.mask_mode == "1":
            return Image.fromarray(np.asarray(image) > 0)
        if self.mask_mode == "P":  # converting would take the values for brightnesses
            palette = Image.new("P", self.size)
            palette.putpalette([level for level in range(256) for _ in "RGB"])  # without one PNG keeps a bit a pixel
            palette.putdata(np.asarray(image).reshape(-1).tolist())
            return palette
        return image if image.mode == self.mask_mode else image.convert(self.mask_mode)


def look_at(rows: Iterable[Mapping[str, Any]], columns: LabelledColumns) -> Look:
    """The commonest size and mode of the images of rows that are not decoded; boxes and masks are checked meanwhile.

    Raises:
        DataError: where there is no image, one can't be read or has no range of values, a box leaves its image, or a
            mask has another size than its image.
    """
    seen: Counter[tuple[tuple[int, int], str]] = Counter()
    mask_modes: Counter[str] = Counter()
    mask_values: set[int] = set()
    for number, row in enumerate(rows):
        image = _header(row[columns.image], f"the image of row {number}")
        if image is None:
            continue
        seen[image.size, image.mode] += 1
        for box, _ in read_objects(row[columns.objects]) or () if columns.objects else ():
            _check_box(box, image.size, number)
        mask = _header(row[columns.mask], f"the mask of row {number}") if columns.mask else None
        if mask is None:
            continue
        if mask.size != image.size:
            raise DataError(
                f"the mask of row {number} is {mask.size[0]} x {mask.size[1]} and its image {image.size[0]} x "
                f"{image.size[1]} pixels: give masks of the size of their image"
            )
        mask_modes[mask.mode] += 1
        if mask_modes.total() <= MASKS_READ:
            mask_values.update(np.unique(np.asarray(mask)).astype(int).tolist())
    if not seen:
        raise DataError(f"column {columns.image!r} holds no image: give a dataset with images")
    (size, mode), _ = seen.most_common(1)[0]
    if mode == "F":
        raise DataError("the images hold floating-point pixels, of no known range: convert them to 8 or 16 bits")
    if columns.mask is None:
        return Look(size, mode)
    marks = mask_values - {0}
    one_value = (marks or {255}).pop() if len(marks) <= 1 else None
    return Look(size, mode, (mask_modes.most_common(1) or [("L", 0)])[0][0], one_value)


def _header(value: Any, name: str) -> Image.Image | None:
    """An image whose pixels are not read yet."""
    if value is None:
        return None
    try:
        return Image.open(io.BytesIO(value["bytes"]) if value["bytes"] is not None else value["path"])
    except (OSError, SyntaxError) as error:
        reason = first_line(error)
        raise DataError(f"{name} cannot be read ({reason}): replace it or leave its row out") from error


def _check_box(box: tuple[float, ...], size: tuple[int, int], number: int) -> None:
    x, y, width, height = box
    slack = 0.5  # a box may have been rounded
    if min(x, y) < -slack or x + width > size[0] + slack or y + height > size[1] + slack or min(width, height) < 0:
        raise DataError(
            f"the box {[round(side, 1) for side in box]} of row {number} leaves its image of {size[0]} x {size[1]} "
            "pixels: give x, y, width and height in pixels, inside the image"
        )
