"""Strong classical augmentation of labelled images, as a user of albumentations would set it up."""

from __future__ import annotations

import os
from typing import Any

from magical_hub.extras import extra

MIN_VISIBLE = 0.5
"""A box of which less than this is left after a crop goes."""


def check_packages() -> None:
    """Refuse to begin where what training a detector needs is not installed.

    Raises:
        MissingPackageError: naming the extra.
    """
    with extra("eval"):
        import albumentations  # noqa: F401


def classical(crop: tuple[int, int] | None, strong: bool, quarter_turns: bool, boxes: bool, seed: int) -> Any:
    """An `albumentations.Compose` of (H, W, C) uint8 images with `bboxes` and `categories`, or a `mask`.

    Args:
        crop: height and width of the part of an image that is trained on, a defect in it where there is one; None
            takes the whole image.
        strong: mirrors, small turns, scale, brightness, contrast, blur and noise; else the crop alone.
        quarter_turns: whether images may be turned by quarters; else they are only mirrored.
        boxes: whether there are boxes, in pixels (x, y, width, height); else there are masks.
        seed: of all that is random.
    """
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # its import would ask the network for a newer release
    with extra("eval"):
        import albumentations as A

    steps: list[Any] = []
    if crop is not None and boxes:
        steps.append(A.AtLeastOneBBoxRandomCrop(height=crop[0], width=crop[1], erosion_factor=0.2))
    elif crop is not None:
        steps.append(A.CropNonEmptyMaskIfExists(height=crop[0], width=crop[1]))
    if strong:
        steps += [
            *([A.D4(p=1)] if quarter_turns else [A.HorizontalFlip(p=0.5), A.VerticalFlip(p=0.5)]),
            A.Affine(scale=(0.9, 1.1), translate_percent=(-0.05, 0.05), rotate=(-5, 5), border_mode=1, p=0.4),
            A.RandomBrightnessContrast(0.25, 0.25, p=0.6),
            A.GaussianBlur(blur_limit=(3, 3), p=0.1),
            A.GaussNoise(std_range=(0.01, 0.04), p=0.15),
        ]
    more: dict[str, Any] = {}
    if boxes:
        more["bbox_params"] = A.BboxParams(
            format="coco", label_fields=["categories"], min_visibility=MIN_VISIBLE, clip=True
        )
    return A.Compose(steps or [A.NoOp()], seed=seed, **more)
