"""Perceptual hashes: near-duplicates among many images, cheaply. A hint, not a test."""

from __future__ import annotations

import numpy as np
from PIL import Image

from magical_hub.extras import extra

SIDE = 16
"""Bits a side: aligned images of one product agree in most of the usual 8 x 8."""
NEAR = 16
"""The bits, of 256, that may differ between near-duplicates: the same picture brighter, or saved again."""


def perceptual_hashes(images: np.ndarray) -> np.ndarray:
    """Hashes of grey images (n, H, W) uint8 by the signs of their low frequencies: (n, 32) uint8, 256 bits each."""
    with extra("eval"):
        import imagehash

    return np.stack([np.packbits(imagehash.phash(Image.fromarray(image), hash_size=SIDE).hash) for image in images])


def near_pairs(left: np.ndarray, right: np.ndarray, chunk: int = 256) -> np.ndarray:
    """Pairs of hashes that differ by few bits: (n, 3) of row left, row right and bits, the nearest first."""
    found = []
    for first in range(0, len(left), chunk):
        bits = np.bitwise_count(left[first : first + chunk, None] ^ right[None]).sum(2, dtype=np.int64)
        rows, cols = np.nonzero(bits <= NEAR)
        found.append(np.stack([rows + first, cols, bits[rows, cols]], axis=1))
    pairs = np.concatenate(found)
    return pairs[np.argsort(pairs[:, 2], kind="stable")]
