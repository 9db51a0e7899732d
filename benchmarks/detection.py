"""Whether synthetic images with boxes help to find defects where few are known: a table and a picture.

    pip install "magical-hub[bench,coco]"
    OMP_NUM_THREADS=1 python benchmarks/detection.py --output-dir runs/detection --max-minutes 60

Procedural packages: so many with each kind of defect, and as many sound ones. For each number a generator is trained
on just these (some of which it only watches itself by), and a detector gets the same ones, alone or with further
images of one kind in half of every batch. The detector is a small head on the maps of a frozen ImageNet network, as
one would take with so few images. Each answer is kept as JSON and not sought again, so that a run that was cut off
goes on.
detection_parts/ has the images, the detector and the measure, a module each.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import datasets
import numpy as np
import tyro
from detection_parts.arms import Boxed, boxed, classical, copy_paste, few_of_each, synthetic
from detection_parts.detector import look, mapped, teach
from detection_parts.precision import mean_average_precision
from tqdm import tqdm
from usefulness import HEADER, draw_curves, print_rows, trained

from magical_hub import MagicalPipeline
from magical_hub.data import package_dataset
from magical_hub.data.packages import DEFECTS
from magical_hub.evaluation.usefulness import TaskResult
from magical_hub.evaluation.usefulness.looking import Looker
from magical_hub.evaluation.usefulness.resampling import image_weights
from magical_hub.evaluation.usefulness.result import CLASSICAL, PROCEDURAL, REAL, SYNTHETIC, compare
from magical_hub.files import write_text
from magical_hub.metrics.features import efficientnet_lite0


def main(
    output_dir: Path,
    counts: tuple[int, ...] = (10, 30, 100),
    image_size: int = 128,
    max_minutes: float = 60,
    max_steps: int = 1_000_000,
    num_test: int = 600,
    seeds: int = 8,
    steps: int = 300,
    num_extra: int = 300,
    resamples: int = 100,
    keep: Literal["verified", "all"] = "verified",
    seed: int = 0,
) -> None:
    """Print a row for each number of real packages with each defect; write JSON and a picture.

    Args:
        output_dir: where to; the runs of the generators too.
        counts: real packages with each kind of defect; as many sound ones as of all these. The smaller sets are parts
            of the larger.
        image_size: side in pixels, a multiple of 16.
        max_minutes: minutes of training for each generator.
        max_steps: steps of training at the most.
        num_test: test images of another series, half of them with a defect.
        seeds: how often each detector is taught.
        steps: of each detector.
        num_extra: further images of each kind for each seed.
        resamples: of the test images.
        keep: which synthetic images; see `augment_dataset`.
        seed: of the packages, the training and the detectors.
    """
    print(HEADER)
    results = {}
    for count in counts:
        folder = output_dir / f"boxes-{count}"
        if not (folder / "detection.json").exists():
            real = few_of_each(count, image_size, seed)
            pipe = trained(
                folder,
                data=real,
                label_column="package",
                objects_column="objects",
                lambda_r=4.0,  # as packages want it: drawn edges are sharper than a camera's
                balance_at=0.5,
                image_size=image_size,
                max_minutes=max_minutes,
                max_steps=max_steps,
                seed=seed,
            )
            arms = further(real, pipe, num_extra, keep)
            test = boxed(package_dataset(num_test, image_size, seed=seed + 1))
            task = detect(boxed(real), arms, test, seeds, steps, resamples, seed)
            write_text(folder / "detection.json", json.dumps({"tasks": {"detection": asdict(task)}}))
        results[count] = json.loads((folder / "detection.json").read_text())
        print_rows("boxes", count, results[count])
    draw_curves(results, output_dir / "boxes.png")


def further(
    real: datasets.Dataset, pipe: MagicalPipeline, count: int, keep: Literal["verified", "all"]
) -> dict[str, Callable[[int], Boxed]]:
    """What makes the further images of each arm, from the number of the turn."""
    ours, packages = boxed(real), np.array(real["package"])
    return {
        CLASSICAL: lambda turn: classical(ours, count, turn),
        PROCEDURAL: lambda turn: copy_paste(ours, packages, count, turn),
        SYNTHETIC: lambda turn: synthetic(real, pipe, count, keep, turn),
    }


def detect(
    real: Boxed,
    arms: dict[str, Callable[[int], Boxed]],
    test: Boxed,
    seeds: int,
    steps: int,
    resamples: int,
    seed: int,
) -> TaskResult:
    """Teach and test a detector of each arm under each seed."""
    rng = np.random.default_rng([seed, 4])
    weights = image_weights(np.array([kinds[0] if len(kinds) else 0 for kinds in test.kinds]), resamples, rng)
    looker = Looker(efficientnet_lite0())
    own, tested = mapped(looker, real), mapped(looker, test)
    cell = test.images.shape[-1] / tested.maps.shape[-1]
    scores: dict[str, dict[str, list[np.ndarray]]] = {}
    turns = [(turn, name) for turn in range(seeds) for name in (REAL, *arms)]
    for turn, name in tqdm(turns, desc="Detectors", unit="detector"):
        parts = [own] if name == REAL else [own, mapped(looker, arms[name](turn))]
        answers = look(teach(parts, len(DEFECTS), steps, turn), tested.maps, cell)
        for measure, values in mean_average_precision(answers, test.boxes, test.kinds, weights).items():
            scores.setdefault(name, {}).setdefault(measure, []).append(values)
    stacked = {arm: {name: np.stack(rows) for name, rows in its.items()} for arm, its in scores.items()}
    plain, comparisons = compare(stacked, rng)
    return TaskResult(
        detector=f"A small head on the maps of {looker.network.name}",
        counts={"real": len(real.images), "test": len(test.images)},
        scores=plain,
        comparisons=comparisons,
    )


if __name__ == "__main__":
    tyro.cli(main)
