"""Which synthetic images are kept: the verified ones, all, or those that a filter lets through."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from diffusers.image_processor import VaeImageProcessor
from scipy import ndimage

from magical_hub.annotations import NEIGHBOURS
from magical_hub.augmentation.settings import Filter, Keep
from magical_hub.conditions import LabelNames
from magical_hub.errors import ConfigError
from magical_hub.grid import Grid
from magical_hub.pipeline import MagicalPipeline, MagicalPipelineOutput

FOUND = 0.5
"""Share of a defect's sub-regions in which the verifier must find it."""
CERTAIN = 0.9
"""Probability from which on the verifier's finding counts in a sub-region without a defect."""
AT_ONCE = 256
"""Sub-regions in one pass of the verifier."""


def drop_reasons(keep: Keep, pipe: MagicalPipeline, output: MagicalPipelineOutput) -> list[str]:
    """Why each image is dropped, "" where it is kept.

    Raises:
        ConfigError: where a filter gives anything but a bool or a string per image.
    """
    count = len(output.images)
    if keep == "all":
        return [""] * count
    if keep == "verified":
        return ["" if there else "not verified" for there in verified(pipe, output)]
    assert callable(keep)
    annotations = output.annotations or [{} for _ in range(count)]
    return filter_reasons(keep, list(output.images), annotations)


def filter_reasons(keep: Filter, images: Sequence[Any], annotations: Sequence[dict[str, Any]]) -> list[str]:
    """Why a filter drops each image, "" where it keeps it; it gets images of one size at a time.

    Raises:
        ConfigError: where it gives anything but a bool or a string per image.
    """
    pixels = [np.asarray(image) for image in images]
    reasons = [""] * len(pixels)
    for shape in dict.fromkeys(array.shape for array in pixels):
        numbers = [number for number, array in enumerate(pixels) if array.shape == shape]
        found = _reasons(keep, np.stack([pixels[number] for number in numbers]), [annotations[n] for n in numbers])
        for number, reason in zip(numbers, found, strict=True):
            reasons[number] = reason
    return reasons


def _reasons(keep: Filter, images: np.ndarray, annotations: Sequence[dict[str, Any]]) -> list[str]:
    """The same for images of one size."""
    count = len(images)
    answers = np.asarray(keep(images, annotations))
    if answers.shape != (count,) or answers.dtype.kind not in "bU":
        raise ConfigError(
            f"the filter gave {answers.dtype} of shape {answers.shape} for {count} images: let it give one bool "
            "or one string per image"
        )
    return (
        ["" if kept else "dropped by the filter" for kept in answers]
        if answers.dtype.kind == "b"
        else answers.tolist()
    )


@torch.inference_mode()
def verified(pipe: MagicalPipeline, output: MagicalPipelineOutput) -> np.ndarray:
    """Which images show their class and their defects: (N,) bool.

    An image passes where the verifier, over all sub-regions together, classifies it as its class; where every defect
    of its map is visible (has a box) and is found in at least half of its sub-regions; and where no defect is found
    with 90 % or more (`CERTAIN`) in a sub-region without one, also among its neighbours. Closeness to training images
    plays no part: that would reward copies. Without a verifier every image passes.

    Args:
        pipe: that generated the images.
        output: whole images, of any output type.
    """
    verifier, grid = pipe.verifier, pipe.generator.grid
    passes = np.ones(len(output.seeds), dtype=bool)
    if verifier is None:
        return passes
    images = _pixels(output.images).to(verifier.device, verifier.dtype)
    cells = grid.crop_all(images).flatten(0, 1)
    locations = torch.arange(grid.num_locations, device=cells.device).repeat(len(images))
    answers = [verifier(*some) for some in zip(cells.split(AT_ONCE), locations.split(AT_ONCE), strict=True)]
    if answers[0].class_logits is not None and output.annotations is not None:
        evidence = torch.cat([answer.class_logits for answer in answers]).float().log_softmax(1)
        classes = evidence.unflatten(0, (len(images), -1)).sum(1).argmax(1).cpu().numpy()
        passes &= classes == np.array([annotation["class_label"] for annotation in output.annotations])
    if answers[0].defect_logits is not None and output.defects is not None and output.annotations is not None:
        chances = torch.cat([answer.defect_logits for answer in answers]).float().softmax(1).cpu().numpy()
        chances = chances.reshape(len(images), grid.rows, grid.cols, -1)
        for number, defect_map in enumerate(output.defects.numpy()):
            objects = output.annotations[number]["objects"]
            passes[number] &= _has_defects(pipe, defect_map, objects, chances[number])
    return passes


def _has_defects(
    pipe: MagicalPipeline, defect_map: np.ndarray, objects: list[dict[str, Any]], chances: np.ndarray
) -> bool:
    """Whether an image shows the defects of its map and no others.

    Args:
        pipe: with the verifier; its grid and names count.
        defect_map: (R, K).
        objects: of the image's annotation.
        chances: (R, K, 1 + defects), the verifier's probabilities.
    """
    found = chances.argmax(2)
    elsewhere = ~ndimage.binary_dilation(defect_map > 0, NEIGHBOURS)
    # Training counts a defect `defect_weight` times, which multiplies the odds of one by as much.
    odds = pipe.verifier.config.defect_weight * CERTAIN / (1 - CERTAIN)
    if (1 - chances[elsewhere][:, 0] >= odds / (1 + odds)).any():
        return False
    names = LabelNames.of(pipe.generator.config).defects
    for number in np.unique(defect_map[defect_map > 0]):
        boxes = [item["bbox"] for item in objects if item["category"] == names[number - 1]]
        groups, count = ndimage.label(defect_map == number, structure=NEIGHBOURS)
        for group in range(1, count + 1):
            places = np.argwhere(groups == group)
            if not any(_touches(box, places, pipe.generator.grid) for box in boxes):
                return False
            if np.mean([found[tuple(place)] == number for place in places]) < FOUND:
                return False
    return True


def _touches(box: tuple[float, float, float, float], places: np.ndarray, grid: Grid) -> bool:
    """Whether a box has a part in one of the sub-regions (row, column)."""
    left, top, width, height = box
    down, across = places[:, 0] * grid.cell_height, places[:, 1] * grid.cell_width
    rows = (down < top + height) & (top < down + grid.cell_height)
    cols = (across < left + width) & (left < across + grid.cell_width)
    return bool((rows & cols).any())


def _pixels(images: Any) -> torch.Tensor:
    """Images of any output type as (N, C, H, W) in [-1, 1]."""
    if isinstance(images, list):
        images = VaeImageProcessor.pil_to_numpy(images)
    if isinstance(images, np.ndarray):
        images = VaeImageProcessor.numpy_to_pt(images)
    return VaeImageProcessor.normalize(images)
