"""Sheets of many images, which people look at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from magical_hub.files import written_whole


def save_picture_grid(images: np.ndarray, path: Path, columns: int) -> None:
    """Write images (N, C, H, W) uint8 as one PNG, row by row, whole or not at all; the last row may be short."""
    count, channels, height, width = images.shape
    rows = -(-count // columns)
    sheet = np.zeros((rows * columns, channels, height, width), np.uint8)
    sheet[:count] = images
    sheet = sheet.reshape(rows, columns, channels, height, width).transpose(0, 3, 1, 4, 2)
    pixels = sheet.reshape(rows * height, columns * width, channels)
    with written_whole(path) as beside:
        Image.fromarray(pixels[..., 0] if channels == 1 else pixels).save(beside, format="PNG")
