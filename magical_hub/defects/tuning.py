"""Which settings, and how many synthetic images, help on a user's own data: measured by small detectors.

Defective and good images are cut into folds by group. Each choice is made for the rest of the images, and a detector
that was trained on these is tested on the fold. What does not help is not used.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from magical_hub.data.columns import check_dataset, find_columns
from magical_hub.data.images import Intensity, grey_or_rgb
from magical_hub.defects.bank import DefectBank
from magical_hub.defects.measuring import near
from magical_hub.defects.rows import Row, Rows
from magical_hub.defects.scores import KeptScores
from magical_hub.defects.settings import PaintSettings
from magical_hub.detectors import (
    DetectorOptions,
    LabelledImages,
    average_precision,
    check_packages,
    labelled_arrays,
    longer_side_of,
    train_detector,
)
from magical_hub.detectors.reading import Marks
from magical_hub.errors import ConfigError, DataError
from magical_hub.provenance import made_by
from magical_hub.seeds import image_seed

if TYPE_CHECKING:
    import datasets

logger = logging.getLogger(__name__)

FIRST_SHARE = 0.3
"""Of synthetic rows while settings are compared."""
SHARES = ((0.15, 0.0), (0.3, 0.0), (0.5, 0.0), (0.5, 0.5))
"""What is compared with no synthetic rows: their share of a batch, and the share of the last steps without any."""
GOOD = 200
"""The most good images that a detector is trained with; a third of them is what it is tested with."""
CROP = 160
"""Pixels of the part of an image that a detector of boxes is trained on at a time."""


@dataclass(frozen=True)
class Trial:
    """One choice and what came of it.

    Attributes:
        about: what is special about it.
        settings: of the bank; None without synthetic images.
        synthetic_share: of the rows in a batch.
        real_only_steps: share of the steps, the last ones, that had real rows only.
        scores: average precision on each fold: mAP of boxes, or pixel AP of masks, over the classes of the fold.
    """

    about: str
    settings: PaintSettings | None
    synthetic_share: float
    real_only_steps: float
    scores: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Over the folds."""
        return float(np.mean(self.scores))


@dataclass(frozen=True)
class Tuned:
    """What was chosen, and what was tried.

    Attributes:
        settings: of the bank.
        synthetic_share: of synthetic rows in training; 0 where none helped.
        real_only_steps: share of the steps of training, the last ones, that should have real rows alone.
        trials: all that was tried, in its order; the first has no synthetic images.
    """

    settings: PaintSettings
    synthetic_share: float
    real_only_steps: float
    trials: tuple[Trial, ...]

    def rows_for(self, num_real: int) -> int:
        """How many synthetic rows have the share that was chosen, beside so many real ones."""
        return round(num_real * self.synthetic_share / (1 - self.synthetic_share))

    def record(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self)

    def table(self) -> str:
        """What was tried, as Markdown."""
        lines = ["| tried | share | real alone at the end | mean AP | folds |", "| --- | --- | --- | --- | --- |"]
        for trial in self.trials:
            folds = ", ".join(f"{score:.3f}" for score in trial.scores)
            numbers = f"{trial.synthetic_share:g} | {trial.real_only_steps:g} | {trial.mean:.3f}"
            lines.append(f"| {trial.about} | {numbers} | {folds} |")
        return "\n".join(lines)


def tune(
    dataset: datasets.Dataset,
    image_column: str = "image",
    label_column: str | None = None,
    objects_column: str | None = "auto",
    mask_column: str | None = "auto",
    reference_column: str | None = None,
    mask_values: Mapping[int, str] | None = None,
    group_column: str | None = None,
    folds: int = 3,
    num_synthetic: int = 100,
    steps: int = 300,
    longer_side: int | None = None,
    seed: int = 0,
    device: str = "cpu",
    kept_in: str | Path | None = None,
) -> Tuned:
    """Choose settings and the share of synthetic rows for a dataset: those that a detector is better with, or none.

    Settings are changed one after the other (composition, distance, variation), and a change is kept where the mean
    over the folds is higher by more than the standard error of the difference. Then the share with the highest mean is
    chosen; it is 0 where the others do not beat training without synthetic images by as much.

    Args:
        dataset: as of `DefectBank.from_dataset`; the images must have one size.
        image_column, label_column, objects_column, mask_column, reference_column, mask_values: as there.
        group_column: of boards, lots, modules: images of one group are in one fold. None: each image is a group.
        folds: how many, 2 or more.
        num_synthetic: images painted for each detector.
        steps: of each detector.
        longer_side: pixels that images are reduced to; None: 256 for boxes, 128 for masks, or less as they are.
        seed: of folds, images and detectors.
        device: where detectors are trained.
        kept_in: a folder where the score of each detector is kept, so that the same call continues after a stop.

    Raises:
        ConfigError: where a number is out of range.
        DataError: as `DefectBank.from_dataset`, and where fewer than two groups have defects.
        MissingPackageError: without the extra `eval`.
    """
    check_packages()  # before the work, not after it
    if folds < 2 or num_synthetic < 1:
        raise ConfigError(f"folds is {folds} and num_synthetic {num_synthetic}: must be at least 2 and 1")
    check_dataset(dataset)
    named = image_column, label_column, objects_column, mask_column, reference_column, group_column
    rows = Rows(dataset, find_columns(dataset.features, *named), mask_values)
    classes = rows.classes([marked.category for number in rows.defective for marked in rows.read(number).marked])
    side = longer_side_of(rows, longer_side)
    options = DetectorOptions(steps=steps, crop_size=None if rows.masks is not None else CROP)
    parts = _cut(rows, rows.groups, folds, seed)
    white = rows.white(np.unique(np.concatenate([*map(np.concatenate, parts)])).tolist())
    search = _Search(
        [_Fold(rows, classes, training, test, num_synthetic, side, seed, white) for training, test in parts],
        options,
        seed,
        device,
        None if kept_in is None else Path(kept_in),
    )
    return search.run()


class _Search:
    """Runs trials over all folds."""

    def __init__(
        self, folds: Sequence[_Fold], options: DetectorOptions, seed: int, device: str, kept_in: Path | None
    ) -> None:
        self._folds, self._options, self._seed, self._device = folds, options, seed, device
        self._trials: list[Trial] = []
        self._scores = KeptScores(None if kept_in is None else kept_in / f"tuning-{self._sha256()[:16]}.jsonl")

    def run(self) -> Tuned:
        """All trials, and what follows from them."""
        settings = self._folds[0].proposal
        changes = _changes(settings, self._folds[0].size)
        steps = (1 + 1 + len(changes) + len(SHARES) - 1) * len(self._folds) * self._options.steps
        with tqdm(total=steps, desc="Tuning", unit="step") as bar:
            without = self._try(bar, "no synthetic images", None, 0.0, 0.0)
            best = self._try(bar, "as proposed", settings, FIRST_SHARE, 0.0)
            for about, change in changes:
                assert best.settings is not None
                trial = self._try(bar, about, replace(best.settings, **change), FIRST_SHARE, 0.0)
                best = trial if _better(trial, best) else best
            shares = [best]
            for share, real_only in SHARES:
                if (share, real_only) != (FIRST_SHARE, 0.0):
                    shares.append(self._try(bar, "another share", best.settings, share, real_only))
        assert best.settings is not None
        chosen = max(shares, key=lambda trial: trial.mean)
        if not _better(chosen, without):
            return Tuned(best.settings, 0.0, 0.0, tuple(self._trials))
        return Tuned(best.settings, chosen.synthetic_share, chosen.real_only_steps, tuple(self._trials))

    def _try(self, bar: tqdm, about: str, settings: PaintSettings | None, share: float, real_only: float) -> Trial:
        options = replace(self._options, synthetic_share=share, real_only_steps=real_only)
        tried = [None if settings is None else asdict(settings), share, real_only]
        scores = []
        for number, fold in enumerate(self._folds):
            before = bar.n

            def measured(fold: _Fold = fold) -> float:
                synthetic = None if settings is None else fold.painted(settings)
                detector = train_detector(fold.real, synthetic, options, self._seed, bar.update, self._device)
                return average_precision(detector, fold.test).mean

            scores.append(self._scores.get(tried, number, measured))
            if bar.n == before:  # kept, and no part of the rate
                bar.initial += options.steps
                bar.update(options.steps)
        trial = Trial(about, settings, share, real_only, tuple(scores))
        self._trials.append(trial)
        logger.info("%s, share %g: %.3f", about, share, trial.mean)
        return trial

    def _sha256(self) -> str:
        """Of all that scores depend on beside what is tried: the images, the options and the program."""
        program = {name: value for name, value in made_by().items() if name != "command"}
        found = hashlib.sha256(repr((program, asdict(self._options), self._seed, self._device)).encode())
        for fold in self._folds:
            found.update(fold.sha256.encode())
        return found.hexdigest()


class _Fold:
    """One part of the images to test with, and all others to train with."""

    def __init__(
        self,
        rows: Rows,
        classes: list[str],
        training: np.ndarray,
        test: np.ndarray,
        num_synthetic: int,
        longer_side: int,
        seed: int,
        white: int,
    ) -> None:
        self._rows, self._classes, self._num_synthetic, self._seed = rows, classes, num_synthetic, seed
        self._side, self._sixteen_bits = longer_side, Intensity(0, white)
        self._bank = DefectBank.from_rows(rows, training, white=white)
        self.real, self.test = self._labelled(training), self._labelled(test)
        self.proposal, self.size = self._bank.settings, self._bank.image_size
        self._painted: dict[PaintSettings, LabelledImages] = {}
        self._targets, self._part = rows.targets({*training.tolist()})

    @property
    def sha256(self) -> str:
        """Of its images, their labels, and all that is painted on them."""
        targets = self._seed, self._num_synthetic, self._targets, self._part
        found = self._bank.sha256, targets, self.real.sha256, self.test.sha256
        return hashlib.sha256(repr(found).encode()).hexdigest()

    def painted(self, settings: PaintSettings) -> LabelledImages:
        """Good images of the training part with its defects, painted once for each of the settings."""
        if settings not in self._painted:
            self._painted[settings] = self._paint(settings)
        return self._painted[settings]

    def _paint(self, settings: PaintSettings) -> LabelledImages:
        self._bank.settings = settings
        numbers = np.array([0, *(1 + self._classes.index(name) for name in self._bank.classes)], np.uint8)
        made = []
        for number in range(self._num_synthetic):
            seed = image_seed(self._seed, number)
            row = self._targets[seed % len(self._targets)]
            painted = self._bank.paint(self._rows.pixels(row, self._part), seed=seed)
            objects = [(item["bbox"], item["category"]) for item in painted.objects]
            marks = objects if self._rows.masks is None else numbers[painted.mask]
            made.append((painted.image, f"painted image {number}", marks))
        return self._arrays(made)

    def _labelled(self, numbers: np.ndarray) -> LabelledImages:
        read = map(self._rows.read, numbers.tolist())
        return self._arrays((row.pixels, row.name, self._marks(row)) for row in read)

    def _marks(self, row: Row) -> Marks:
        if self._rows.masks is None:
            return [(marked.box, marked.category) for marked in row.marked if marked.box is not None]
        mask = np.zeros(row.pixels.shape[:2], np.uint8)
        for marked in row.marked:
            if marked.mask is not None:
                mask[marked.mask] = 1 + self._classes.index(marked.category)
        return mask

    def _arrays(self, items: Iterable[tuple[np.ndarray, str, Marks]]) -> LabelledImages:
        images = (
            (grey_or_rgb(pixels, name, sixteen_bits=self._sixteen_bits), name, marks) for pixels, name, marks in items
        )
        return labelled_arrays(images, self._classes, self._side, grey=True)


def _changes(settings: PaintSettings, size: tuple[int, int] | None) -> list[tuple[str, dict[str, Any]]]:
    """What is tried beside the proposal, one after the other; `size` is that of all images."""
    other = "ratio" if settings.composition == "matched" else "matched"
    changes: list[tuple[str, dict[str, Any]]] = [(f"composition {other}", {"composition": other})]
    if settings.fit is not None:
        changes.append(("copied to anywhere", {"composition": "copied", "max_shift": None, "fit": None}))
    elif size is not None:
        changes.append(("near their own places", {"max_shift": near(size)}))
    if settings.max_shift:
        changes.append(("a quarter of the distance", {"max_shift": settings.max_shift / 4}))
    changes.append(("scales and turns", {"scale": (0.85, 1.18), "turn": 10.0, "strength": (0.8, 1.2)}))
    return changes


def _cut(rows: Rows, groups: np.ndarray, folds: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """The rows to train with, and those to test with, of each fold: by group, as many defective ones in each."""
    rng = np.random.default_rng(seed)
    names, counts = np.unique(groups[rows.defective], return_counts=True)
    if len(names) < 2:
        raise DataError(
            f"{len(names)} group of images has defects, and tuning needs two at least, to test on another one: add "
            "images, or name another group_column"
        )
    folds = min(folds, len(names))
    order = rng.permutation(len(names))
    order = order[np.argsort(-counts[order], kind="stable")]
    sizes, fold_of = np.zeros(folds), {}
    for place in order:
        fold_of[names[place]] = int(sizes.argmin())
        sizes[fold_of[names[place]]] += counts[place]
    good = rng.permutation(rows.good)[: GOOD + GOOD // 3].astype(int) if rows.good else np.zeros(0, int)
    for name in rng.permutation(np.setdiff1d(groups[good], names)):
        fold_of.setdefault(str(name), len(fold_of) % folds)
    usable = np.concatenate([np.array(rows.defective, int), good])
    where = np.array([fold_of[group] for group in groups[usable]])
    return [(usable[where != fold], usable[where == fold]) for fold in range(folds)]


def _better(trial: Trial, other: Trial) -> bool:
    """Whether scores are higher by more than the standard error of their difference."""
    apart = np.array(trial.scores) - np.array(other.scores)
    return bool(apart.mean() > max(0.0, float(apart.std(ddof=1)) / np.sqrt(len(apart))))
