"""The kind of images: all grey or all in colour, of the same depth, and what is white in 16 bits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from magical_hub.data.images import SIXTEEN_BITS, Intensity, open_image, read_header, read_pixels
from magical_hub.errors import DataError

GREY = {"1", "L", "LA", "I;16", "I;16B", "I;16L", "I", "F"}
"""Pillow's modes of grey images; those of others may still have equal channels."""
WIDE = {"I;16": "16 bits", "I;16B": "16 bits", "I;16L": "16 bits", "RGB;16": "16 bits", "I": "32 bits", "F": "floats"}
"""Depths of the modes of more than 8 bits a channel."""


def check_one_kind(images: Callable[[], Iterable[tuple[Path | bytes, str]]]) -> None:
    """Refuse images of which some are grey and others in colour, or some deeper than others.

    The headers of the files are read; where they differ, those that may be in colour are decoded, since equal channels
    are grey.

    Args:
        images: gives each image and what to call it in an error, as often as it is called.

    Raises:
        DataError: naming one of the rarer kind; or where a file is missing or no image.
    """
    modes, names = [], []
    for source, name in images():
        modes.append(read_header(source, name)[1])
        names.append(name)
    _check([f"has {WIDE.get(mode, '8 bits')} a channel" for mode in modes], names)
    if {*modes} & GREY and {*modes} - GREY:
        in_colour = (
            mode not in GREY and open_image(*image).mode == "RGB" for mode, image in zip(modes, images(), strict=True)
        )
        _check(["is in colour" if coloured else "is grey" for coloured in in_colour], names)


def range_of_16_bits(images: Iterable[tuple[Path | bytes, str]]) -> Intensity:
    """The range of 16-bit images: from 0 to the next 2^n - 1, of 8 to 16 bits, at or above the greatest value in them.

    Cameras of 10 or 12 bits write their values as they are into files of 16. Of other images the headers alone are
    read; without any of 16 bits the range is the whole one.

    Args:
        images: each, and what to call it in an error.

    Raises:
        DataError: where a file is missing or no image.
    """
    greatest = 0
    for source, name in images:
        if WIDE.get(read_header(source, name)[1]) == "16 bits":
            greatest = max(greatest, int(read_pixels(source, name).max()))
    return Intensity(0, 2 ** max(8, greatest.bit_length()) - 1) if greatest else SIXTEEN_BITS


def _check(kinds: Sequence[str], names: Sequence[str]) -> None:
    """Refuse images of more than one kind."""
    counts = Counter(kinds)
    if len(counts) < 2:
        return
    (common, most), *_, (rare, few) = counts.most_common()
    raise DataError(
        f"{names[kinds.index(rare)]} {rare} ({few} of {len(kinds)} images), and {names[kinds.index(common)]} "
        f"{common} ({most}): convert them to one kind, or leave the rarer ones out"
    )
