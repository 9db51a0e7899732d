"""Whether generated packages show the defects that were asked for, and whether boxes and masks lie on what changed.

    python benchmarks/labels.py --checkpoint RUN --num-images 400

Real packages that RUN never saw give the requests: each generated image is asked for the class and the field of
defects of a real one. RUN's verifier, which learned from real sub-regions alone, then says what it finds in the
sub-regions with a defect, of the real images and of the generated ones; a share of 1 is as often right on both. What
changed are the pixels that differ by 10 grey levels or more from the same image without defects; boxes are held
against the box around them, in images of one defect. A defect's halo changes too, so the areas of boxes say more: of
generated images, and of those that the renderer drew.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import tyro
from scipy import ndimage

from magical_hub import MagicalPipeline
from magical_hub.annotations import VISIBLE
from magical_hub.boxes import box_of
from magical_hub.data import package_dataset
from magical_hub.data.defect_maps import Boxes
from magical_hub.grid import Grid

BATCH = 16


def main(checkpoint: str, num_images: int = 400, seed: int = 1) -> None:
    """Print the verifier's answers, a row a defect, and below them how well boxes and masks lie."""
    pipe = MagicalPipeline.from_pretrained(checkpoint)
    pipe.set_progress_bar_config(disable=True)
    grid = pipe.generator.grid
    rows = package_dataset(num_images, grid.height, seed=seed, defect_rate=1.0)
    known = rows.features["objects"].feature["category"].names
    names = pipe.generator.config.defect_names
    numbers = {number: names.index(name) for number, name in enumerate(known) if name in names}
    fields, found, agreed, overlaps, boxes, holes = [], [], [], list[float](), list[float](), list[bool]()
    areas = [dict[str, list[float]](), dict[str, list[float]]()]  # of rendered and of generated boxes, by defect
    for first in range(0, num_images, BATCH):
        some = rows[first : first + BATCH]
        pixels = np.stack([np.asarray(image) for image in some["image"]]).transpose(0, 3, 1, 2)
        asked = np.stack([field_of(objects, grid, numbers) for objects in some["objects"]])
        request: dict[str, Any] = {"class_labels": some["package"], "seeds": range(first, first + len(asked))}
        made = pipe(**request, defects=list(asked), masks=True, output_type="pt")
        twin = pipe(**request, defects={}, output_type="pt").images
        for objects in some["objects"]:
            note(areas[0], [(known[thing["category"]], thing["bbox"]) for thing in objects])
        for annotation in made.annotations:
            note(areas[1], [(thing["category"], thing["bbox"]) for thing in annotation["objects"]])
        fields.append(asked)
        found.append(verdicts(pipe, torch.from_numpy(pixels).float() / 127.5 - 1))
        agreed.append(verdicts(pipe, made.images * 2 - 1))
        changed = (255 * (made.images - twin).abs().amax(1) >= VISIBLE).numpy()
        for mask, change, annotation in zip(made.masks > 0, changed, made.annotations, strict=True):
            overlaps.append(iou(mask, change))
            holes.append(bool((ndimage.binary_fill_holes(mask) & ~mask).any()))
            if len(annotation["objects"]) == 1 and change.any():
                (thing,) = annotation["objects"]
                boxes.append(iou(filled(thing["bbox"], change.shape), filled(box_of(change), change.shape)))
    tell(names, *(np.concatenate(some) for some in (fields, found, agreed)), areas)
    print(
        f"\nmasks: mean IoU with what changed {np.mean(overlaps):.2f}, with holes {np.mean(holes):.0%}; "
        f"boxes: mean IoU {np.mean(boxes or [0]):.2f} of {len(boxes)} images with one defect"
    )


def field_of(objects: Any, grid: Grid, numbers: dict[int, int]) -> np.ndarray:
    """The field of a real image's boxes, as training reads them; `numbers` are those of the categories it knows."""
    defects = Boxes([(thing["bbox"], numbers[thing["category"]]) for thing in objects if thing["category"] in numbers])
    return defects.defect_map((grid.height, grid.width), grid, 0.1, "a package")


@torch.inference_mode()
def verdicts(pipe: MagicalPipeline, images: torch.Tensor) -> np.ndarray:
    """What the verifier finds in each sub-region: (N, R, K), 0 for nothing."""
    grid = pipe.generator.grid
    cells = grid.crop_all(images).flatten(0, 1)
    logits = pipe.verifier(cells, torch.arange(grid.num_locations).repeat(len(images))).defect_logits
    return logits.argmax(1).unflatten(0, (len(images), grid.rows, grid.cols)).numpy()


def note(areas: dict[str, list[float]], boxes: list[tuple[str, Any]]) -> None:
    """Count in the areas of boxes (name, (x, y, width, height))."""
    for name, (_, _, width, height) in boxes:
        areas.setdefault(name, []).append(width * height)


def iou(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Intersection over union; 1 where both are empty."""
    union = (ours | theirs).sum()
    return float((ours & theirs).sum() / union) if union else 1.0


def filled(box: Any, shape: tuple[int, ...]) -> np.ndarray:
    """A box (x, y, width, height) as a mask."""
    left, top, width, height = (round(float(side)) for side in box)
    mask = np.zeros(shape, dtype=bool)
    mask[top : top + height, left : left + width] = True
    return mask


def tell(
    names: list[str], fields: np.ndarray, real: np.ndarray, made: np.ndarray, areas: list[dict[str, list[float]]]
) -> None:
    """Print the table; `areas` by defect, of rendered and of generated boxes, in square pixels."""
    print("| defect | sub-regions | found in real ones | found in generated ones | share | box: real | generated |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, there in [
        *((name, fields == number) for number, name in enumerate(names, start=1)),
        ("all", fields > 0),
        ("none", fields == 0),
    ]:
        right = [float((its[there] == fields[there]).mean()) for its in (real, made)]
        share = right[1] / right[0] if right[0] else float("nan")
        sizes = " | ".join(f"{np.median(its[name]):.0f}" if name in its else "-" for its in areas)
        print(f"| {name} | {there.sum()} | {right[0]:.2f} | {right[1]:.2f} | {share:.2f} | {sizes} |")


if __name__ == "__main__":
    tyro.cli(main)
