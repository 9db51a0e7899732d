"""Annotations of a generated image: its class, and the boxes and masks of its defects.

A defect is found by comparing the image with the same image without it: both come from one latent and one seed, so
that they differ by the defect alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from magical_hub.boxes import Box, box_of
from magical_hub.conditions import Conditioning, LabelNames
from magical_hub.grid import Grid

VISIBLE = 10.0
"""Grey levels of 255 that a pixel must change by at least."""
FAINTEST = 0.5
"""Share of a defect's greatest change below which a change is its halo, and not the defect. Generated textures around
a defect change a little too: with a quarter, boxes were several times as large as real ones (docs/quality.md)."""
SMOOTH = 1 / 32
"""Deviation of the Gaussian that changes are smoothed by first, in sides of a sub-region: else a mask is specks."""
SMALLEST = 0.2
"""Share of the largest piece of a defect below which a piece is dropped."""
NEIGHBOURS = np.ones((3, 3), dtype=bool)


@dataclass(frozen=True, eq=False)
class DefectObject:
    """One visible defect of an image: its class (1 the first), its box and its mask (H, W) bool."""

    number: int
    box: Box
    mask: np.ndarray


def find_defects(
    with_defects: np.ndarray, without: np.ndarray, defect_map: np.ndarray, grid: Grid
) -> list[DefectObject]:
    """The visible defects.

    Neighbouring sub-regions of one defect class, corners included, are one defect. A changed pixel belongs to the
    nearest sub-region with a defect in the map. A mask has no holes; a defect without a visible change is left out.

    Args:
        with_defects, without: (C, H, W) in [0, 1].
        defect_map: (R, K) int64, the defects of the image; 0 none.
        grid: of the images.

    Returns:
        Class by class, each in the order of its first sub-regions.
    """
    change = 255 * np.abs(with_defects.astype(np.float32) - without.astype(np.float32)).max(axis=0)
    groups, numbers = _groups(defect_map)
    if len(numbers) == 1:
        owner = np.ones(change.shape, dtype=np.int64)
    else:
        pixels = groups.repeat(grid.cell_height, 0).repeat(grid.cell_width, 1)
        nearest = ndimage.distance_transform_edt(pixels == 0, return_distances=False, return_indices=True)
        owner = pixels[tuple(nearest)]
    objects = []
    for group, number in enumerate(numbers, start=1):
        change_here = np.where(owner == group, change, 0.0)
        if change_here.max() <= VISIBLE:
            continue
        smooth = ndimage.gaussian_filter(change_here, SMOOTH * min(grid.cell_height, grid.cell_width))
        mask = _cleaned(smooth > FAINTEST * smooth.max())
        objects.append(DefectObject(number, box_of(mask), mask))
    return objects


def annotate(
    names: LabelNames, conditioning: Conditioning, objects: Sequence[Sequence[DefectObject]] | None
) -> list[dict[str, Any]] | None:
    """One dict per image, as in `MagicalPipelineOutput`; None where there are neither classes nor defects.

    Args:
        names: of the classes and defects.
        conditioning: of the images.
        objects: the visible defects of each image; None where they were not searched for.
    """
    if conditioning.class_labels is None and objects is None:
        return None
    annotations: list[dict[str, Any]] = [{} for _ in range(len(conditioning.seeds))]
    if conditioning.class_labels is not None:
        for annotation, label in zip(annotations, conditioning.class_labels.tolist(), strict=True):
            annotation |= {"class_label": label, "class_name": names.classes[label]}
    if objects is not None:
        for annotation, found in zip(annotations, objects, strict=True):
            annotation["objects"] = [{"bbox": one.box, "category": names.defects[one.number - 1]} for one in found]
    return annotations


def join_masks(objects: Sequence[Sequence[DefectObject]], grid: Grid) -> np.ndarray:
    """One mask per image, (N, H, W) uint8: 0 where no defect is visible, else the number of its class."""
    masks = np.zeros((len(objects), grid.height, grid.width), dtype=np.uint8)
    for mask, found in zip(masks, objects, strict=True):
        for one in found:
            mask[one.mask] = one.number
    return masks


def _groups(defect_map: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """The number of the defect in each sub-region (R, K), 0 for none, and the class of each defect."""
    groups, numbers = np.zeros(defect_map.shape, dtype=np.int64), list[int]()
    for number in np.unique(defect_map[defect_map > 0]):
        pieces, count = ndimage.label(defect_map == number, structure=NEIGHBOURS)
        groups = np.where(pieces > 0, pieces + len(numbers), groups)
        numbers += [int(number)] * count
    return groups, numbers


def _cleaned(mask: np.ndarray) -> np.ndarray:
    """Gaps closed, holes filled, specks dropped."""
    padded = np.pad(mask, 2)  # closing would eat what touches the edge
    closed = ndimage.binary_closing(padded, structure=NEIGHBOURS)[2:-2, 2:-2]
    pieces, count = ndimage.label(ndimage.binary_fill_holes(closed), structure=NEIGHBOURS)
    if not count:
        return mask & False
    sizes = np.bincount(pieces.flat)[1:]
    kept: np.ndarray = np.isin(pieces, 1 + np.flatnonzero(sizes >= SMALLEST * sizes.max()))
    return kept
