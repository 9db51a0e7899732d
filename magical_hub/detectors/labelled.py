"""Images with the boxes or masks of their defects, as arrays in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from magical_hub.errors import DataError


@dataclass(frozen=True)
class LabelledImages:
    """Images of one size, each with its boxes or its mask.

    Attributes:
        images: (N, H, W, C) uint8.
        class_names: of the defects.
        boxes: of each image (n, 4) float32: x, y, width, height in pixels; None where there are masks.
        categories: of each image (n,) int64, places in `class_names`; None where there are masks.
        masks: (N, H, W) uint8, 0 for no defect, else 1 + the place in `class_names`; None where there are boxes.

    Raises:
        DataError: where neither or both of boxes and masks are given, or the counts differ.
    """

    images: np.ndarray
    class_names: tuple[str, ...]
    boxes: tuple[np.ndarray, ...] | None = None
    categories: tuple[np.ndarray, ...] | None = None
    masks: np.ndarray | None = None

    def __post_init__(self) -> None:
        if (self.boxes is None) == (self.masks is None) or (self.boxes is None) != (self.categories is None):
            raise DataError("a detector learns boxes with categories, or masks: give one of the two")
        if self.images.ndim != 4 or self.images.dtype != np.uint8:
            raise DataError(f"images are (N, H, W, C) uint8, not {self.images.shape} {self.images.dtype}")
        counts = {len(values) for values in (self.boxes, self.categories, self.masks) if values is not None}
        if counts != {len(self.images)}:
            raise DataError(f"{len(self.images)} images have labels for {sorted(counts)}: give one to each image")

    def __len__(self) -> int:
        return len(self.images)

    @property
    def defective(self) -> np.ndarray:
        """(N,) bool: whether an image has a defect."""
        if self.boxes is not None:
            return np.array([len(some) > 0 for some in self.boxes], bool)
        assert self.masks is not None
        return np.asarray(self.masks.reshape(len(self), -1).any(1))

    @property
    def sha256(self) -> str:
        """Of all that a detector learns from or is tested on."""
        found = hashlib.sha256(repr((self.images.shape, self.class_names)).encode())
        for array in (self.images, self.masks, *(self.boxes or ()), *(self.categories or ())):
            found.update(b"none" if array is None else repr(array.shape).encode() + array.tobytes())
        return found.hexdigest()

    def select(self, indices: Sequence[int] | np.ndarray) -> LabelledImages:
        """The images at these places, in this order."""
        places = np.asarray(indices, np.int64)
        return replace(
            self,
            images=self.images[places],
            boxes=None if self.boxes is None else tuple(self.boxes[place] for place in places),
            categories=None if self.categories is None else tuple(self.categories[place] for place in places),
            masks=None if self.masks is None else self.masks[places],
        )

    def __add__(self, other: LabelledImages) -> LabelledImages:
        """These images, then the others.

        Raises:
            DataError: where their sizes, classes or kinds of label differ.
        """
        if self.images.shape[1:] != other.images.shape[1:] or self.class_names != other.class_names:
            raise DataError("images of different sizes, channels or classes cannot be joined")
        if self.masks is not None and other.masks is not None:
            masks = np.concatenate([self.masks, other.masks])
            return replace(self, images=np.concatenate([self.images, other.images]), masks=masks)
        if self.boxes is None or other.boxes is None or self.categories is None or other.categories is None:
            raise DataError("images with boxes and images with masks cannot be joined")
        return replace(
            self,
            images=np.concatenate([self.images, other.images]),
            boxes=self.boxes + other.boxes,
            categories=self.categories + other.categories,
        )
