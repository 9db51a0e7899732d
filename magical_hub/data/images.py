"""From an image file of any kind to the pixels of a canvas: right, or refused by name.

Everything in the program that opens an image opens it here.

| in the file | becomes |
| --- | --- |
| 1 bit, grey of 8 bits or fewer | grey |
| grey of 9 to 16 bits (TIFF with white as 0 included) | grey: 0 to 65535, or the intensity range, becomes 0 to 255 |
| RGB of 16 bits (PNG, or TIFF with pixels or planes in a row) | RGB, scaled in the same way |
| integers of 32 bits, signed integers, floating point | grey by the intensity range; refused without one |
| palette, RGB, YCbCr, LAB, HSV | RGB |
| RGB whose three channels are equal | grey |
| RGBA, LA, transparency in a palette | composited on black, then as above; refused where nothing is opaque |
| BMP of 32 bits whose fourth channel is 0 everywhere | RGB: that channel is padding |
| CMYK | RGB by Pillow's conversion without a colour profile |
| several frames | the first frame |
| an EXIF or TIFF orientation | applied: the size is what a viewer shows |
| a damaged EXIF block | ignored: the pixels are whole |
| PNG, JPEG, BMP, TIFF, WebP, GIF, PPM or JPEG 2000 under any name | read by what it is |
| any other format (PostScript, for which Pillow starts a program) | refused |

Grey becomes RGB by repeating it, and RGB becomes grey by ITU-R 601 luma, as the canvas wants.
"""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from magical_hub.errors import ConfigError, DataError, first_line

EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF", "PPM", "JPEG2000")
"""Pillow's names of what is read."""
LARGEST_TILE = 2**26
"""Pixels of a tile in a TIFF file: decoding one takes its memory, however small the image is."""
PLAIN_MODES = ("1", "L", "LA", "P", "RGB", "RGBA")
"""Pillow's, of up to 8 bits a channel, that a PNG file keeps."""
ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""The operation that turns an image upright, by its orientation."""
_TIFF_BITS, _TIFF_PHOTOMETRIC, _TIFF_SAMPLE_FORMAT = 258, 262, 339
_TIFF_TILE_WIDTH, _TIFF_TILE_LENGTH = 322, 323


@dataclass(frozen=True)
class Intensity:
    """The values that become black and white, for all images of a data set: 0 and 255 on the canvas.

    Values outside the range are clipped to it.

    Raises:
        ConfigError: where the range is empty or not finite.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if not (np.isfinite(self.low) and np.isfinite(self.high) and self.low < self.high):
            raise ConfigError(
                f"intensity_range is {self.low:g} {self.high:g}: give two numbers, the darker one first, as 0 4095"
            )

    @classmethod
    def of(cls, values: Any) -> Intensity | None:
        """The range of two numbers as a configuration holds them; None of None."""
        return None if values is None else cls(float(values[0]), float(values[1]))

    def to_8_bits(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels of any type scaled to 0 to 255 and rounded: uint8 of the same shape."""
        scaled = (pixels.astype(np.float64) - self.low) * (255 / (self.high - self.low))
        return scaled.clip(0, 255).round().astype(np.uint8)

    def from_8_bits(self, pixels: np.ndarray, dtype: Any) -> np.ndarray:
        """The reverse: grey levels 0 to 255 as values of the range, rounded where the type holds integers."""
        values = self.low + pixels.astype(np.float64) * ((self.high - self.low) / 255)
        return (values.round() if np.issubdtype(dtype, np.integer) else values).astype(dtype)


SIXTEEN_BITS = Intensity(0, 65535)
"""The range of 16-bit images where none is given or measured."""


class Values(NamedTuple):
    """The type of the pixels of images, and the least and the greatest finite value among them."""

    dtype: np.dtype
    low: float
    high: float

    @classmethod
    def of(cls, pixels: np.ndarray) -> Values:
        """The values of an array; the least is above the greatest where no value is finite."""
        finite = pixels[np.isfinite(pixels)] if pixels.dtype.kind == "f" else pixels
        low, high = (float(finite.min()), float(finite.max())) if finite.size else (np.inf, -np.inf)
        return cls(pixels.dtype, low, high)

    def joined(self, other: Values) -> Values:
        """The values of both; the type is that of the larger pixels."""
        dtype = max(self.dtype, other.dtype, key=lambda dtype: dtype.itemsize)
        return Values(dtype, min(self.low, other.low), max(self.high, other.high))


def read_pixels(source: Path | bytes, name: str) -> np.ndarray:
    """Read the pixels of an image at their full depth, oriented as a viewer shows them.

    Args:
        source: a file, or its bytes.
        name: what to call it in an error.

    Returns:
        (H, W) or (H, W, 3): uint8, uint16, int16, int32, uint32 or float32, as the file holds them. Transparency is
        composited on black.

    Raises:
        DataError: where the file is missing, truncated, no image, or of a kind that the table above refuses.
    """
    try:
        with _opened(source, name) as (image, file):
            return _pixels(image, file, name)
    except DataError as error:
        if not isinstance(error.__cause__, UnidentifiedImageError) or not _is_tiff(source):
            raise
    with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as file:
        return _by_tifffile(file, name)  # Pillow reads not all kinds of 16 bits


def _is_tiff(source: Path | bytes) -> bool:
    with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as file:
        return file.read(4) in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def read_numbers(source: Path | bytes, name: str) -> tuple[np.ndarray, str, list[int] | None]:
    """Read an image whose values are numbers and not brightnesses: a mask.

    Args:
        source: a file, or its bytes.
        name: what to call it in an error.

    Returns:
        The pixels as `read_pixels` gives them, but the numbers of a palette (and 0 and 1 of one bit) as they are
        stored; Pillow's mode, "JPEG" where the file's compression changes values; and the palette's colours.

    Raises:
        DataError: as `read_pixels`.
    """
    with _opened(source, name) as (image, file):
        if image.mode not in ("1", "P"):
            return _pixels(image, file, name), "JPEG" if image.format == "JPEG" else image.mode, None
        orientation = 1 if image.format == "TIFF" else _orientation(image)  # loading turns a TIFF
        numbers = _turned(np.asarray(image).astype(np.uint8), orientation)
        if image.mode == "1":
            return numbers, "1", None
        return numbers, "P", image.getpalette("RGB") or []


def open_image(
    source: Path | bytes, name: str, intensity: Intensity | None = None, sixteen_bits: Intensity = SIXTEEN_BITS
) -> Image.Image:
    """Open and decode an image as mode "L" or "RGB", 8 bits a channel.

    Args:
        source: a file, or its bytes.
        name: what to call it in an error.
        intensity: the values that become black and white; None: 0 and 255 of 8 bits, and `sixteen_bits`.
        sixteen_bits: those of 16-bit images where no intensity is given.

    Raises:
        DataError: as `read_pixels`, and where pixels have no known range and no intensity is given.
    """
    return grey_or_rgb(read_pixels(source, name), name, intensity, sixteen_bits)


def read_image(source: Path | bytes, name: str) -> Image.Image:
    """Read an image as it is stored, oriented as a viewer shows it, in a mode that a PNG file keeps.

    Returns:
        Mode "1", "L", "LA", "P", "RGB", "RGBA" or "I;16"; what is stored otherwise as `read_pixels` gives it.

    Raises:
        DataError: as `read_pixels`, and where no such mode holds the pixels.
    """
    with _opened(source, name) as (image, file):
        if image.mode in PLAIN_MODES and image.format != "BMP" and not _is_wide(image):
            image.load()  # which turns a TIFF
            method = None if image.format == "TIFF" else _UPRIGHT.get(_orientation(image))
            plain = image.copy() if method is None else image.transpose(method)
            plain.info.pop("exif", None)  # it would turn the image again
            return plain
        pixels = _pixels(image, file, name)
    if pixels.dtype.kind in "iu" and pixels.dtype.itemsize > 2 and pixels.min() >= 0 and pixels.max() <= 65535:
        pixels = pixels.astype(np.uint16)
    if pixels.dtype not in (np.uint8, np.uint16) or (pixels.dtype == np.uint16 and pixels.ndim == 3):
        kind = "is in colour of 16 bits a channel" if pixels.ndim == 3 else f"holds {pixels.dtype} pixels"
        raise DataError(
            f"{name} {kind}, which are not written as PNG: convert it to 8 bits, or grey to 16, or take the format hf "
            "or parquet, which keep files as they are"
        )
    return Image.fromarray(pixels)


def image_size(source: Path | bytes, name: str) -> tuple[int, int]:
    """Width and height of an image as a viewer shows it, from the header of its file alone.

    Raises:
        DataError: where it is missing or no image.
    """
    return read_header(source, name)[0]


def read_header(source: Path | bytes, name: str) -> tuple[tuple[int, int], str]:
    """Width and height of an image as a viewer shows it, and Pillow's mode, from the header of its file alone.

    The mode of colour of 16 bits a channel, which Pillow has none for, is "RGB;16".

    Raises:
        DataError: where it is missing or no image.
    """
    with _opened(source, name) as (image, file):
        width, height = image.size
        mode = "RGB;16" if image.mode in PLAIN_MODES and _is_wide(image) else image.mode
        turned = (
            image.format != "TIFF" and _has_exif(image, file) and _orientation(image) >= 5
        )  # a TIFF's size is turned
        return ((height, width) if turned else (width, height)), mode


def _is_wide(image: Any) -> bool:
    """Whether an image whose pixels are not read yet has more than 8 bits a channel in its file."""
    if image.format == "TIFF":
        return max(image.tag_v2.get(_TIFF_BITS, (1,))) > 8
    return any(";16" in str(tile[3]) for tile in image.tile) or image.mode.startswith(("I", "F"))


def _has_exif(image: Image.Image, file: Any) -> bool:
    """Whether a file may say how it is turned; Pillow decodes a PNG to find out."""
    if image.format != "PNG":
        return True
    place = file.tell()
    file.seek(0)
    content = file.read()
    file.seek(place)
    return b"eXIf" in content or b"Raw profile type exif" in content


def grey_or_rgb(
    pixels: np.ndarray, name: str, intensity: Intensity | None = None, sixteen_bits: Intensity = SIXTEEN_BITS
) -> Image.Image:
    """Pixels (H, W) or (H, W, 3) of any depth as an image of mode "L" or "RGB"; equal channels become grey.

    Intensities are as of `open_image`.

    Raises:
        DataError: where pixels have no known range and no intensity is given.
    """
    if intensity is None and pixels.dtype == np.uint16:
        intensity = sixteen_bits
    if intensity is not None:
        if pixels.dtype == np.uint8 and intensity.high > 255:
            raise DataError(
                f"{name} has 8 bits, and the intensity range of the data set ends at {intensity.high:g}: give "
                "images of one depth"
            )
        if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
            raise DataError(f"{name} holds pixels that are not finite: replace them by numbers, or leave it out")
        pixels = intensity.to_8_bits(pixels)
    elif pixels.dtype != np.uint8:
        kind = "floating-point" if pixels.dtype.kind == "f" else f"{pixels.dtype}"
        raise DataError(
            f"{name} holds {kind} pixels, which have no known range: give --intensity-range LOW HIGH, or convert it "
            "to 8 or 16 bits"
        )
    return Image.fromarray(np.ascontiguousarray(without_copies(pixels)))


def without_copies(pixels: np.ndarray) -> np.ndarray:
    """(H, W) where all three channels of (H, W, 3) are equal, else the pixels as they are."""
    if pixels.ndim == 3 and (pixels[..., :1] == pixels[..., 1:]).all():
        return np.ascontiguousarray(pixels[..., 0])
    return pixels


def to_canvas(image: Image.Image, height: int, width: int, channels: int) -> np.ndarray:
    """Resize to the canvas: a uint8 array of (channels, height, width)."""
    return as_array(fit(image, height, width, channels))


def fit(image: Image.Image, height: int, width: int, channels: int) -> Image.Image:
    """Resize to the canvas (Lanczos, antialiased), as mode "L" or "RGB"; the same image where it fits already."""
    mode = "L" if channels == 1 else "RGB"
    image = image if image.mode == mode else image.convert(mode)  # which copies, even to the same mode
    if image.size == (width, height):
        return image
    return image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3.0)


def as_array(image: Image.Image) -> np.ndarray:
    """The pixels of a mode "L" or "RGB": (channels, height, width) uint8."""
    pixels = np.asarray(image)
    return np.ascontiguousarray(pixels[None] if image.mode == "L" else pixels.transpose(2, 0, 1))


def pixels_of(image: Image.Image, name: str) -> np.ndarray:
    """The pixels of a decoded Pillow image of any mode, as `read_pixels` gives those of a file.

    Raises:
        DataError: where nothing of it is opaque.
    """
    if image.mode.startswith(("I", "F")):
        pixels = np.asarray(image)
        return pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        alpha = np.asarray(image.getchannel("A"))
        if not alpha.any():
            raise DataError(f"{name} is wholly transparent: save it without its transparency, or leave it out")
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, image).convert("RGB")
    return np.asarray(image.convert("L" if image.mode in ("1", "L") else "RGB"))


@contextmanager
def _opened(source: Path | bytes, name: str) -> Iterator[tuple[Image.Image, Any]]:
    """An image whose pixels are not read yet, and its file; all that goes wrong meanwhile in one line."""
    if isinstance(source, Path) and source.exists() and not source.is_file():
        raise DataError(f"{name} is not a regular file: leave it out of the data")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with (
                # A file object, never a path: Pillow maps an uncompressed TIFF that is opened by path, and scrambles
                # the rows of one that is turned.
                io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as file,
                Image.open(file, formats=FORMATS) as image,
            ):
                yield image, file
    except FileNotFoundError as error:
        raise DataError(f"{name} is missing: put it back, or leave it out of the data") from error
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise DataError(
            f"{name} is too large to decode at once ({first_line(error)}): make it a tiled TIFF and give image_size "
            "its own size, or cut or reduce it"
        ) from error
    except DataError:
        raise
    except (OSError, SyntaxError, EOFError, ValueError, TypeError, OverflowError, struct.error) as error:
        raise DataError(
            f"{name} cannot be read ({first_line(error)}): it may be truncated; replace it or leave it out"
        ) from error


def _pixels(image: Any, file: Any, name: str) -> np.ndarray:
    if image.format == "TIFF":
        return _tiff_pixels(image, file, name)
    wide_colour = any(";16" in str(tile[3]) for tile in image.tile) and not image.mode.startswith("I")
    orientation = _orientation(image)  # which loads a PNG
    if image.format == "PNG" and wide_colour:  # Pillow would cut it to 8 bits
        return _turned(_png_16_bit_colour(file, name), orientation)
    image.load()
    if image.format == "BMP" and image.mode == "RGBA" and not np.asarray(image.getchannel("A")).any():
        image = image.convert("RGB")
    return _turned(pixels_of(image, name), orientation)


def _tiff_pixels(image: Any, file: Any, name: str) -> np.ndarray:
    """The pixels of a TIFF: by Pillow where that reads it right, else by tifffile."""
    tags = image.tag_v2
    tile = int(tags.get(_TIFF_TILE_WIDTH, 0)) * int(tags.get(_TIFF_TILE_LENGTH, 0))
    if tile > LARGEST_TILE:
        raise DataError(f"{name} has tiles of {tile} pixels: save it with tiles of {LARGEST_TILE} pixels at most")
    bits = max(tags.get(_TIFF_BITS, (1,)))
    formats, photometric = tags.get(_TIFF_SAMPLE_FORMAT, (1,)), tags.get(_TIFF_PHOTOMETRIC)
    wide_colour = bits > 8 and image.mode not in ("I;16", "I;16B", "I", "F")
    unsigned_32 = bits == 32 and 1 in formats
    if wide_colour or unsigned_32 or (bits == 16 and 2 in formats):
        return _by_tifffile(file, name)
    if photometric == 0 and image.mode in ("I", "F"):
        raise DataError(f"{name} says that its {bits}-bit values are bright where they are 0: save it with black as 0")
    image.load()  # which turns it
    pixels = pixels_of(image, name)
    if photometric == 0 and bits > 8:  # Pillow inverts 8 bits and fewer alone
        return np.asarray((2**bits - 1) - pixels, pixels.dtype)
    return pixels


def _by_tifffile(file: Any, name: str) -> np.ndarray:
    """The first page of a TIFF by tifffile, as a viewer shows it: (H, W) or (H, W, 3)."""
    import tifffile

    try:
        file.seek(0)
        with tifffile.TiffFile(file) as tiff:
            page: Any = tiff.pages[0].aspage()
            pixels = page.asarray()
            photometric, planar = int(page.photometric), int(page.planarconfig)
            orientation = page.tags.get("Orientation")
    except Exception as error:  # decoders raise many kinds
        raise DataError(
            f"{name} cannot be read ({first_line(error)}): it may be truncated; replace it, or save it uncompressed"
        ) from error
    if planar == 2 and pixels.ndim == 3:
        pixels = np.moveaxis(pixels, 0, -1)
    if photometric == 0 and pixels.dtype.kind == "u":
        pixels = np.iinfo(pixels.dtype).max - pixels
        photometric = 1
    if photometric not in (1, 2) or pixels.ndim not in (2, 3) or pixels.shape[2:] not in ((), (3,)):
        raise DataError(f"{name} is a TIFF of a kind that is not read: save it as grey or RGB of 8 or 16 bits")
    pixels = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    return _turned(pixels, 1 if orientation is None else int(orientation.value))


def _png_16_bit_colour(file: Any, name: str) -> np.ndarray:
    """The pixels of a PNG of 16 bits a channel, which Pillow cuts to 8: (H, W, 3) uint16, transparency on black."""
    import cv2

    file.seek(0)
    pixels = cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16 or pixels.ndim != 3:
        raise DataError(f"{name} cannot be read: it may be truncated; replace it or leave it out")
    colour = pixels[..., 2::-1]
    if pixels.shape[2] == 4:
        alpha = pixels[..., 3:].astype(np.float64) / 65535
        if not alpha.any():
            raise DataError(f"{name} is wholly transparent: save it without its transparency, or leave it out")
        colour = (colour * alpha).round().astype(np.uint16)
    return np.ascontiguousarray(colour)


def _orientation(image: Image.Image) -> int:
    """1 to 8 as EXIF and TIFF number them; 1 where a damaged block does not say."""
    try:
        number = int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # of a damaged block many kinds
        return 1
    return number if 1 <= number <= 8 else 1


def _turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Stored pixels (H, W[, C]) as a viewer shows them."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)
