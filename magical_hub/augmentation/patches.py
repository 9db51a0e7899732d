"""Generated defects cut out of their images: the difference between an image with a defect and the same without."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from magical_hub.augmentation.keeping import drop_reasons
from magical_hub.augmentation.labels import LabelColumn, largest
from magical_hub.augmentation.plan import SampleRequest, pipeline_arguments, try_seed
from magical_hub.augmentation.rows import RowEncoder
from magical_hub.boxes import Box, box_of
from magical_hub.conditions import LabelNames
from magical_hub.errors import AugmentationError
from magical_hub.pipeline import MagicalPipeline

MODES = ("L", "RGB", "I;16", "I;16B", "I")
"""The modes of images that numbers can be added to."""
FADE = 1.0
"""Pixels over which a patch fades out around its mask: the difference continues there, and an edge would show."""


@dataclass(frozen=True)
class Patch:
    """A defect to be added to an image.

    Args:
        delta: (h, w) or (h, w, 3) int32, to be added to the pixels from row `top` and column `left` on.
        mask: (h, w) uint8, not 0 where the defect is.
        top, left: in pixels of the dataset's images.
        box: of the defect, in the same.
        defect: its name.
        values: what columns of image classes hold for the image that it comes from.
    """

    delta: np.ndarray
    mask: np.ndarray
    top: int
    left: int
    box: Box
    defect: str
    values: Mapping[str, Any]


def make_patches(pipe: MagicalPipeline, encoder: RowEncoder, count: int) -> list[Patch]:
    """Patches of every defect of the checkpoint, in turn; those that are not verified are left out.

    Raises:
        AugmentationError: where none is left.
    """
    defects = LabelNames.of(pipe.generator.config).defects
    pipe = copy.copy(pipe)
    pipe.set_progress_bar_config(disable=True)
    column = LabelColumn(dict.fromkeys(defects), is_defect=True)
    requests = [SampleRequest(number, defects[number % len(defects)]) for number in range(count)]
    patches: list[Patch] = []
    for first in range(0, count, encoder.batch_size):
        some = requests[first : first + encoder.batch_size]
        seeds = [try_seed(encoder.seed, request.number, 0) for request in some]
        arguments = pipeline_arguments(some, seeds, column, pipe.generator.config)
        output: Any = pipe(seeds=seeds, images_per_batch=len(some), masks=True, **arguments)
        defect_free: Any = pipe(seeds=seeds, images_per_batch=len(some), **{**arguments, "defects": {}})
        for number, reason in enumerate(drop_reasons(encoder.keep, pipe, output)):
            annotation, mask = output.annotations[number], output.masks[number]
            if not reason and annotation["objects"] and mask.any():
                patches.append(_patch(encoder, output.images[number], defect_free.images[number], mask, annotation))
    if not patches:
        raise AugmentationError(f"of {count} generated defects none is visible: train the generator longer")
    return patches


def _patch(
    encoder: RowEncoder, image: Image.Image, defect_free: Image.Image, mask: np.ndarray, annotation: Mapping[str, Any]
) -> Patch:
    spec = encoder.spec
    with_it, without = (np.asarray(spec.image(each)).astype(np.int32) for each in (image, defect_free))
    own = Image.fromarray(mask).resize(spec.size, Image.Resampling.NEAREST)
    marked = np.asarray(own)
    edge = np.asarray(Image.fromarray((marked > 0).astype(np.uint8) * 255).filter(ImageFilter.GaussianBlur(FADE)))
    x, y, width, height = (int(side) for side in box_of(edge > 0))
    there = slice(y, y + height), slice(x, x + width)
    opacity = np.where(marked > 0, 1.0, edge / 255)[there]
    delta = (with_it - without)[there]
    shown = (delta * (opacity if delta.ndim == 2 else opacity[..., None])).round().astype(np.int32)
    values = {name: column.value(annotation) for name, column in encoder.labels.items() if not column.is_defect}
    return Patch(shown, marked[there].copy(), y, x, box_of(marked > 0), largest(annotation["objects"]), values)
