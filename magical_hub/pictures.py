"""Sheets of many images, which people look at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from magical_hub.files import written_whole


def picture_grid(images: np.ndarray, columns: int) -> np.ndarray:
    """Images (N, C, H, W) uint8 row by row on one sheet, (H, W) grey or (H, W, 3); the last row may be short."""
    count, channels, height, width = images.shape
    rows = -(-count // columns)
    sheet = np.zeros((rows * columns, channels, height, width), np.uint8)
    sheet[:count] = images
    sheet = sheet.reshape(rows, columns, channels, height, width).transpose(0, 3, 1, 4, 2)
    pixels = sheet.reshape(rows * height, columns * width, channels)
    return pixels[..., 0] if channels == 1 else pixels


def save_picture_grid(images: np.ndarray, path: Path, columns: int) -> None:
    """Write a `picture_grid` as a PNG, whole or not at all."""
    with written_whole(path) as beside:
        Image.fromarray(picture_grid(images, columns)).save(beside, format="PNG")
