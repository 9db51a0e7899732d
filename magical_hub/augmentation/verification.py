"""Whether what was asked of generated images is in them, by a judge that learned from real images alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from diffusers.image_processor import VaeImageProcessor
from scipy import ndimage

from magical_hub.annotations import NEIGHBOURS
from magical_hub.conditions import defect_name
from magical_hub.grid import Grid
from magical_hub.pipeline import MagicalPipeline, MagicalPipelineOutput

FOUND = 0.5
"""Share of a defect's sub-regions in which the verifier must find it."""
CLAIM = 0.97
"""Probability from which on the verifier's finding counts where nothing was asked for. It was taught to count a defect
for four, as a rule (see TrainingStep), so that this is nine in ten."""
AT_ONCE = 256
"""Sub-regions in one pass of the verifier."""


@torch.inference_mode()
def verified(pipe: MagicalPipeline, output: MagicalPipelineOutput) -> np.ndarray:
    """Which images show what was asked of them: (N,) bool.

    An image passes where the verifier, over all sub-regions together, holds it for one of its class; where every asked
    defect shows (has a box) and is found in at least half of its sub-regions; and where no defect is found with 97 %
    or more in a sub-region that has none and no neighbour with one. Closeness to training images plays no part: that
    would reward copies. Without a verifier every image passes.

    Args:
        pipe: that made the images.
        output: whole images, of any output type.
    """
    verifier, grid = pipe.verifier, pipe.generator.grid
    passes = np.ones(len(output.seeds), dtype=bool)
    if verifier is None:
        return passes
    images = _pixels(output.images).to(verifier.device, verifier.dtype)
    cells = grid.crop_all(images).flatten(0, 1)
    locations = torch.arange(grid.num_locations, device=cells.device).repeat(len(images))
    judged = [verifier(*some) for some in zip(cells.split(AT_ONCE), locations.split(AT_ONCE), strict=True)]
    if judged[0].class_logits is not None and output.annotations is not None:
        evidence = torch.cat([some.class_logits for some in judged]).float().log_softmax(1)
        classes = evidence.unflatten(0, (len(images), -1)).sum(1).argmax(1).cpu().numpy()
        passes &= classes == np.array([its["class_label"] for its in output.annotations])
    if judged[0].defect_logits is not None and output.defects is not None and output.annotations is not None:
        chances = torch.cat([some.defect_logits for some in judged]).float().softmax(1).cpu().numpy()
        chances = chances.reshape(len(images), grid.rows, grid.cols, -1)
        for number, field in enumerate(output.defects.numpy()):
            objects = output.annotations[number]["objects"]
            passes[number] &= _shows(pipe, field, objects, chances[number])
    return passes


def _shows(pipe: MagicalPipeline, field: np.ndarray, objects: list[dict[str, Any]], chances: np.ndarray) -> bool:
    """Whether an image shows the defects of its field and no others.

    Args:
        pipe: whose grid and names count.
        field: (R, K).
        objects: the image's annotations.
        chances: (R, K, 1 + defects), the verifier's.
    """
    found = chances.argmax(2)
    elsewhere = ~ndimage.binary_dilation(field > 0, NEIGHBOURS)
    if (1 - chances[elsewhere][:, 0] >= CLAIM).any():
        return False
    for number in np.unique(field[field > 0]):
        boxes = [its["bbox"] for its in objects if its["category"] == defect_name(pipe.generator, int(number))]
        groups, count = ndimage.label(field == number, structure=NEIGHBOURS)
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
