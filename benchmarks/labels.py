"""Whether generated packages show the defects that were requested, and whether boxes and masks lie on what changed.

    python benchmarks/labels.py --checkpoint RUN --num-images 400

Real packages that were not used for training give the requests: each generated image has the class and the
defect map of a real one. RUN's verifier, which was trained on real sub-regions alone, then classifies the sub-regions
with a defect, of the real images and of the generated ones; with a share of 1 it is right as often on both. What
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
    """Print the verifier's answers, one row per defect, and below them how well boxes and masks lie."""
    pipe = MagicalPipeline.from_pretrained(checkpoint)
    pipe.set_progress_bar_config(disable=True)
    grid = pipe.generator.grid
    rows = package_dataset(num_images, grid.height, seed=seed, defect_rate=1.0)
    known = rows.features["objects"].feature["category"].names
    names = pipe.generator.config.defect_names
    numbers = {number: names.index(name) for number, name in enumerate(known) if name in names}
    maps, found, agreed, overlaps, boxes, holes = [], [], [], list[float](), list[float](), list[bool]()
    areas = [dict[str, list[float]](), dict[str, list[float]]()]  # of rendered and of generated boxes, by defect
    for first in range(0, num_images, BATCH):
        some = rows[first : first + BATCH]
        pixels = np.stack([np.asarray(image) for image in some["image"]]).transpose(0, 3, 1, 2)
        wanted = np.stack([defect_map_of(objects, grid, numbers) for objects in some["objects"]])
        request: dict[str, Any] = {"class_labels": some["package"], "seeds": range(first, first + len(wanted))}
        made = pipe(**request, defects=list(wanted), masks=True, output_type="pt")
        defect_free = pipe(**request, defects={}, output_type="pt").images
        for objects in some["objects"]:
            note(areas[0], [(known[item["category"]], item["bbox"]) for item in objects])
        for annotation in made.annotations:
            note(areas[1], [(item["category"], item["bbox"]) for item in annotation["objects"]])
        maps.append(wanted)
        found.append(verdicts(pipe, torch.from_numpy(pixels).float() / 127.5 - 1))
        agreed.append(verdicts(pipe, made.images * 2 - 1))
        changed = (255 * (made.images - defect_free).abs().amax(1) >= VISIBLE).numpy()
        for mask, change, annotation in zip(made.masks > 0, changed, made.annotations, strict=True):
            overlaps.append(iou(mask, change))
            holes.append(bool((ndimage.binary_fill_holes(mask) & ~mask).any()))
            if len(annotation["objects"]) == 1 and change.any():
                (item,) = annotation["objects"]
                boxes.append(iou(filled(item["bbox"], change.shape), filled(box_of(change), change.shape)))
    tell(names, *(np.concatenate(some) for some in (maps, found, agreed)), areas)
    print(
        f"\nmasks: mean IoU with what changed {np.mean(overlaps):.2f}, with holes {np.mean(holes):.0%}; "
        f"boxes: mean IoU {np.mean(boxes or [0]):.2f} of {len(boxes)} images with one defect"
    )


def defect_map_of(objects: Any, grid: Grid, numbers: dict[int, int]) -> np.ndarray:
    """The defect map of the boxes of a real image, as in training; `numbers` by category of the checkpoint."""
    defects = Boxes([(item["bbox"], numbers[item["category"]]) for item in objects if item["category"] in numbers])
    return defects.defect_map((grid.height, grid.width), grid, 0.1, "a package")


@torch.inference_mode()
def verdicts(pipe: MagicalPipeline, images: torch.Tensor) -> np.ndarray:
    """The verifier's class of each sub-region: (N, R, K), 0 for nothing."""
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
    names: list[str], maps: np.ndarray, real: np.ndarray, made: np.ndarray, areas: list[dict[str, list[float]]]
) -> None:
    """Print the table; `areas` by defect, of rendered and of generated boxes, in square pixels."""
    print("| defect | sub-regions | found in real ones | found in generated ones | share | box: real | generated |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, there in [
        *((name, maps == number) for number, name in enumerate(names, start=1)),
        ("all", maps > 0),
        ("none", maps == 0),
    ]:
        right = [float((found[there] == maps[there]).mean()) for found in (real, made)]
        share = right[1] / right[0] if right[0] else float("nan")
        medians = " | ".join(f"{np.median(sizes[name]):.0f}" if name in sizes else "-" for sizes in areas)
        print(f"| {name} | {there.sum()} | {right[0]:.2f} | {right[1]:.2f} | {share:.2f} | {medians} |")


if __name__ == "__main__":
    tyro.cli(main)
