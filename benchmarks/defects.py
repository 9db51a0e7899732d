"""Whether defects put onto good images help a detector where few defects are known: a table and a picture.

    pip install "magical-hub[bench]"
    OMP_NUM_THREADS=1 python benchmarks/defects.py --data DATA --output-dir OUT --columns.objects objects
    OMP_NUM_THREADS=1 python benchmarks/defects.py --data DATA --output-dir OUT --columns.mask mask

DATA is a folder that `save_to_disk` wrote, or one of images with metadata.jsonl: images of one size, boxes or masks of
their defects, a column of groups (a board, a module, a lot) and, where there are any, of reference images. Detectors
are trained from nothing: a small anchor-free one for boxes, a small U-Net for masks. Every arm has the same defective
images of a draw, the same good images and as many steps; bank, pasting and references know the images of the draw
alone.

The test images are whole groups, fixed by their names before anything is trained (`magical_hub.usefulness.images.cut`
says how), and nothing is chosen on them. With `--validate` the detectors are tested on a part of the training groups
instead, cut by the same rule: there settings may be tried.

Finished detectors are kept in detectors.jsonl, so a run that was stopped continues where it stopped: give the same
command again. `magical_hub.usefulness` has the images, the arms, the results on disk and the statistics.
"""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path

import cv2
import torch
import tyro
from defects_tables import MEANING, draw_picture, table
from tqdm import tqdm

from magical_hub import MagicalPipeline
from magical_hub.data.columns import Columns
from magical_hub.data.sources import open_dataset
from magical_hub.detectors import DetectorOptions
from magical_hub.errors import ConfigError, MagicalError
from magical_hub.files import write_text, written_whole
from magical_hub.usefulness.arms import (
    CLASSICAL,
    ORACLE,
    PAINTED,
    PASTED,
    PLACEBO,
    REAL,
    WHOLE,
    WITH_REFERENCES,
    Comparison,
)
from magical_hub.usefulness.images import cut, read
from magical_hub.usefulness.results import Results
from magical_hub.usefulness.trials import planned, trained

DETECTOR = DetectorOptions()
COLUMNS = Columns(group="group")
DEFAULT_ARMS = (CLASSICAL, PAINTED, PASTED, PLACEBO, REAL, ORACLE)


def main(
    data: Path,
    output_dir: Path,
    columns: Columns = COLUMNS,
    image_size: int | None = None,
    grey: bool = False,
    counts: tuple[int, ...] = (10, 20, 50),
    draws: int = 8,
    arms: tuple[str, ...] = DEFAULT_ARMS,
    num_good: int = 250,
    num_synthetic: int = 400,
    detector: DetectorOptions = DETECTOR,
    checkpoint: str | None = None,
    test_fraction: float = 0.33,
    validate: bool = False,
    worker: int = 0,
    workers: int = 1,
    seed: int = 0,
) -> None:
    """Train and test what is still missing; print the table, write table.md and picture.png.

    Args:
        data: a folder that `save_to_disk` wrote, or one of images with metadata.jsonl.
        output_dir: where to.
        columns: where the data set has what.
        image_size: the longer side in pixels that all images are resized to; None leaves them as they are.
        grey: convert colours to grey; where all images are grey this is done anyway.
        counts: defective images in a draw; the smaller sets are parts of the larger.
        draws: of the defective images.
        arms: what is compared.
        num_good: good images of all arms, and as many further ones for the placebo, as far as there are.
        num_synthetic: images made for a detector.
        detector: how all detectors are trained.
        checkpoint: a generator for the arm "whole synthetic": a run, a folder or an id.
        test_fraction: of the images; whole groups are taken until they have so many.
        validate: test on a part of the training groups, to try settings.
        worker, workers: which of several processes on the same folder this is, from 0 on.
        seed: of the draws and the detectors.
    """
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    _check(arms, columns, checkpoint)
    images = read(open_dataset(data), columns, image_size, grey)
    parts = cut(images, test_fraction, num_good, seed)
    if validate:
        parts = cut(images.select(parts.training), test_fraction, num_good, seed)
    results = Results(
        output_dir,
        {
            "data": data.name,
            "columns": {part: column for part, column in asdict(columns).items() if part != "label"},  # not read
            "image_size": image_size,
            "grey": grey,
            "test_groups": list(parts.test_groups),
            "validate": validate,
            "num_good": num_good,
            "num_synthetic": num_synthetic,
            "detector": asdict(detector),
            "seed": seed,
        },
    )
    tasks = planned(arms, counts, draws, len(parts.defective))
    print(
        f"{len(parts.test)} test images of {len(parts.test_groups)} groups; {len(parts.defective)} defective images "
        f"to draw from, {len(parts.good)} good ones and {len(parts.further_good)} for the placebo",
        flush=True,
    )
    pipe = None if checkpoint is None else MagicalPipeline.from_pretrained(checkpoint)
    comparison = Comparison(parts, detector, num_synthetic, pipe, seed)
    done = results.finished()
    open_ones = [task for number, task in enumerate(tasks) if number % workers == worker and task not in done]
    for task in tqdm(open_ones, desc="Detectors", unit="detector", unit_scale=False):
        results.add(trained(task, comparison))
    written = table(results.finished(), counts, parts.defective.labelled.class_names)
    print(written)
    write_text(output_dir / "table.md", written)
    if results.finished():
        with written_whole(output_dir / "picture.png") as beside:
            draw_picture(results.finished(), counts).savefig(beside, format="png", dpi=110)


def _check(arms: tuple[str, ...], columns: Columns, checkpoint: str | None) -> None:
    strange = [arm for arm in arms if arm not in MEANING]
    if strange:
        raise ConfigError(f"there is no arm {strange[0]!r}: must be one of {', '.join(MEANING)}")
    wanted = [arm for arm in arms if arm in WITH_REFERENCES]
    if wanted and columns.reference is None:
        raise ConfigError(f"the arm {wanted[0]!r} needs references: give --columns.reference")
    if WHOLE in arms and checkpoint is None:
        raise ConfigError(f"the arm {WHOLE!r} needs a generator: give --checkpoint")


if __name__ == "__main__":
    try:
        tyro.cli(main)
    except MagicalError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
