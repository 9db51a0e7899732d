"""What is said of a generated image: its class, and where its defects are.

A defect is found by comparing the image with the same image without it: both come from one latent and one seed, so
that nothing but the defect tells them apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from magical_hub.boxes import Box, box_of
from magical_hub.conditions import Asked, Conditional, defect_name
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
class DefectMark:
    """One defect of an image: its class (1 the first), its box and its mask (H, W) bool."""

    number: int
    box: Box
    mask: np.ndarray


def find_defects(with_defects: np.ndarray, without: np.ndarray, field: np.ndarray, grid: Grid) -> list[DefectMark]:
    """The defects that show.

    Neighbouring sub-regions of one class, corners included, are one defect. A changed pixel belongs to the nearest
    sub-region that was asked for one. A mask has no holes, and a defect that does not show has none at all.

    Args:
        with_defects, without: (C, H, W) in [0, 1].
        field: (R, K) int64, the defects asked for; 0 none.
        grid: of the images.

    Returns:
        Class by class, each in the order of its first sub-regions.
    """
    change = 255 * np.abs(with_defects.astype(np.float32) - without.astype(np.float32)).max(axis=0)
    groups, numbers = _groups(field)
    if len(numbers) == 1:
        owner = np.ones(change.shape, dtype=np.int64)
    else:
        asked = groups.repeat(grid.cell_height, 0).repeat(grid.cell_width, 1)
        nearest = ndimage.distance_transform_edt(asked == 0, return_distances=False, return_indices=True)
        owner = asked[tuple(nearest)]
    marks = []
    for group, number in enumerate(numbers, start=1):
        own = np.where(owner == group, change, 0.0)
        if own.max() <= VISIBLE:
            continue
        smooth = ndimage.gaussian_filter(own, SMOOTH * min(grid.cell_height, grid.cell_width))
        mask = _cleaned(smooth > FAINTEST * smooth.max())
        marks.append(DefectMark(number, box_of(mask), mask))
    return marks


def annotate(
    generator: Conditional, asked: Asked, shown: Sequence[Sequence[DefectMark]] | None
) -> list[dict[str, Any]] | None:
    """A dict an image, as `MagicalPipelineOutput` says; None where there is nothing to say.

    Args:
        generator: whose names count.
        asked: the images.
        shown: the defects that each of them shows; None where nobody looked.
    """
    if asked.labels is None and shown is None:
        return None
    annotations: list[dict[str, Any]] = [{} for _ in range(len(asked.seeds))]
    names = generator.config.class_names
    if asked.labels is not None:
        for its, number in zip(annotations, asked.labels.tolist(), strict=True):
            its |= {"class_label": number, "class_name": names[number] if names else str(number)}
    if shown is not None:
        for its, marks in zip(annotations, shown, strict=True):
            its["objects"] = [{"bbox": mark.box, "category": defect_name(generator, mark.number)} for mark in marks]
    return annotations


def join_masks(shown: Sequence[Sequence[DefectMark]], grid: Grid) -> np.ndarray:
    """(N, H, W) uint8: 0 where no defect shows, else the number of its class."""
    masks = np.zeros((len(shown), grid.height, grid.width), dtype=np.uint8)
    for mask, marks in zip(masks, shown, strict=True):
        for mark in marks:
            mask[mark.mask] = mark.number
    return masks


def _groups(field: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """The number of each sub-region's defect (R, K), 0 for none, and the class of each defect."""
    groups, numbers = np.zeros(field.shape, dtype=np.int64), list[int]()
    for number in np.unique(field[field > 0]):
        pieces, count = ndimage.label(field == number, structure=NEIGHBOURS)
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
