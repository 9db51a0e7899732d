"""What good images say about how defects may be put onto them: whether they are aligned, and may be mirrored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from magical_hub.defects.pixels import grey
from magical_hub.defects.settings import PaintSettings

SIDE = 32
"""Pixels of the images that are compared."""
ALIGNED = 0.5
"""Correlation of an image with the mean of the others from which on images count as aligned."""
SYMMETRIC = 0.9
"""Of the correlation that an image must keep when it is mirrored or turned."""
TOGETHER = 24.0
"""Pixels: defects of images that are not aligned stay together where they are closer than this."""


@dataclass(frozen=True)
class Alignment:
    """How good images agree.

    Attributes:
        size: height and width of all of them; None where they differ.
        correlation: mean correlation of an image with the mean of the others, 0 where sizes differ.
        mirrored, turned: the same with the image mirrored (the worse way counts), and turned by a quarter.
    """

    size: tuple[int, int] | None
    correlation: float
    mirrored: float
    turned: float

    @property
    def aligned(self) -> bool:
        """Whether the same place is the same part of the product."""
        return self.correlation >= ALIGNED


def measure_alignment(images: Sequence[np.ndarray]) -> Alignment:
    """Measure good images, at SIDE x SIDE pixels."""
    sizes = {image.shape[:2] for image in images}
    if len(sizes) != 1 or len(images) < 2:
        return Alignment(sizes.pop() if len(sizes) == 1 else None, 0.0, 0.0, 0.0)
    small = np.stack([cv2.resize(grey(image), (SIDE, SIDE), interpolation=cv2.INTER_AREA) for image in images])
    size = sizes.pop()

    def agreement(varied: np.ndarray) -> float:
        others = (small.sum(axis=0) - small) / (len(small) - 1)
        a, b = _standardised(varied), _standardised(others)
        return float((a * b).mean())

    mirrored = min(agreement(small[:, :, ::-1]), agreement(small[:, ::-1]))
    turned = agreement(small.transpose(0, 2, 1)[:, ::-1]) if size[0] == size[1] else 0.0
    return Alignment(size, agreement(small), mirrored, turned)


def propose(alignment: Alignment, referenced: bool, outlined: bool) -> PaintSettings:
    """Settings that did best where they were measured (see docs/defects.md).

    Args:
        alignment: of the good images.
        referenced: whether most examples have a reference that shows the same object.
        outlined: whether the masks of the examples were given. They need no surroundings that match then, since
            none come with them; those of boxes bring a rim of what lay around the defect.
    """
    enough = SYMMETRIC * alignment.correlation
    mirrors = not alignment.aligned or alignment.mirrored >= enough
    turns = not alignment.aligned or alignment.turned >= enough
    shift = None
    if alignment.aligned and alignment.size is not None:
        shift = near(alignment.size)
    if referenced:
        return PaintSettings("difference", mirrors, turns, shift, keep_together=False, fit=0.4, feather=0.0)
    within = None if alignment.aligned else TOGETHER
    settings = PaintSettings("matched", mirrors, turns, shift, together_within=within, feather=0.0, visible=0.0)
    return replace(settings, composition="copied", max_shift=None, fit=None) if outlined else settings


def near(size: tuple[int, int]) -> float:
    """How many pixels defects of aligned images are moved at most: an eighth of the shorter side."""
    return float(round(min(size) / 8))


def _standardised(images: np.ndarray) -> np.ndarray:
    flat = images.reshape(len(images), -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    return flat / np.maximum(flat.std(axis=1, keepdims=True), 1e-6)
