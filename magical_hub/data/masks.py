"""What the masks of a data set mark, and with which values: the one reading of masks in the program.

| values of the masks (beside 0, which is nothing) | mark |
| --- | --- |
| one value | one class |
| several from 128 of 255 up, such as 249 and 255 | one class: what is at least half as bright as white |
| more than 16 different ones (soft edges), or masks in JPEG files | the same |
| a few below 128, such as 1, 2, 3 | a class each, called "1", "2", "3" unless `mask_values` names them |
| 255 beside those | nothing: the value of what is left open ("void") |
| a few of both kinds, such as 127 and 255 | refused: `mask_values` must name them |

Of 16-bit masks 65535 is white. Of palettes the numbers count and not the colours, but that of white (as number 0) and
black marks what is white; masks in one colour (red on black) are read by their brightest channel, masks in several are
refused.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from pathlib import Path

import numpy as np
from PIL import Image

from magical_hub.boxes import Box
from magical_hub.data.images import pixels_of, read_numbers
from magical_hub.errors import DataError

logger = logging.getLogger(__name__)

FEW = 16
"""Different values up to which they can be numbers of classes."""


@dataclass(frozen=True)
class MaskValues:
    """What the values of a data set's masks mean.

    Attributes:
        names: of the defect classes that values stand for; None: there is one class, which is that of the image.
        values: that mark a defect, and
        classes: the class of each, from 1 on (1 where `names` is None).
        threshold: what is at least so bright is marked; None where each value has a meaning of its own.
        void: values that mark nothing.
        mode: Pillow's, of new masks.
        colour: which of red, green and blue masks in a colour have (1 or 0 each).
        palette: red, green and blue of each number of a palette, one after the other; None for others.
    """

    names: tuple[str, ...] | None
    values: tuple[int, ...]
    classes: tuple[int, ...]
    threshold: int | None = None
    void: tuple[int, ...] = ()
    mode: str = "L"
    colour: tuple[int, int, int] = (1, 1, 1)
    palette: tuple[int, ...] | None = None

    def read(self, mask: Path | bytes | Image.Image | np.ndarray, name: str) -> np.ndarray:
        """What a mask marks: (H, W) uint8, 0 nothing, else 1 + the number of the class (1 where `names` is None).

        Args:
            mask: a file, its bytes, an image of Pillow's, or the pixels of one, (H, W) or (H, W, C): those of bools
                mark the first class.
            name: what to call it in an error.

        Raises:
            DataError: where it cannot be read, or holds a value that stands for nothing.
        """
        numbers = self._numbers(mask, name)
        if self.threshold is not None:
            return (numbers >= self.threshold).astype(np.uint8)
        known = np.array([0, *self.values, *self.void])
        meaning = np.array([0, *self.classes, *(0 for _ in self.void)], np.uint8)
        order = np.argsort(known)
        place = np.searchsorted(known[order], numbers).clip(max=len(known) - 1)
        strange = known[order][place] != numbers
        if strange.any():
            value = numbers[strange].min()
            raise DataError(
                f"{name} holds the value {value}, which stands for no class: name it by --mask-values, for instance "
                f"{value}=crack"
            )
        return meaning[order][place]

    def inside(self, marked: np.ndarray, box: Box, category: str | None = None) -> np.ndarray:
        """The pixels in a box that a mask marks, those of a category alone where values stand for it: (H, W) bool.

        Args:
            marked: (H, W), as `read` gives it.
            box: inside the image.
            category: its name.
        """
        x, y, width, height = box
        there = slice(math.floor(y), math.ceil(y + height)), slice(math.floor(x), math.ceil(x + width))
        found = np.zeros(marked.shape, bool)
        names = self.names or ()
        found[there] = marked[there] == 1 + names.index(category) if category in names else marked[there] > 0
        return found

    def image(self, marked: np.ndarray, before: Path | bytes | Image.Image | np.ndarray | None = None) -> Image.Image:
        """A mask in the mode, the values and the colours of the data set's own.

        Args:
            marked: (H, W) integers, as `read` gives them; where `names` is None, whatever is not 0 is marked.
            before: a mask of the same size, whose void values stay where nothing is marked.
        """
        values = np.zeros(1 + max(self.classes), np.int64)
        for value, number in reversed([*zip(self.values, self.classes, strict=True)]):
            values[number] = value
        numbers = values[marked if self.names is not None else (marked > 0).astype(np.uint8)]
        if before is not None and self.void:
            old = self._numbers(before, "the mask before")
            check_mask_size("the mask before", old.shape, marked.shape)
            numbers = np.where((marked == 0) & np.isin(old, self.void), old, numbers)
        if self.mode == "1":
            return Image.fromarray(numbers > 0)
        if self.mode == "P":
            numbers = 1 - numbers if _white_is_0(self.palette) else numbers
            image = Image.fromarray(numbers.astype(np.uint8), mode="P")
            image.putpalette(self.palette or [level for level in range(256) for _ in "RGB"])
            return image
        if self.mode == "I;16":
            return Image.fromarray(numbers.astype(np.uint16))
        if self.mode == "L":
            return Image.fromarray(numbers.astype(np.uint8))
        return Image.fromarray((numbers[..., None] * np.array(self.colour)).astype(np.uint8)).convert(self.mode)

    def _numbers(self, mask: Path | bytes | Image.Image | np.ndarray, name: str) -> np.ndarray:
        """The values of a mask, (H, W)."""
        if isinstance(mask, Path | bytes):
            return _numbers(mask, name)[0]
        if isinstance(mask, Image.Image):
            pixels = np.asarray(mask).astype(np.uint8) if mask.mode in ("1", "P") else pixels_of(mask, name)
            return _styled(pixels, mask.mode, mask.getpalette("RGB") if mask.mode == "P" else None, name)[0]
        pixels = mask[..., 0] if mask.ndim == 3 and mask.shape[2] == 1 else mask
        if pixels.dtype == bool:
            return np.where(pixels, self.values[0], 0)
        if pixels.dtype.kind == "f" and (pixels == np.rint(pixels)).all():
            pixels = pixels.astype(np.int64)
        return _styled(pixels, self.mode, self.palette, name)[0]


def check_mask_size(name: str, mask: tuple[int, ...], image: tuple[int, ...]) -> None:
    """Raise a DataError unless a mask, called `name`, has the height and width of its image."""
    if mask != image:
        raise DataError(
            f"{name} is {mask[0]} x {mask[1]} and its image {image[0]} x {image[1]} pixels: give masks of the size of "
            "their image"
        )


def parse_mask_values(text: str) -> dict[int, str]:
    """Names of the classes that values of masks stand for, from VALUE=NAME,VALUE=NAME ...

    Raises:
        DataError: where the text is of another form.
    """
    found: dict[int, str] = {}
    for part in text.split(","):
        value, separator, name = part.partition("=")
        wrong = not separator or not value.strip().isdecimal() or not name.strip() or "=" in name
        if wrong or int(value) in found:
            raise DataError(f"--mask-values is {text!r}: write a number and a name for each class, as 1=dark,2=crack")
        found[int(value)] = name.strip()
    return found


def survey_masks(
    masks: Iterable[tuple[Path | bytes, str]], mask_values: Mapping[int, str] | None = None
) -> MaskValues:
    """Find out what the values of a data set's masks mean, by the table above.

    Where values are classes that nothing names, a warning says what they are called and how to name them.

    Args:
        masks: each mask and what to call it in an error.
        mask_values: names of the classes that values stand for; all other values that occur mark nothing.

    Raises:
        DataError: where a mask cannot be read, or the values can be taken in two ways.
    """
    counts: Counter[int] = Counter()
    styles: Counter[_Style] = Counter()
    for source, name in masks:
        numbers, style = _numbers(source, name)
        values, pixels = np.unique(numbers, return_counts=True)
        counts.update(dict(zip(values.tolist(), pixels.tolist(), strict=True)))
        styles[style] += 1 if (values > 0).any() else 0  # a mask that marks nothing has no colour
    del counts[0]
    if len({style.colour for style, marked in styles.items() if marked}) > 1:
        raise DataError(
            "the masks mark in several colours: save them as one channel with a number for each class, and name the "
            "numbers by --mask-values"
        )
    style = styles.most_common(1)[0][0] if styles else _Style("L")
    occurring = sorted(counts)
    top = 65535 if occurring and occurring[-1] > 255 else 255
    if mask_values is not None:
        return _named(mask_values, occurring, style)
    if not occurring:
        return style.meaning((1 if style.mode in ("1", "P") else top,))
    bright = [value for value in occurring if value > top // 2]
    dim = [value for value in occurring if value <= top // 2]
    if style.mode == "P":
        bright, dim = [value for value in occurring if value == top], [value for value in occurring if value < top]
    elif bright and len(occurring) > 1 and (not dim or len(occurring) > FEW or style.lossy):
        return style.meaning((max(bright, key=lambda value: counts[value]),), threshold=top // 2 + 1)
    if len(occurring) == 1:
        return style.meaning((occurring[0],))
    if bright not in ([], [top]) or len(dim) > FEW or (bright and dim[-1] > FEW):
        shown = ", ".join(map(str, occurring[:8])) + (" ..." if len(occurring) > 8 else "")
        raise DataError(
            f"the masks hold the values {shown}, which may be classes or soft edges: say what they are by "
            f"--mask-values, for instance {occurring[0]}=crack,{occurring[-1]}=crack"
        )
    if len(dim) == 1:
        return style.meaning((dim[0],), void=tuple(bright))
    names = tuple(map(str, dim))
    logger.warning(
        "the masks hold the values %s, so the classes of defects are called that: name them by --mask-values %s",
        ", ".join(names),
        ",".join(f"{name}=NAME" for name in names),
    )
    return replace(style.meaning(tuple(dim), void=tuple(bright)), names=names, classes=tuple(range(1, len(dim) + 1)))


@dataclass(frozen=True)
class _Style:
    """How masks are stored."""

    mode: str
    lossy: bool = False
    colour: tuple[int, int, int] = (1, 1, 1)
    palette: tuple[int, ...] | None = None

    def meaning(self, values: tuple[int, ...], threshold: int | None = None, void: tuple[int, ...] = ()) -> MaskValues:
        """Masks in this style of which all values mark one class."""
        classes = (1,) * len(values)
        return MaskValues(None, values, classes, threshold, void, self.mode, self.colour, self.palette)


def _named(mask_values: Mapping[int, str], occurring: list[int], style: _Style) -> MaskValues:
    named = isinstance(mask_values, Mapping) and all(isinstance(value, Integral) for value in mask_values)
    if not named or not mask_values or min(mask_values) < 1 or not all(mask_values.values()):
        raise DataError(
            "--mask-values gives each value of a defect, from 1 on, a name: write 1=crack,2=void, and leave 0 out"
        )
    if occurring and not {*occurring} & {*mask_values}:
        raise DataError(
            f"--mask-values names {', '.join(map(str, mask_values))}, and the masks hold "
            f"{', '.join(map(str, occurring[:8]))}: name values that occur"
        )
    names = tuple(dict.fromkeys(mask_values.values()))
    classes = tuple(1 + names.index(name) for name in mask_values.values())
    void = tuple(sorted({*occurring} - {*mask_values}))
    return replace(style.meaning(tuple(mask_values), void=void), names=names, classes=classes)


def _numbers(source: Path | bytes, name: str) -> tuple[np.ndarray, _Style]:
    """The values of a mask (H, W), and how they are stored."""
    return _styled(*read_numbers(source, name), name)


def _styled(pixels: np.ndarray, mode: str, palette: Sequence[int] | None, name: str) -> tuple[np.ndarray, _Style]:
    """The same of pixels, their mode and palette, as `read_numbers` gives them."""
    if pixels.dtype.kind == "f" or pixels.min(initial=0) < 0:
        raise DataError(f"{name} holds values that are not whole numbers from 0 on: save it with 8 or 16 bits")
    if palette is not None and _white_is_0(palette):
        return (pixels == 0).astype(np.uint8), _Style(mode, palette=tuple(palette))
    if palette is not None or mode == "1":
        return pixels, _Style(mode, palette=None if palette is None else tuple(palette))
    if pixels.ndim == 2:
        return pixels, _Style("L" if pixels.dtype == np.uint8 else "I;16", lossy=mode == "JPEG")
    if pixels.dtype != np.uint8:
        raise DataError(f"{name} is a mask in colour of 16 bits: save it as one channel with a number for each class")
    return _colour_numbers(pixels, name, "JPEG" if mode == "JPEG" else "RGBA" if mode == "RGBA" else "RGB")


def _white_is_0(palette: Sequence[int] | None) -> bool:
    """Whether a palette has white as number 0, and nothing but black beside: white is what it marks."""
    colours = palette or ()
    return len(colours) > 3 and min(colours[:3]) == 255 and not any(colours[3:])


def _colour_numbers(pixels: np.ndarray, name: str, mode: str) -> tuple[np.ndarray, _Style]:
    """The brightest channel of each pixel, and which channels the marks have."""
    numbers = pixels.max(axis=2)
    bright = pixels[numbers > 127] if (numbers > 127).any() else pixels[numbers > 0]
    bright = bright.astype(int)
    patterns = np.unique((2 * bright > bright.max(axis=1, keepdims=True)).astype(int), axis=0)
    if len(patterns) > 1:
        raise DataError(
            f"{name} marks in {len(patterns)} colours: save it as one channel with a number for each class, and name "
            "the numbers by --mask-values"
        )
    colour = tuple(patterns[0].tolist()) if len(patterns) else (1, 1, 1)
    return numbers, _Style("RGB" if mode == "JPEG" else mode, lossy=mode == "JPEG", colour=colour)
