"""The one call: from a data set to a report of whether synthetic rows help a detector."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from magical_hub.checkpoint.weights import weights_sha256
from magical_hub.data.columns import find_columns
from magical_hub.data.masks import parse_mask_values
from magical_hub.data.rows import LabelledRows
from magical_hub.data.sources import open_dataset
from magical_hub.defects.tuning import CROP
from magical_hub.detectors import DetectorOptions, check_packages, longer_side_of
from magical_hub.devices import move
from magical_hub.errors import DataError, MagicalError
from magical_hub.evaluation.evaluating import versions
from magical_hub.evaluation.report import EvaluationReport
from magical_hub.files import check_plain, expanded, only_writer, written_whole
from magical_hub.pipeline import MagicalPipeline
from magical_hub.usefulness.answering import NAMES
from magical_hub.usefulness.arms import PLACEBO, WHOLE, Comparison, augmented
from magical_hub.usefulness.images import Images, Parts, cut, read
from magical_hub.usefulness.options import NUM_GOOD, UsefulnessOptions
from magical_hub.usefulness.page import section_of
from magical_hub.usefulness.pictures import example
from magical_hub.usefulness.results import Result, Results, Task
from magical_hub.usefulness.trials import planned, trained
from magical_hub.version import __version__

if TYPE_CHECKING:
    import datasets

LEAST_FURTHER = 50
"""Good images that must be left for the placebo, else it is left out."""
EXAMPLE = "painted.png"


def evaluate_usefulness(
    data: str | Path | datasets.Dataset,
    output_dir: str | Path,
    checkpoint: str | Path | MagicalPipeline | None = None,
    *,
    options: UsefulnessOptions | None = None,
    num_images: int | None = None,
    seed: int = 0,
    device: str = "cpu",
    report: EvaluationReport | None = None,
) -> EvaluationReport:
    """Whether painted defects, plain copy-paste or whole synthetic images make a detector of boxes or masks better.

    Whole groups of images are set aside for testing by their names, before anything is trained, and nothing is chosen
    on them. For each draw of images with defects small detectors are trained from nothing: with the real images and
    classical augmentation, and with further images beside these. Finished ones are kept in output_dir, and the same
    call continues after a stop.

    Args:
        data: a folder of images with metadata.jsonl, one that `save_to_disk` wrote, a dataset's id on the Hub, or a
            `datasets.Dataset`: with boxes or masks, and good images or references.
        output_dir: where report.html, report.json, the finished detectors and a picture go.
        checkpoint: a generator whose whole images are compared too.
        options: columns and how long to take.
        num_images: synthetic images that are made for each detector; 400, or 100 with quick.
        seed: of the draws, the images and the detectors.
        device: where detectors are trained and images generated.
        report: of `evaluate`, which the answer is added to.

    Raises:
        DataError: where the data has no defects, no good images, one group alone, or images of several sizes.
        ConfigError: where an option is out of its range, or output_dir has detectors of other options.
        MissingPackageError: without the extra `eval`.
    """
    options = options or UsefulnessOptions()
    images_of_each = options.all_images(num_images)
    check_packages()  # before the work, not after it
    folder = expanded(output_dir)
    pipe = None
    if checkpoint is not None:
        pipe = checkpoint if isinstance(checkpoint, MagicalPipeline) else MagicalPipeline.from_pretrained(checkpoint)
        move(device, pipe)
    images = _read(data, options)
    parts = cut(images, options.test_fraction, NUM_GOOD, seed, LEAST_FURTHER)
    _check_apart(parts)
    count = _count(options.num_defective, len(parts.defective))
    detector = DetectorOptions(steps=options.all_steps(), crop_size=CROP if images.labelled.masks is None else None)
    comparison = Comparison(parts, detector, images_of_each, pipe, seed, device)
    with only_writer(folder):
        for name in ("report.json", "report.html", EXAMPLE):
            check_plain(folder / name)
        settings = {
            "data": _digest(images),
            "test_fraction": options.test_fraction,
            "test_groups": list(parts.test_groups),
            "image_size": list(images.labelled.images.shape[1:3]),
            "num_images": images_of_each,
            "steps": detector.steps,
            "seed": seed,
            "checkpoint": None if pipe is None else weights_sha256(pipe.generator),
            "detector": asdict(detector),
            "version": __version__,
        }
        results = Results(folder, settings)
        arms, left_out = _arms(comparison, count)
        tasks = planned(arms, [count], options.all_draws(), len(parts.defective))
        _say(parts, count, options, len(tasks))
        if not (folder / EXAMPLE).exists():
            with written_whole(folder / EXAMPLE) as beside:
                beside.write_bytes(example(comparison.draw(count, 0)))
        _train(tasks, results, comparison)
        found = {task: result for task, result in results.finished().items() if task.count == count}
        section = section_of(
            _whole_draws(found, arms),
            count,
            parts.test.labelled,
            (folder / EXAMPLE).read_bytes(),
            options.quick,
            left_out,
            settings,
        )
        if report is None:
            report = EvaluationReport({}, _about(data, settings, parts, count))
        report = EvaluationReport({**report.sections, "usefulness": section}, report.about)
        report.write(folder)
    return report


def has_defects(data: str | Path | datasets.Dataset, options: UsefulnessOptions) -> bool:
    """Whether a data set has a column of boxes or masks, so that detectors of these can be compared."""
    features = open_dataset(data, options.split).features
    try:
        found = find_columns(features, options.image_column, None, options.objects_column, options.mask_column)
    except DataError:
        return False
    return found.objects is not None or found.mask is not None


def _read(data: str | Path | datasets.Dataset, options: UsefulnessOptions) -> Images:
    dataset = open_dataset(data, options.split)
    named = options.objects_column, options.mask_column, options.reference_column, options.group_column
    columns = find_columns(dataset.features, options.image_column, None, *named)
    if columns.objects is None and columns.mask is None:
        raise DataError(
            "the data has neither boxes nor masks: name their column; where it has image classes alone, give a "
            "checkpoint, with whose images a classifier is trained"
        )
    if columns.mask is not None:
        columns = replace(columns, objects=None)
    tqdm.write(f"reading {len(dataset)} images", file=sys.stderr)
    values = None if options.mask_values is None else parse_mask_values(options.mask_values)
    side = longer_side_of(LabelledRows(dataset, columns), options.image_size)
    return read(dataset, columns, side, mask_values=values)


def _check_apart(parts: Parts) -> None:
    """Refuse data in which an image with defects is both trained on and tested on."""
    known, tested = (
        [hashlib.sha256(image.tobytes()).digest() for image in part.labelled.images]
        for part in (parts.defective, parts.test)
    )
    duplicates = sum(map({*known}.__contains__, tested))
    if duplicates:
        raise DataError(
            f"{duplicates} of the test images are images with defects for training too, under another group: take the "
            "duplicates out, or name the group_column that keeps them together"
        )


def _count(wanted: int | None, available: int) -> int:
    """How many images with defects a draw has."""
    if available < 2:
        raise DataError(
            f"{available} image with defects is left for training, and 2 at least are needed to draw from: add images"
        )
    if wanted is None:
        return max(1, 3 * available // 4)
    if wanted >= available:
        raise DataError(
            f"num_defective is {wanted}, and {available} images with defects are left for training: must be at most "
            f"{available - 1}, so that draws differ"
        )
    return wanted


def _arms(comparison: Comparison, count: int) -> tuple[list[str], dict[str, str]]:
    """What is compared, and what is not, with the reason."""
    left_out, pipe = {}, comparison.pipe
    if not len(comparison.parts.further_good):
        left_out[PLACEBO] = f"fewer than {2 * LEAST_FURTHER} good images are for training"
    if pipe is not None:
        try:
            if not pipe.generator.config.get("num_defects"):
                raise DataError("the checkpoint was trained without defects, so its images have no labels")
            augmented(replace(comparison, num_synthetic=1).draw(count, 0), pipe)
        except MagicalError as reason:
            left_out[WHOLE] = str(reason)
    return [arm for arm in NAMES if arm not in left_out and (arm != WHOLE or pipe is not None)], left_out


def _train(tasks: Sequence[Task], results: Results, comparison: Comparison) -> None:
    """Train what is not finished yet, under a bar."""
    done, steps = results.finished(), comparison.detector.steps
    missing = [task for task in tasks if task not in done]
    total, before = len(tasks) * steps, (len(tasks) - len(missing)) * steps
    with tqdm(total=total, initial=before, desc="Detectors", unit="step", smoothing=0.02) as bar:
        for task in missing:
            bar.set_postfix_str(f"draw {1 + task.draw}, {NAMES[task.arm]}")
            results.add(trained(task, comparison, bar.update))


def _whole_draws(found: dict[Task, Result], arms: Sequence[str]) -> dict[Task, Result]:
    """The results of the draws that all arms have: others would be compared with other images."""
    draws = set.intersection(*({task.draw for task in found if task.arm == arm} for arm in arms))
    return {task: result for task, result in found.items() if task.draw in draws and task.arm in arms}


def _say(parts: Parts, count: int, options: UsefulnessOptions, detectors: int) -> None:
    groups = "groups" if options.group_column else "images, each a group of its own"
    tqdm.write(
        f"test: {len(parts.test)} images ({int(parts.test.labelled.defective.sum())} with defects) of "
        f"{len(parts.test_groups)} {groups}, fixed by name; training: {len(parts.defective)} images with defects, "
        f"{count} of them in each of {options.all_draws()} draws, and {len(parts.good)} good ones; "
        f"{detectors} detectors",
        file=sys.stderr,
    )


def _digest(images: Images) -> str:
    """Of all that detectors are trained with and tested on."""
    found = hashlib.sha256(repr((images.labelled.sha256, images.groups.tolist())).encode())
    if images.references is not None:
        found.update(images.references.tobytes())
    return found.hexdigest()


def _about(data: Any, settings: dict[str, Any], parts: Parts, count: int) -> dict[str, Any]:
    return {
        "subject": str(data) if isinstance(data, (str, Path)) else "a data set",
        "weights_sha256": settings["checkpoint"],
        "seed": settings["seed"],
        "image_size": settings["image_size"],
        "counts": {
            "test": len(parts.test),
            "test_defective": int(parts.test.labelled.defective.sum()),
            "test_groups": len(parts.test_groups),
            "defective": len(parts.defective),
            "defective_of_a_draw": count,
            "good": len(parts.good),
            "further_good": len(parts.further_good),
        },
        "versions": versions(),
    }
