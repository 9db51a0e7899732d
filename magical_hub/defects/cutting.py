"""From a row to examples: each defect is cut out of its image with the pixels of its own, or left out by name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from magical_hub.boxes import Box, box_of
from magical_hub.defects.examples import SMALLEST, Example, Window, differing, window_around
from magical_hub.defects.pixels import grey
from magical_hub.defects.references import GoodImages, reference_of
from magical_hub.defects.rows import Marked, Row

LARGEST = 0.6
"""Of an image that a defect may cover."""
GROWN = 2
"""Pixels around a defect that belong to neither it nor its ring."""
WHOLE = 0.9
"""Of the pixels of a connected part, those that a box must hold for the part to be its own."""


@dataclass(frozen=True)
class _Claim:
    """Where a defect may be: what its mask (H, W) marks or, without one, the rectangle of its box."""

    bounds: Window
    mask: np.ndarray | None

    @classmethod
    def of(cls, marked: Marked) -> _Claim:
        if marked.mask is not None:
            left, top, width, height = map(int, box_of(marked.mask))
            return cls(Window(top, left, height, width), marked.mask)
        assert marked.box is not None
        x, y, w, h = marked.box
        top, left = int(y), int(x)
        return cls(Window(top, left, int(np.ceil(y + h)) - top, int(np.ceil(x + w)) - left), None)

    @property
    def pixels(self) -> int:
        """How many there are."""
        return self.bounds.height * self.bounds.width if self.mask is None else int(self.mask.sum())

    def inside(self, window: Window) -> np.ndarray:
        """Its pixels in a window that holds it: (h, w) bool."""
        if self.mask is not None:
            return self.mask[window.slices]
        region = np.zeros((window.height, window.width), bool)
        region[self.bounds.within(window)] = True
        return region

    def shares(self, other: _Claim) -> bool:
        """Whether both have a pixel; that of a box alone may lie a little outside it."""
        there = self._reach.common(other._reach)
        if there is None:
            return False
        masks = [claim.mask[there.slices] for claim in (self, other) if claim.mask is not None]
        return not masks or bool(np.logical_and.reduce(masks).any())

    @property
    def _reach(self) -> Window:
        if self.mask is not None:
            return self.bounds
        top, left, height, width = self.bounds
        return Window(top - GROWN, left - GROWN, height + 2 * GROWN, width + 2 * GROWN)


def examples_of(row: Row, good: GoodImages | None, skipped: Counter[str]) -> list[tuple[str, Example]]:
    """The defects of a row, with the names of their classes.

    Defects whose boxes or masks share pixels are compared with one reference and told apart by their connected parts.

    Args:
        row: with its defects.
        good: images in which references are looked for.
        skipped: counts what is left out, by reason.
    """
    size = (row.pixels.shape[0], row.pixels.shape[1])
    if row.specks:
        skipped[f"marks of {row.name} of fewer than {SMALLEST} pixels"] += row.specks
    everything = np.zeros(size, bool)
    claims: dict[int, _Claim] = {}
    for number, marked in enumerate(row.marked):
        claim = _Claim.of(marked)
        everything[claim.bounds.slices] |= claim.inside(claim.bounds)
        if claim.pixels > LARGEST * everything.size:
            skipped[f"defects of {row.name} that fill their image"] += 1
        elif claim.mask is not None and claim.pixels < SMALLEST:
            skipped[f"marks of {row.name} of fewer than {SMALLEST} pixels"] += 1
        else:
            claims[number] = claim
    grown = _grown(everything)
    found: dict[int, Example] = {}
    for numbers in _sharing(claims):
        window = window_around(_around([claims[number].bounds for number in numbers]), size)
        pixels, defects = row.pixels[window.slices], grown[window.slices]
        reference = reference_of(row.pixels, window, defects, row.reference, good)
        areas, masks = [], []
        for number in numbers:
            inside = claims[number].inside(window)
            areas.append(_grown(inside))
            if claims[number].mask is None:
                inside = differing(grey(pixels), grey(reference.pixels), ~defects, areas[-1])
            masks.append(inside)
        differs = np.logical_or.reduce(masks)
        for number, area, mask, own in zip(numbers, areas, masks, told_apart(masks, areas), strict=True):
            if own is None:
                why = "cannot be told apart from others" if mask.any() else "do not differ from their reference"
                skipped[f"defects of {row.name} that {why}"] += 1
                continue
            place = window_around(box_of(own), size, window)
            cut = place.within(window)
            others = (everything[window.slices] & ~area) | (differs & ~own)
            box = row.marked[number].box
            found[number] = Example(
                category=0,
                row=row.number,
                place=place,
                image_size=size,
                pixels=np.ascontiguousarray(pixels[cut]),
                reference=np.ascontiguousarray(reference.pixels[cut]),
                mask=np.ascontiguousarray(own[cut]),
                others=np.ascontiguousarray(others[cut]),
                margins=(0.0, 0.0, 0.0, 0.0) if box is None else _margins(box, own[cut], place),
                error=reference.error,
                kind=reference.kind,
            )
    return [(row.marked[number].category, found[number]) for number in sorted(found)]


def told_apart(masks: Sequence[np.ndarray], areas: Sequence[np.ndarray]) -> list[np.ndarray | None]:
    """The pixels that are each defect's own, where what was found for several defects overlaps.

    A connected part belongs to the smallest area that holds nearly all of it. Defects that share a part which no area
    holds are not told apart; neither is one without a part, nor the one whose part lies across it.

    Args:
        masks: (h, w) bool, one per defect: what was found for it.
        areas: (h, w) bool, one per defect: where it may be.

    Returns:
        One per defect: (h, w) bool, which no two share; None where it has no pixels or cannot be told apart.
    """
    claimed = np.add.reduce([mask.astype(np.uint8) for mask in masks])
    if claimed.max(initial=0) < 2:
        return [mask if mask.any() else None for mask in masks]
    count, parts = cv2.connectedComponents((claimed > 0).astype(np.uint8), connectivity=8)
    sizes = np.bincount(parts.ravel(), minlength=count)
    held, marked = (np.array([np.bincount(parts[one], minlength=count) for one in some]) for some in (areas, masks))
    holds = held >= WHOLE * sizes
    holds[:, 0] = False  # what is no part of a defect
    smallest_first = np.argsort([area.sum() for area in areas], kind="stable")
    owners = np.where(holds.any(axis=0), smallest_first[holds[smallest_first].argmax(axis=0)], -1)
    own = [mask & (owners[parts] == number) for number, mask in enumerate(masks)]
    nobodys = (owners < 0) & (np.arange(count) > 0)
    mixed = np.asarray((nobodys & (marked >= (1 - WHOLE) * sizes)).any(axis=1))
    for number, mask in enumerate(own):
        if not mask.any():
            across = (marked[number] >= SMALLEST) & ~holds[number] & (owners >= 0)
            mixed[owners[across]] = True
    return [mask if mask.any() and not mixed[number] else None for number, mask in enumerate(own)]


def _sharing(claims: Mapping[int, _Claim]) -> list[list[int]]:
    """Groups of defects, each of which shares pixels with another one of its group."""
    groups: list[list[int]] = []
    for number, claim in claims.items():
        touched = [group for group in groups if any(claim.shares(claims[other]) for other in group)]
        groups = [group for group in groups if group not in touched]
        groups.append([*(other for group in touched for other in group), number])
    return groups


def _around(places: Sequence[Window]) -> Box:
    """The smallest box around windows."""
    top, left = min(place.top for place in places), min(place.left for place in places)
    bottom, right = (
        max(place.top + place.height for place in places),
        max(place.left + place.width for place in places),
    )
    return float(left), float(top), float(right - left), float(bottom - top)


def _grown(region: np.ndarray) -> np.ndarray:
    return cv2.dilate(region.astype(np.uint8), np.ones((2 * GROWN + 1,) * 2, np.uint8)) > 0


def _margins(box: Box, mask: np.ndarray, window: Window) -> tuple[float, float, float, float]:
    """What a box leaves around a mask of a window: left, top, right, bottom."""
    left, top, width, height = box_of(mask)
    left, top = left + window.left, top + window.top
    x, y, w, h = box
    ends = left - x, top - y, x + w - left - width, y + h - top - height
    return max(0.0, ends[0]), max(0.0, ends[1]), max(0.0, ends[2]), max(0.0, ends[3])
