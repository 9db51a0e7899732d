"""`evaluate`: from a checkpoint or a folder of images to a report."""

from __future__ import annotations

import importlib.metadata
import platform
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn
from tqdm import tqdm

from magical_hub.data.canvas import set_sha256
from magical_hub.devices import move
from magical_hub.errors import DataError, GridError
from magical_hub.evaluation import coherence, diversity, fidelity, leakage, seams, split
from magical_hub.evaluation.evidence import Data, Evidence, Subject, gather
from magical_hub.evaluation.images import FeatureCache
from magical_hub.evaluation.report import EvaluationReport
from magical_hub.evaluation.section import LeftOut, Section, Verdict
from magical_hub.evaluation.usefulness import section as usefulness_section
from magical_hub.files import check_plain, expanded, folder_beside, only_writer
from magical_hub.metrics import efficientnet_lite0
from magical_hub.pipeline import MagicalPipeline
from magical_hub.version import __version__

Question = tuple[str, Callable[[Evidence], Section]]
"""A question in words, and the function that measures it."""
SECTIONS: dict[str, Question] = {
    "split": (split.QUESTION, split.measure),
    "fidelity": (fidelity.QUESTION, fidelity.measure),
    "seams": (seams.QUESTION, seams.measure),
    "coherence": (coherence.QUESTION, coherence.measure),
    "diversity": (diversity.QUESTION, diversity.measure),
    "leakage": (leakage.QUESTION, leakage.measure),
}
"""The sections, in the order of the report."""


ON_REQUEST: dict[str, Question] = {"usefulness": (usefulness_section.QUESTION, usefulness_section.measure)}
"""The section that takes long, and is measured on request only."""
PACKAGES = ("torch", "torchmetrics", "numpy", "scipy", "ImageHash", "diffusers")


def evaluate(
    pipe_or_folder: MagicalPipeline | str | Path,
    real: Data | None = None,
    holdout: Data | None = None,
    *,
    output_dir: str | Path | None = None,
    num_images: int = 600,
    seed: int = 0,
    rows: int | None = None,
    cols: int | None = None,
    label_column: str | None = None,
    network: nn.Module | None = None,
    usefulness: bool = False,
    normal_class: str | None = None,
    device: str = "cpu",
) -> EvaluationReport:
    """Evaluate generated images: quality, seams, coherence, diversity, and whether they copy training images.

    Args:
        pipe_or_folder: a pipeline; RUN, or another checkpoint's folder, name or id; or a folder of generated images,
            all of one size.
        real: the images that the generator was trained on: a folder, a dataset's id, or a `datasets.Dataset`. They are
            resized to the size of the generated images as for training. A RUN records its own, and those held out.
        holdout: real images that were not used for training, of the same kinds. Without them near copies are not
            tested, and the figures compare with half of `real`.
        output_dir: where report.json, report.html and the cache of features go; RUN/evaluation for a RUN, else nothing
            is written unless it is given.
        num_images: how many generated images to make, or to take from the folder.
        seed: of the images and of every choice.
        rows, cols: of the grid; a pipeline has its own. A folder has none unless given, and then what needs one is
            left out.
        label_column: with folders, any name makes the first folder below a class; with datasets, its column.
        network: features come from it: maps images (N, C, H, W) in [-1, 1], grey or RGB, of any size, to (N, F). A
            `name` and an `image_size` of its own go into the report. EfficientNet-Lite0 by default.
        usefulness: also measure whether the images make a classifier of their classes better, which takes minutes;
            needs classes. For boxes and masks there is `magical_hub.usefulness`.
        normal_class: name of the class without defects; without it no anomaly detector is tried.
        device: what the pipeline and the network run on.

    Raises:
        ConfigError, DataError, GridError, CheckpointError: where the request or the images cannot be used. A single
            question that can't be answered is a section left out, with the reason.
        MissingPackageError: without the extra `eval`.
    """
    subject = Subject.of(pipe_or_folder)
    folder = expanded(output_dir) if output_dir is not None else subject.run / "evaluation" if subject.run else None
    network = efficientnet_lite0() if network is None else network
    move(device, network, *([] if subject.pipe is None else [subject.pipe]))
    with _workplace(folder) as place:
        cache = FeatureCache(place if folder is None else folder / "cache", place, network)
        evidence = gather(
            subject,
            real,
            holdout,
            label_column=label_column,
            normal_class=normal_class,
            num_images=num_images,
            seed=seed,
            rows=rows,
            cols=cols,
            cache=cache,
            scratch=place,
        )
        sections = {}
        questions = SECTIONS | (ON_REQUEST if usefulness else {})
        with tqdm(questions.items(), desc="Evaluating", unit="section") as bar:
            for name, question in bar:
                bar.set_postfix_str(name)
                sections[name] = _answer(name, question, evidence)
        report = EvaluationReport(sections, _about(subject, evidence))
        if folder is not None:
            report.write(folder)
    return report


@contextmanager
def _workplace(folder: Path | None) -> Iterator[Path]:
    """A folder for files that go when the block ends; inside the folder of the report, which is locked."""
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="magical-hub-") as scratch:
            yield Path(scratch)
        return
    with only_writer(folder):
        for name in ("report.json", "report.html", "cache"):
            check_plain(folder / name)
        with folder_beside(folder / "scratch") as place:
            yield place


def _answer(name: str, question: Question, evidence: Evidence) -> Section:
    words, measure = question
    try:
        return measure(evidence)
    except (LeftOut, DataError, GridError) as reason:
        return Section(name, words, Verdict.NONE, f"Left out: {reason}.")


def _about(subject: Subject, evidence: Evidence) -> dict[str, Any]:
    grid = evidence.grid
    return {
        "subject": subject.name,
        "weights_sha256": subject.weights_sha256,
        "seed": evidence.seed,
        "image_size": [grid.height, grid.width],
        "channels": evidence.generated.store.channels,
        "grid": [grid.rows, grid.cols] if evidence.has_grid else None,
        "resizing_of_real_images": "to the size of the generated ones, Lanczos, antialiased",
        "network": evidence.cache.network_name,
        "counts": {
            "generated": len(evidence.generated),
            "compared": len(evidence.compared),
            "reference": len(evidence.reference),
            "other": len(evidence.other),
            "train": len(evidence.train),
            "holdout": None if evidence.holdout is None else len(evidence.holdout),
        },
        "reference_is": evidence.reference.name,
        "sha256": {
            "train": set_sha256(evidence.train.digests),
            "holdout": None if evidence.holdout is None else set_sha256(evidence.holdout.digests),
        },
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """The versions of the packages that compute figures."""
    return {
        "magical_hub": __version__,
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in PACKAGES},
    }
