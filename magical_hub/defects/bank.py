"""The bank of examples: every defect of a dataset, ready to be put onto good images."""

from __future__ import annotations

import hashlib
import inspect
import json
import logging
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from magical_hub.boxes import box_of, checked_box
from magical_hub.data.columns import check_dataset, find_columns
from magical_hub.data.images import without_copies
from magical_hub.data.rows import GOOD_IMAGE
from magical_hub.defects.cutting import examples_of
from magical_hub.defects.examples import Example, Window
from magical_hub.defects.measuring import measure_alignment, propose
from magical_hub.defects.painting import Canvas, Painted
from magical_hub.defects.pixels import FULL, stretched
from magical_hub.defects.references import GoodImages
from magical_hub.defects.rows import Row, Rows
from magical_hub.defects.settings import PaintSettings
from magical_hub.defects.units import Unit, join, units_of
from magical_hub.errors import AugmentationError, ConfigError, DataError
from magical_hub.files import check_plain, only_maker, written_whole
from magical_hub.safety import MOST_BYTES_OF_IMAGES, read_json
from magical_hub.seeds import whole_number
from magical_hub.texts import plain

if TYPE_CHECKING:
    import datasets

    from magical_hub.defects.tuning import Tuned

logger = logging.getLogger(__name__)

ABOUT = "bank.json"
WEIGHTS = re.compile(r"defects(-[0-9a-f]{16})?\.safetensors")
"""The names of the file of pixels, which bank.json gives: with a part of its hash, and without one in format 1."""
FORMAT = 2
NOTE = "This folder holds pixels of real images: treat it as the images themselves."
DESCRIBED = ("category", "row", "place", "image_size", "margins", "error", "kind")
"""The fields of an example that are JSON in the file; the others are arrays."""
GOOD = 64
"""How many good images references are looked for in; spread over all of them."""


class DefectBank:
    """Defects cut out of real images, to be put onto good ones.

    A bank holds real pixels: what must stay inside a company must not leave it as a bank either.

    Args:
        examples: the defects.
        classes: names of the classes; their numbers are the places in this list.
        settings: how defects are put onto images.
        image_size: height and width of all images that examples come from; None where they differ.
        skipped: how many defects and rows were left out, by reason.
        mask_values: the class that each value of a mask stands for in the dataset.
        reference_column: the column of references in the dataset.
        white: the greatest value of the range of 16-bit images: 4095 of a 12-bit camera. What is painted ends there.

    Attributes:
        report: one dictionary per defect: `row`, `category`, `reference` (kind), `error` in the ring around it (mean
            absolute difference to the reference as a share of full scale), `pixels` (area of its mask), `size` (width
            and height of its box, as annotated).
    """

    def __init__(
        self,
        examples: Sequence[Example],
        classes: Sequence[str],
        settings: PaintSettings,
        image_size: tuple[int, int] | None,
        skipped: Mapping[str, int] | None = None,
        mask_values: Mapping[int, str] | None = None,
        reference_column: str | None = None,
        white: int = FULL,
    ) -> None:
        if not examples:
            raise DataError("a bank needs at least one defect")
        self._examples, self.classes = list(examples), list(classes)
        self._in_colour = any(example.pixels.ndim == 3 for example in self._examples)
        self.image_size, self.skipped = image_size, dict(skipped or {})
        self.mask_values = {int(value): str(name) for value, name in mask_values.items()} if mask_values else None
        self.reference_column, self.white = reference_column, white
        self.settings = settings

    @property
    def settings(self) -> PaintSettings:
        """How defects are put onto images."""
        return self._settings

    @settings.setter
    def settings(self, settings: PaintSettings) -> None:
        if settings.max_shift is not None and self.image_size is None:
            raise ConfigError("max_shift needs images of one size, and those of the bank differ: set it to None")
        self._settings = settings
        self._units = units_of(self._examples, settings)
        self._kinds: dict[frozenset[int], list[Unit]] = {}
        self._images: dict[int, list[Unit]] = {}
        for unit in self._units:
            self._kinds.setdefault(frozenset(unit.categories), []).append(unit)
            self._images.setdefault(unit.row, []).append(unit)
        self._rows_with: dict[int | None, list[int]] = {None: list(self._images)}
        for number in range(len(self.classes)):
            has = [row for row, units in self._images.items() if any(number in unit.categories for unit in units)]
            self._rows_with[number] = has

    def __len__(self) -> int:
        return len(self._examples)

    def __repr__(self) -> str:
        size = "several sizes" if self.image_size is None else f"{self.image_size[0]} x {self.image_size[1]} pixels"
        depth = self._examples[0].pixels.dtype
        values = f"{depth}, 0 to {255 if depth == np.uint8 else self.white}"
        return f"DefectBank({len(self)} defects of {plain(', '.join(self.classes))}; images of {size}, {values})"

    @property
    def report(self) -> list[dict[str, Any]]:
        """What is known of each defect, in the order of the dataset."""
        return [
            {
                "row": example.row,
                "category": self.classes[example.category],
                "reference": example.kind,
                "error": example.error,
                "pixels": int(example.mask.sum()),
                "size": _size(example),
            }
            for example in self._examples
        ]

    @classmethod
    def from_dataset(
        cls,
        dataset: datasets.Dataset,
        image_column: str = "image",
        label_column: str | None = None,
        objects_column: str | None = "auto",
        mask_column: str | None = "auto",
        reference_column: str | None = None,
        mask_values: Mapping[int, str] | None = None,
        settings: PaintSettings | None = None,
    ) -> DefectBank:
        """The defects of a dataset, each with the best reference that there is.

        Args:
            dataset: with rows of defects (boxes, masks or both) and good rows (see `LabelledRows.kinds`), which
                serve as references. With a reference column there need be no good rows.
            image_column: of images of 8 or 16 bits, grey or RGB. In 16 bits white is the next 2^n - 1 at or above the
                greatest value of the images that are read: all defective ones, their references, 64 good ones.
            label_column: of classes; a mask without `mask_values` is of its image's class.
            objects_column: of boxes x, y, w, h in pixels with a category; "auto" finds it, None: there is none.
            mask_column: of masks; "auto" finds it, None: there is none.
            reference_column: of images that show the same object without the defect (a golden template), at most
                3 pixels away.
            mask_values: the class that each value of a mask stands for.
            settings: how defects are put onto images; proposed from the data unless given.

        Raises:
            DataError: where the dataset has no defect, no good row and no reference, or a row cannot be used.
            ConfigError: where settings do not fit the data.
        """
        check_dataset(dataset)
        named = image_column, label_column, objects_column, mask_column, reference_column
        rows = Rows(dataset, find_columns(dataset.features, *named), mask_values)
        return cls.from_rows(rows, range(len(rows)), settings)

    @classmethod
    def from_rows(
        cls, rows: Rows, numbers: Iterable[int], settings: PaintSettings | None = None, white: int | None = None
    ) -> DefectBank:
        """The defects of some rows of a dataset, as of `from_dataset`; `white` is measured unless given."""
        chosen = {*map(int, numbers)}
        defective = [number for number in rows.defective if number in chosen]
        good_rows = [number for number in rows.good if number in chosen]
        if not defective:
            raise DataError("no row of the dataset has a defect: give boxes or masks of some")
        unknown = len(chosen.intersection(rows.unknown))
        if not good_rows and rows.columns.reference is None:
            unlabelled = f"; {unknown} rows have no mask: name the label_column that tells which are good"
            raise DataError(
                f"the dataset has no good image ({GOOD_IMAGE}): add some, or name a reference_column"
                + unlabelled * (unknown > 0 and rows.columns.label is None)
            )
        sample = np.linspace(0, len(good_rows) - 1, min(GOOD, len(good_rows))).round().astype(int)
        good_rows = [good_rows[number] for number in sample]
        white = rows.white([*defective, *good_rows]) if white is None else white
        good = [stretched(without_copies(rows.pixels(number)), white) for number in good_rows]
        alignment = measure_alignment(good)
        searched = GoodImages(good, alignment.aligned) if good else None
        skipped: Counter[str] = Counter()
        found: list[tuple[str, Example]] = []
        sizes = set()
        for number in tqdm(defective, desc="defects", leave=False):
            row = _stretched(rows.read(number), white)
            sizes.add((row.pixels.shape[0], row.pixels.shape[1]))
            found += examples_of(row, searched, skipped)
        for reason, count in skipped.items():
            logger.warning("left out of the bank: %d %s", count, reason)
        if unknown:
            skipped["rows that do not say whether they are good"] = unknown  # of which `Rows` has warned
        if not found:
            raise DataError(f"no defect of the dataset can be used: {dict(skipped)}")
        classes = rows.classes([category for category, _ in found])
        examples = [replace(example, category=classes.index(category)) for category, example in found]
        seen = Counter(category for category, _ in found)
        for category in classes:
            if seen[category] == 1:
                logger.warning("the class %r has one example: every image will repeat it", category)
        if settings is None:
            from_column = sum(example.kind == "column" for example in examples)
            settings = propose(alignment, from_column > len(examples) / 2, rows.masks is not None)
            if len(sizes) > 1:
                settings = replace(settings, max_shift=None)
        size = sizes.pop() if len(sizes) == 1 else None
        return cls(examples, classes, settings, size, skipped, rows.mask_values, rows.columns.reference, white)

    @classmethod
    def tune(cls, dataset: datasets.Dataset, **arguments: Any) -> tuple[DefectBank, Tuned]:
        """The bank of a dataset with the settings that help a detector on it, and how much they help.

        Args:
            dataset: as of `from_dataset`.
            arguments: of `magical_hub.defects.tune`: columns as of `from_dataset`, `group_column`, `folds` ...

        Raises:
            ConfigError, DataError, MissingPackageError: as `magical_hub.defects.tune`.
        """
        from magical_hub.defects.tuning import tune

        tuned = tune(dataset, **arguments)
        own = inspect.signature(cls.from_dataset).parameters.keys() & arguments.keys()
        bank = cls.from_dataset(dataset, **{name: arguments[name] for name in own}, settings=tuned.settings)
        return bank, tuned

    def paint(
        self,
        image: Any,
        defects: Sequence[Mapping[str, Any]] | None = None,
        seed: int = 0,
        reference: Any = None,
        containing: str | None = None,
    ) -> Painted:
        """Put defects onto one image.

        Args:
            image: a PIL image (L, RGB, I;16) or an array (H, W) or (H, W, 3), uint8 or uint16; without defects.
            defects: one dictionary per defect: `category`, and `bbox` (x, y, w, h in pixels) that it fills as far as
                its shape allows; without `bbox` a place that matches is found. None: as many, and of those classes,
                as images of the bank have.
            seed: the result depends on it, the image and the bank, and on nothing else.
            containing: a class that is to be among the defects, where `defects` is None; where it has no place,
                nothing is painted.
            reference: the same image without its own defects, where it has some: places are looked for in it.

        Raises:
            DataError: where the image is of another kind, or of another size than those of the bank while a place
                near their own is looked for (`max_shift`).
            ConfigError: where a category or a key is unknown, a defect no dictionary, or the seed negative.
            AugmentationError: where a defect that was given cannot be put onto the image, or would have to be scaled
                by less than 0.25 or more than 4 to fit into its `bbox`.
        """
        for wanted in defects or ():
            if not isinstance(wanted, Mapping):
                raise ConfigError(f"a defect to paint is {wanted!r}: give a dictionary with its category and its bbox")
            if unknown := sorted(map(str, wanted.keys() - {"category", "bbox"})):
                raise ConfigError(
                    f"a defect to paint has no {', '.join(unknown)}: give its category and its bbox alone"
                )
        canvas = Canvas(image, reference, self.classes, self.settings, self._in_colour, self.white)
        searched = defects is None or any(wanted.get("bbox") is None for wanted in defects)
        if searched and self.settings.max_shift is not None and canvas.size != self.image_size:
            raise DataError(
                f"the image is {canvas.size[0]} x {canvas.size[1]} and those of the bank are {self.image_size[0]} x "  # type: ignore[index]
                f"{self.image_size[1]}: resize it, or set max_shift to None"  # type: ignore[index]
            )
        if whole_number(seed) < 0:
            raise ConfigError(f"seed is {seed}: must be a whole number from 0 on")
        rng = np.random.default_rng(whole_number(seed))
        if defects is None:
            for units in self._draw(canvas.size, containing, rng):
                if not canvas.paint(units, rng) and containing is not None and not canvas.objects:
                    break  # it comes first, and the image is of no use without it
        for wanted in defects or ():
            self._paint_wanted(canvas, wanted, rng)
        return canvas.finish()

    def _draw(self, size: tuple[int, int], containing: str | None, rng: np.random.Generator) -> list[list[Unit]]:
        """What an image gets: the units to choose from, for each that one image of the bank has, as many by area."""
        number = None if containing is None else self._number(containing)
        rows = self._rows_with[number]
        if self.settings.keep_together and self.settings.together_within is None:
            return [[unit for row in rows for unit in self._images[row]]]
        units = self._images[rows[int(rng.integers(len(rows)))]]
        height, width = units[0].image_size
        share = min(1.0, size[0] * size[1] / (height * width))
        count = max(1, int(len(units) * share + rng.random()))
        order = rng.permutation(len(units))
        if number is not None:  # one of the class comes first
            order = np.array(sorted(order, key=lambda unit: number not in units[unit].categories))
        return [self._kinds[frozenset(units[unit].categories)] for unit in order[:count]]

    def _number(self, category: Any) -> int:
        if category not in self.classes:
            raise ConfigError(f"the bank has no class {category!r}, only {', '.join(self.classes)}")
        return self.classes.index(category)

    def _paint_wanted(self, canvas: Canvas, wanted: Mapping[str, Any], rng: np.random.Generator) -> None:
        category = wanted.get("category")
        number = self._number(category)
        members = [example for example in self._examples if example.category == number]
        if wanted.get("bbox") is None:
            done = canvas.paint([join([member]) for member in members], rng)
        else:
            box = checked_box(wanted["bbox"], canvas.size, "the image")
            closest = sorted(members, key=lambda example: _unlike(example, box[2], box[3]))[:4]
            done = canvas.paint_into([join([member]) for member in closest], box, rng)
            if not done:
                raise AugmentationError(
                    f"the defect {category!r} would not be visible in the box {tuple(map(round, box))}: it is cut off "
                    "there, looks like its surroundings, or covers another one; give another bbox, or another seed"
                )
        if not done:
            raise AugmentationError(
                f"the defect {category!r} fits nowhere on the image: give a bbox where its surroundings match, "
                "or raise fit in the settings"
            )

    @property
    def sha256(self) -> str:
        """Of all that images depend on: examples, classes, settings."""
        payload, record = self._serialised()
        return hashlib.sha256(payload + json.dumps(record).encode()).hexdigest()

    def save(self, folder: str | Path) -> None:
        """Write the bank: the pixels as safetensors, all else as JSON. It holds real pixels.

        A bank that is already there is whole until the new one has taken its place.

        Raises:
            ConfigError: where another process is writing into the folder.
        """
        folder = Path(folder)
        payload, record = self._serialised()
        with only_maker(folder / ABOUT):
            with written_whole(folder / record["weights"]) as beside:
                beside.write_bytes(payload)
            with written_whole(folder / ABOUT) as beside:
                beside.write_text(json.dumps({**record, "sha256_of_this": _sha256_of(record)}))
            for file in folder.iterdir():
                if WEIGHTS.fullmatch(file.name) and file.name != record["weights"]:
                    file.unlink()

    def _serialised(self) -> tuple[bytes, dict[str, Any]]:
        from safetensors.numpy import save

        arrays = {}
        about = []
        for number, example in enumerate(self._examples):
            for name in ("pixels", "reference"):
                arrays[f"{number}.{name}"] = np.ascontiguousarray(getattr(example, name))
            arrays[f"{number}.mask"] = example.mask.astype(np.uint8) | (example.others.astype(np.uint8) << 1)
            about.append({name: getattr(example, name) for name in DESCRIBED})
        payload = save(arrays)
        digest = hashlib.sha256(payload).hexdigest()
        record = {
            "format": FORMAT,
            "note": NOTE,
            "weights": f"defects-{digest[:16]}.safetensors",
            "sha256": digest,
            "classes": self.classes,
            "image_size": self.image_size,
            "settings": asdict(self.settings),
            "skipped": self.skipped,
            "mask_values": self.mask_values and list(self.mask_values.items()),
            "reference_column": self.reference_column,
            "white": self.white,
            "examples": about,
        }
        return payload, record

    @classmethod
    def load(cls, folder: str | Path) -> DefectBank:
        """The bank that `save` wrote.

        Raises:
            DataError: where the folder holds none, or a file is damaged.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load

        folder = Path(folder)
        try:
            if not (folder / ABOUT).exists():
                raise FileNotFoundError(folder / ABOUT)
            record = read_json(folder / ABOUT, folder, DataError, "save the bank again", MOST_BYTES_OF_IMAGES)
            if record["format"] not in (1, FORMAT):
                raise ValueError(f"a version of this program wrote it that has the format {record['format']!r}")
            if record["format"] != 1 and record.pop("sha256_of_this") != _sha256_of(record):
                raise ValueError(f"{ABOUT} was changed after it was written")
            weights = folder / str(record.get("weights", "defects.safetensors"))
            if not WEIGHTS.fullmatch(weights.name) or weights.parent != folder:
                raise ValueError(f"{ABOUT} names a file that is not a bank's")
            check_plain(weights)
            payload = weights.read_bytes()
            if record["sha256"] != hashlib.sha256(payload).hexdigest():
                raise ValueError("its files do not belong together")
            arrays = load(payload)
            examples = [
                Example(
                    pixels=arrays[f"{number}.pixels"],
                    reference=arrays[f"{number}.reference"],
                    mask=(arrays[f"{number}.mask"] & 1).astype(bool),
                    others=(arrays[f"{number}.mask"] & 2).astype(bool),
                    **{
                        **about,
                        "place": Window(*about["place"]),
                        "image_size": tuple(about["image_size"]),
                        "margins": tuple(about["margins"]),
                    },
                )
                for number, about in enumerate(record["examples"])
            ]
            for number, example in enumerate(examples):
                if type(example.category) is not int or not 0 <= example.category < len(record["classes"]):
                    raise ValueError(f"defect {number} is of the class {example.category!r}, which it has no name for")
            size = tuple(record["image_size"]) if record["image_size"] else None
            settings = PaintSettings.from_dict(record["settings"])
            values = dict(record["mask_values"]) if record["mask_values"] else None
            column, white = record["reference_column"], record.get("white", FULL)
            return cls(examples, record["classes"], settings, size, record["skipped"], values, column, white)
        except FileNotFoundError as error:
            raise DataError(f"{folder} holds no bank of defects: give a folder that DefectBank.save wrote") from error
        except DataError:
            raise
        except (OSError, ValueError, LookupError, TypeError, SafetensorError) as error:
            raise DataError(f"the bank in {folder} cannot be read ({error}): save it again") from error


def _sha256_of(record: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record).encode()).hexdigest()


def _stretched(row: Row, white: int) -> Row:
    reference = None if row.reference is None else stretched(row.reference, white)
    return replace(row, pixels=stretched(row.pixels, white), reference=reference)


def _unlike(example: Example, width: float, height: float) -> float:
    """How far the box of an example is from a size, as a ratio of sides."""
    w, h = _size(example)
    return abs(np.log(w / width)) + abs(np.log(h / height))


def _size(example: Example) -> tuple[float, float]:
    """Width and height of the box of an example, as annotated."""
    _, _, width, height = box_of(example.mask)
    left, top, right, bottom = example.margins
    return float(left + width + right), float(top + height + bottom)
