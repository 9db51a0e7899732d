"""From an image file of any kind to the pixels of a canvas, by documented conversions.

| in the file | becomes |
| --- | --- |
| 1 bit, grey with or without alpha, 8 bits | grey |
| 16 bits grey (I;16, and I as Pillow opens some PNG and TIFF files) | grey, 0..65535 scaled to 0..255 |
| palette, RGB, YCbCr, LAB, HSV | RGB |
| RGBA, LA, transparency in a palette | composited on black, then as above |
| CMYK | RGB by Pillow's conversion without a colour profile |
| several frames | the first frame |
| an EXIF orientation | applied |
| 32-bit floating point | refused: there is no range to scale it from |

Grey becomes RGB by repeating it, and RGB becomes grey by ITU-R 601 luma, as the canvas wants.
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from magical_hub.errors import DataError

EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")


def open_image(source: Path | bytes, name: str) -> Image.Image:
    """Open and decode an image as mode "L" or "RGB".

    Args:
        source: a file, or its bytes.
        name: what to call it in an error.

    Raises:
        DataError: where the file is missing, truncated, no image, or of a kind that the table above refuses.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as file:
                file.load()
                ImageOps.exif_transpose(file, in_place=True)  # a copy of a large image is dear
                return grey_or_rgb(file, name)
    except FileNotFoundError as error:
        raise DataError(f"{name} is missing: put it back, or leave it out of the data") from error
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise DataError(
            f"{name} is too large to decode at once ({error}): make it a tiled TIFF and give image_size its own size "
            "(with magical-hub[large]), or cut or reduce it"
        ) from error
    except (OSError, SyntaxError, EOFError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{name} cannot be read ({error}): it may be truncated; replace it or leave it out") from error


def to_canvas(image: Image.Image, height: int, width: int, channels: int) -> np.ndarray:
    """Resize to the canvas: a uint8 array of (channels, height, width)."""
    return as_array(fit(image, height, width, channels))


def fit(image: Image.Image, height: int, width: int, channels: int) -> Image.Image:
    """Resize to the canvas (Lanczos, antialiased), as mode "L" or "RGB"; the same image where it fits already."""
    image = _as_mode(image, "L" if channels == 1 else "RGB")
    if image.size == (width, height):
        return image
    return image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3.0)


def as_array(image: Image.Image) -> np.ndarray:
    """The pixels of a mode "L" or "RGB": (channels, height, width) uint8."""
    pixels = np.asarray(image)
    return np.ascontiguousarray(pixels[None] if image.mode == "L" else pixels.transpose(2, 0, 1))


def grey_or_rgb(image: Image.Image, name: str) -> Image.Image:
    """A decoded image as mode "L" or "RGB", by the table above: each pixel for itself.

    Raises:
        DataError: where the table refuses it.
    """
    if image.mode == "F":
        raise DataError(f"{name} holds floating-point pixels, which have no known range: convert it to 8 or 16 bits")
    if image.mode.startswith("I"):
        pixels = np.clip(np.asarray(image), 0, 65535)
        return Image.fromarray((pixels // 257).astype(np.uint8))  # 65535 = 257 * 255
    if image.has_transparency_data:
        image = image.convert("RGBA")
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, image).convert("RGB")
        red, green, blue = (np.asarray(band) for band in image.split())
        return image.convert("L") if np.array_equal(red, green) and np.array_equal(green, blue) else image
    return _as_mode(image, "L" if image.mode in ("1", "L") else "RGB")


def _as_mode(image: Image.Image, mode: str) -> Image.Image:
    return image if image.mode == mode else image.convert(mode)  # which copies, even to the same mode
