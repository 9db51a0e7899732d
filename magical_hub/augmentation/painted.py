"""Rows whose images are good ones, real or generated, with defects of a bank."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np
from PIL import Image

from magical_hub.augmentation.image_spec import WIDE_TYPES, survey_images
from magical_hub.augmentation.keeping import filter_reasons
from magical_hub.augmentation.labels import largest
from magical_hub.augmentation.making import RowMaker
from magical_hub.augmentation.plan import SampleRequest, try_seed
from magical_hub.augmentation.rows import (
    categories_of,
    encoded_row,
    image_file,
    mask_classes_of,
    stored_objects,
    synthetic_name,
)
from magical_hub.conditions import LabelNames
from magical_hub.data.columns import Columns, stored_values
from magical_hub.data.images import Intensity, pixels_of, read_header, read_image
from magical_hub.data.masks import MaskValues
from magical_hub.data.rows import is_normal
from magical_hub.defects.bank import DefectBank
from magical_hub.defects.painting import Painted
from magical_hub.defects.rows import Rows
from magical_hub.errors import ConfigError, DataError
from magical_hub.pipeline import MagicalPipeline
from magical_hub.provenance import pipeline_sha256

if TYPE_CHECKING:
    import datasets

    from magical_hub.augmentation.settings import Settings

NOTHING = "without a place for the defect"
LAYERED = ("LA", "RGBA")
"""Pillow's modes of images with a channel of opacity."""
WRITTEN = ("L", "RGB", "RGB;16", *LAYERED, *WIDE_TYPES)
"""Modes that painted images can have: in no other can every colour be written."""


class Target(NamedTuple):
    """A good image to paint on.

    Attributes:
        pixels: (H, W) or (H, W, 3), uint8 or uint16.
        mode: Pillow's, as it is stored ("RGB;16": colour of 16 bits).
        known: what its row says of it.
        stored: the image in its mode, where that has a channel of opacity.
    """

    pixels: np.ndarray
    mode: str
    known: dict[Any, Any]
    stored: Image.Image | None


@dataclass(frozen=True)
class Description:
    """How the columns of a dataset describe a painted image.

    Args:
        features: of the dataset.
        columns: what they hold.
        classes: of the bank.
        categories: what the column of objects stores for each class.
        masks: how masks are written; None where there are none.
        mask_classes: the class in them of each class of the bank; 0 first, for none.
        labels: for each column of classes, what it stores for the class of the largest defect; a column that says
            something else of an image keeps its value.
    """

    features: datasets.Features
    columns: Columns
    classes: tuple[str, ...]
    categories: Mapping[str, Any]
    masks: MaskValues | None
    mask_classes: tuple[int, ...]
    labels: Mapping[str, Mapping[str, Any]]

    def describe(self, row: Mapping[Any, Any], painted: Painted) -> dict[Any, Any]:
        """The columns of a row that its defects change, the image apart.

        Args:
            row: of the good image; of its mask, what marks nothing (void) stays around the defects.
            painted: the image with defects.
        """
        columns = self.columns
        changed: dict[Any, Any] = {}
        for name, values in self.labels.items():
            if name in row and values:
                changed[name] = values[largest(painted.objects)]
        if columns.objects in row:
            objects = [(item["bbox"], item["category"]) for item in painted.objects]
            feature, (height, width) = self.features[columns.objects], painted.mask.shape
            changed[columns.objects] = stored_objects(feature, self.categories, objects, (height, width))
        if columns.mask in row and self.masks is not None:
            marked = np.array(self.mask_classes, np.uint8)[painted.mask]
            changed[columns.mask] = self.masks.image(marked, row[columns.mask])
        return changed


class PaintedRows(RowMaker):
    """Rows of painted images.

    Args:
        bank: of the defects.
        targets: from seeds to good images and what their rows say of them.
        description: of a painted image.
        features: of the rows, those of provenance included where they are wanted.
        settings: the arguments of `augment_dataset`.
        size: width and height of the targets.
        identity: what the targets depend on.
    """

    advice = "raise fit or lower visible in the settings of the bank"
    on_gpu = False

    def __init__(
        self,
        bank: DefectBank,
        targets: Callable[[Sequence[int]], list[Target]],
        description: Description,
        features: datasets.Features,
        settings: Settings,
        size: tuple[int, int],
        identity: Any,
    ) -> None:
        self.bank, self.description, self.features = bank, description, features
        self._targets, self._seed, self._keep = targets, settings.seed, settings.keep
        self.size, self.batch_size = size, settings.batch_size
        self._source = f"real defects, bank {bank.sha256[:12]}"
        self.identity = [identity, bank.sha256, description, features, self._seed, self._keep]

    def attempt(self, requests: Sequence[SampleRequest], turn: int) -> list[dict[str, Any] | str]:
        """Make rows as `RowMaker.attempt` describes."""
        seeds = [try_seed(self._seed, request.number, turn) for request in requests]
        images, annotations, rows, sixteen_bits = [], [], [], Intensity(0, self.bank.white)
        for request, seed, target in zip(requests, seeds, self._targets(seeds), strict=True):
            painted = self.bank.paint(target.pixels, seed=seed, containing=request.label)
            there = {item["category"] for item in painted.objects}
            done = request.label in there if request.label is not None else bool(there)
            rows.append(self._row(painted, target, request.number, seed) if done else NOTHING)
            images.append(painted.image)
            annotations.append({"objects": painted.objects})
        if callable(self._keep):
            images = [sixteen_bits.to_8_bits(image) if image.dtype == np.uint16 else image for image in images]
            reasons = filter_reasons(self._keep, images, annotations)
            rows = [row if isinstance(row, str) else reason or row for row, reason in zip(rows, reasons, strict=True)]
        return rows

    def _row(self, painted: Painted, target: Target, number: int, seed: int) -> dict[str, Any]:
        columns, name = self.description.columns, synthetic_name(self._seed, number)
        row: dict[Any, Any] = {**dict.fromkeys(self.features), **target.known}
        row |= self.description.describe(row, painted)
        row[columns.image] = _encoded(painted, target, name)
        if columns.mask is not None:
            row[columns.mask] = image_file(row[columns.mask], name)
        return encoded_row(self.features, row, self._source, seed)


def _encoded(painted: Painted, target: Target, name: str) -> dict[str, Any]:
    """An image as an Image feature stores it, in the mode of its target and a format that keeps every value."""
    pixels = painted.image
    if pixels.ndim == 3 and pixels.dtype == np.uint16:  # which Pillow does not know
        content = cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))[1].tobytes()
        return {"bytes": content, "path": f"{name}.png"}
    if target.stored is not None:  # defects are opaque, and all else is as it was
        layers = np.array(target.stored)
        layers[painted.changed, :-1] = pixels[painted.changed][:, : layers.shape[2] - 1]
        layers[painted.changed, -1] = 255
        pixels = layers
    return image_file(Image.fromarray(pixels.astype(WIDE_TYPES.get(target.mode, pixels.dtype))), name)


def check_modes(rows: Rows) -> None:
    """Raise a DataError where images to paint on have a mode that painted ones cannot have, such as a palette's."""
    targets, part = rows.targets()
    if rows.features[rows.columns.image].mode is not None:  # all are converted when they are read
        return
    numbers = {*targets}
    for row in rows.over(part):
        if row.number in numbers:
            source, name = row.stored(part) or row.image
            _check_mode(read_header(source, name)[1], name)


def _check_mode(mode: str, name: str) -> None:
    if mode not in WRITTEN:
        raise DataError(
            f"{name} has the mode {mode}, which painted images cannot have: cast the column to "
            "datasets.Image(mode='RGB') (or 'L'), or convert the files"
        )


def painted_rows(
    dataset: datasets.Dataset,
    bank: DefectBank,
    pipe: MagicalPipeline | None,
    settings: Settings,
    features: datasets.Features,
) -> tuple[PaintedRows, dict[str, int]]:
    """Rows with the defects of a bank, and how often each class occurs in the bank.

    Args:
        dataset: whose good images are painted on, and whose columns describe them.
        bank: of the defects.
        pipe: makes the good images instead.
        settings: the arguments of `augment_dataset`.
        features: of the rows.

    Raises:
        DataError: where there are no good images, or the columns can't name the classes of the bank.
        ConfigError: where the checkpoint doesn't make images without defects.
    """
    rows = good_rows(dataset, bank, settings)
    description = describe(rows, bank)
    targets: _Real | _Generated
    identity = None
    if pipe is not None:
        targets, identity = _Generated(pipe, rows), pipeline_sha256(pipe)
    else:
        targets = _Real(rows, description)
    counts = Counter(defect["category"] for defect in bank.report)
    maker = PaintedRows(bank, targets, description, features, settings, targets.size, identity)
    return maker, {name: counts[name] for name in bank.classes} if settings.balance else {}


def good_rows(dataset: datasets.Dataset, bank: DefectBank, settings: Settings) -> Rows:
    """The rows of a dataset, the good ones known."""
    reference = bank.reference_column if bank.reference_column in dataset.features else None
    columns = settings.columns(dataset.features, painted=True, reference=reference)
    known = None if columns.mask is None else bank.mask_values
    return Rows(dataset, columns, settings.mask_values or known, bank.classes)


def describe(rows: Rows, bank: DefectBank) -> Description:
    """How the columns of a dataset describe painted images.

    Raises:
        DataError: where objects or masks can't name the classes of the bank.
    """
    import datasets

    columns, features = rows.columns, rows.features
    mask_classes = mask_classes_of(rows.masks, bank.classes) if rows.masks is not None else ()
    names = [name for name, feature in features.items() if isinstance(feature, datasets.ClassLabel)]
    labels = {}
    for name in {columns.label: None, **dict.fromkeys(names)}:
        if name is not None:
            labels[name] = _label_values(rows, name, bank.classes)
    categories = categories_of(features[columns.objects], bank.classes) if columns.objects else {}
    return Description(features, columns, tuple(bank.classes), categories, rows.masks, mask_classes, labels)


def _label_values(rows: Rows, column: str, classes: Sequence[str]) -> dict[str, Any]:
    """What a column stores for each class of defects; empty where it says something else of an image: a lot, a camera.

    Its names are the classes; or it tells good rows from defective ones, whose commonest value is stored then (null
    where there are none). Only the label column, and one that calls all good rows normal, can do that: lots may differ
    by chance.
    """
    stored = list(rows.dataset.select_columns([column])[column])
    names = stored_values(rows.dataset.features[column], stored)
    if {*classes} <= {*names}:
        return {name: names[name] for name in classes}
    defective = Counter(stored[number] for number in rows.defective if stored[number] is not None)
    good = {stored[number] for number in rows.good}
    normal = {value for name, value in names.items() if is_normal(name)}
    if good & {*defective} or not (column == rows.columns.label or (good and good <= normal)):
        return {}
    return dict.fromkeys(classes, defective.most_common(1)[0][0] if defective else None)


class _Real:
    """Good images of a dataset, drawn at random; where it has none, those of its column of references.

    With an image come its labels, and its reference, which painted defects leave as it is.
    """

    def __init__(self, rows: Rows, description: Description) -> None:
        self._rows, self._known = rows, list(description.labels)
        self._numbers, self._part = rows.targets()
        if rows.columns.reference is not None:
            self._known.append(rows.columns.reference)
        check_modes(rows)
        height, width = rows.pixels(self._numbers[0], self._part).shape[:2]
        self.size = width, height

    def __call__(self, seeds: Sequence[int]) -> list[Target]:
        found = []
        for seed in seeds:
            row = self._rows[self._numbers[int(np.random.default_rng([seed, 1]).integers(len(self._numbers)))]]
            known: dict[Any, Any] = {name: row.values[name] for name in self._known}
            mask = row.stored("mask")
            if mask is not None:
                known[self._rows.columns.mask], _ = mask
            stored = row.stored(self._part) or row.image
            mode = read_header(*stored)[1]
            layers = read_image(*stored) if mode in LAYERED else None
            found.append(Target(self._rows.pixels(row.number, self._part), mode, known, layers))
        return found


class _Generated:
    """Images without defects of a pipeline, in the size and mode of the dataset's."""

    def __init__(self, pipe: MagicalPipeline, rows: Rows) -> None:
        self._pipe = copy.copy(pipe)
        self._pipe.set_progress_bar_config(disable=True)
        self._spec = survey_images(rows, Intensity.of(pipe.generator.config.get("intensity_range")))
        _check_mode(self._spec.mode, "the commonest kind of image")
        self.size = self._spec.size
        self._arguments: dict[str, Any] = {}
        self._labels: dict[str, Any] = {}
        known = LabelNames.of(pipe.generator.config)
        if known.defects:
            self._arguments["defects"] = {}
        label = rows.columns.label
        if label is not None and known.classes:
            stored = rows.dataset.select_columns([label])[label]
            names = {value: name for name, value in stored_values(rows.dataset.features[label], stored).items()}
            good = Counter(names.get(stored[number]) for number in rows.good)
            classes = [name for name in good if name in known.classes]
            if not classes:
                raise ConfigError(
                    f"the checkpoint has the classes {', '.join(known.classes)} and none of the good images': "
                    "take another checkpoint, or the bank alone"
                )
            self._arguments["class_labels"] = max(classes, key=lambda name: good[name])
            self._labels[label] = next(
                value for value, name in names.items() if name == self._arguments["class_labels"]
            )

    def __call__(self, seeds: Sequence[int]) -> list[Target]:
        output: Any = self._pipe(seeds=list(seeds), images_per_batch=len(seeds), **self._arguments)
        found, mode = [], self._spec.mode
        for image in map(self._spec.image, output.images):
            pixels = pixels_of(image, "a generated image")
            found.append(Target(pixels, mode, dict(self._labels), image if mode in LAYERED else None))
        return found
