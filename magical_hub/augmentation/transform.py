"""A transform that makes some images of a batch synthetic, or puts a defect into them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from magical_hub.augmentation import forms
from magical_hub.augmentation.augmenting import synthesise
from magical_hub.augmentation.keeping import Keep
from magical_hub.augmentation.labels import Known
from magical_hub.augmentation.painted import describe, good_labels, good_rows
from magical_hub.augmentation.patches import MODES, Patch, make_patches
from magical_hub.augmentation.plan import wishes
from magical_hub.augmentation.preparing import Prepared, generated_rows
from magical_hub.augmentation.rows import Recipe
from magical_hub.augmentation.settings import Settings
from magical_hub.data.columns import read_objects
from magical_hub.defects.bank import DefectBank
from magical_hub.errors import ConfigError
from magical_hub.pipeline import MagicalPipeline

if TYPE_CHECKING:
    import datasets


class MagicalTransform:
    """With a probability, replaces an image by a synthetic one, adds a generated defect, or paints a real one on it.

    What is random comes from torch's global generator, which a DataLoader seeds in each worker; the transform can be
    pickled. A pipeline makes a pool once (in the cache of `datasets`), so no network runs while a detector trains. A
    bank paints on good images (without objects, with an empty mask), anew every time that one is reached; an image
    that comes without its labels stays as it is.

    It may be called as its users do:

    - `dataset.set_transform(transform)`: a batch, or one row, as a dictionary of columns.
    - torchvision v2: `transform(image)` or `transform(image, target)`, alone or in `v2.Compose`; images are Pillow's
      or tensors (C, H, W), uint8 or floats from 0 to 1. The target is the class, or a dictionary of boxes (corners, or
      what a `BoundingBoxes` says), labels and masks (N, H, W) as torchvision's detectors take it, without the class.
    - albumentations: `transform(image=array, mask=..., bboxes=..., class_labels=..., label=...)` gives a dictionary;
      bboxes are x, y, w, h in pixels. In an `A.Compose` with bbox_params, which hands on boxes of another form, it
      can't stand: call it before, `compose(**transform(image=...))`.

    Args:
        dataset: whose rows will be transformed: its features, image size and classes.
        source: a MagicalPipeline makes the pool; a `DefectBank` paints defects.
        p: the probability that an image is changed.
        defect_share: of the images changed, the share that gets a defect, where the checkpoint knows defects and the
            image is without; the others are replaced. Of a pipeline alone, as are the next.
        pool_size: synthetic images in the pool, as many of each class, and as many defects.
        image_column, label_column, objects_column, mask_column, mask_values: as in `augment_dataset`. Without a label
            column any synthetic image may stand in for any other.
        seed, batch_size, num_proc, keep: of the pool, as in `augment_dataset`.

    Raises:
        ConfigError: where a number is out of range, or rows have boxes or masks and the checkpoint knows no defects.
        DataError, AugmentationError: as `augment_dataset`.
    """

    def __init__(
        self,
        dataset: datasets.Dataset,
        source: MagicalPipeline | DefectBank,
        p: float = 0.5,
        defect_share: float = 0.5,
        pool_size: int = 128,
        image_column: str = "image",
        label_column: str | None = "label",
        objects_column: str | None = "auto",
        mask_column: str | None = "auto",
        mask_values: Mapping[int, str] | None = None,
        seed: int = 0,
        batch_size: int = 8,
        num_proc: int | None = None,
        keep: Keep = "verified",
    ) -> None:
        if not (0 <= p <= 1 and 0 <= defect_share <= 1):
            raise ConfigError(f"p is {p} and defect_share {defect_share}: give numbers from 0 to 1")
        columns = (image_column, label_column, objects_column, mask_column, mask_values)
        settings = Settings(pool_size, *columns, seed=seed, batch_size=batch_size, num_proc=num_proc, keep=keep)
        self.p = p
        self._change: Pool | Painter
        if isinstance(source, DefectBank):
            self._change = Painter(dataset, source, settings)
        else:
            self._change = Pool(dataset, source, settings, defect_share)
        self._columns = self._change.columns

    @property
    def available_keys(self) -> set[str]:
        """What an `albumentations.Compose` asks of its transforms."""
        return {"image", "mask", "bboxes", "class_labels", self._columns.label or "label"}

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        """Transform what was given, in any of the forms above, and give it back in the same form."""
        columns = self._columns
        if named and not inputs:
            return forms.from_row(self.row(forms.to_row(named, columns)), named, columns)
        if len(inputs) == 2 and not named:
            row = self.row(forms.target_to_row(*inputs, columns))
            return forms.row_to_target(row, *inputs, columns, self._change.masks)
        if len(inputs) != 1 or named:
            raise ConfigError("call it with a row, a batch, an image, an image and its target, or names alone")
        (given,) = inputs
        if not isinstance(given, Mapping):
            return self.row({columns.image: given})[columns.image]
        if columns.image not in given:
            raise ConfigError(f"there is no {columns.image!r} among {', '.join(map(str, given))}")
        if not isinstance(given[columns.image], list):
            return self.row(given)
        rows = [self.row(dict(zip(given, values, strict=True))) for values in zip(*given.values(), strict=True)]
        return {name: [row[name] for row in rows] for name in given}

    def row(self, row: Mapping[Any, Any]) -> dict[Any, Any]:
        """One row of columns, changed with the probability asked for."""
        if row[self._columns.image] is None or not _chance(self.p):
            return dict(row)
        return self._change.row(row)


class Pool:
    """Changes rows by images and defects that a pipeline made before.

    Args:
        dataset, pipe, defect_share: as of `MagicalTransform`.
        settings: of the pool.
    """

    def __init__(
        self, dataset: datasets.Dataset, pipe: MagicalPipeline, settings: Settings, defect_share: float
    ) -> None:
        pool_size = settings.num_images
        maker, counts = generated_rows(dataset, pipe, settings)
        self.defect_share = defect_share
        self._recipe: Recipe = maker.recipe
        self.columns, self.masks = self._recipe.columns, self._recipe.spec.masks
        knows_defects = bool(Known.of(pipe.generator.config).defects)
        told = [name for name in (self._recipe.columns.objects, self._recipe.columns.mask) if name is not None]
        if told and not knows_defects:
            raise ConfigError(
                f"the checkpoint knows no defects, so it can't say what {told[0]!r} of a synthetic image is: give "
                "objects_column=None and mask_column=None, and remove these columns from the rows"
            )
        if pool_size < len(counts):
            raise ConfigError(f"pool_size is {pool_size} for {len(counts)} classes: give one a class at least")
        each = wishes(dict.fromkeys(counts, 0), pool_size, balance=True, seed=settings.seed)
        self._pool, _ = synthesise(dataset, Prepared(maker, each, counts), settings)
        self._members: dict[Any, list[int]] = {}
        """Rows of the pool of each class."""
        label = self._recipe.columns.label
        for number, value in enumerate(self._pool[label] if label else [None] * len(self._pool)):
            self._members.setdefault(value, []).append(number)
        blends = knows_defects and defect_share > 0 and self._recipe.spec.mode in MODES
        self._patches = make_patches(pipe, self._recipe, pool_size) if blends else []

    def row(self, row: Mapping[Any, Any]) -> dict[Any, Any]:
        """One row of columns, changed."""
        if _chance(self.defect_share):
            fitting = [patch for patch in self._patches if self._fits(patch, row)]
            if fitting:
                return self._blended(row, fitting[_draw(len(fitting))])
        return self._replaced(row)

    def _replaced(self, row: Mapping[Any, Any]) -> dict[Any, Any]:
        columns, changed = self._recipe.columns, dict(row)
        label = row.get(columns.label) if columns.label else None
        members = range(len(self._pool)) if label is None else self._members.get(label, [])
        if not members:  # a class that no row of the dataset had
            return changed
        other = self._pool[members[_draw(len(members))]]
        for name in (columns.objects, columns.mask, *self._recipe.labels):
            if name in row:
                changed[name] = other[name]
        changed[columns.image] = forms.replaced(row[columns.image], other[columns.image])
        return changed

    def _fits(self, patch: Patch, row: Mapping[Any, Any]) -> bool:
        """Whether a row is without a defect, and of the class that the patch comes from, as far as it says so."""
        columns = self._recipe.columns
        for name, column in self._recipe.labels.items():
            if row.get(name) is None:
                continue
            suits = column.values[column.none] if column.is_defect and column.none else patch.values.get(name)
            if row[name] != suits:
                return False
        return not (columns.objects in row and read_objects(row[columns.objects], "a row") != [])

    def _blended(self, row: Mapping[Any, Any], patch: Patch) -> dict[Any, Any]:
        columns, changed = self._recipe.columns, dict(row)
        size = self._recipe.spec.size
        changed[columns.image] = forms.added(row[columns.image], patch, size, self._recipe.spec.mode)
        annotation = {"objects": [{"bbox": patch.box, "category": patch.defect}]}
        for name, column in self._recipe.labels.items():
            if name in row and column.is_defect:
                changed[name] = column.value(annotation)
        if columns.objects in row:
            changed[columns.objects] = self._recipe.objects([(patch.box, patch.defect)])
        if columns.mask in row:
            mask = np.zeros(size[::-1], np.uint8)
            rows, cols = patch.mask.shape
            mask[patch.top : patch.top + rows, patch.left : patch.left + cols] = patch.mask
            changed[columns.mask] = self._recipe.spec.mask(self._recipe.marked(mask))
        return changed


class Painter:
    """Changes good rows by painting defects of a bank on them.

    Args:
        dataset, bank: as of `MagicalTransform`.
        settings: names the columns.
    """

    def __init__(self, dataset: datasets.Dataset, bank: DefectBank, settings: Settings) -> None:
        rows = good_rows(dataset, bank, settings)
        self._bank, self._description = bank, describe(dataset, rows, bank)
        self.columns, self.masks = rows.columns, rows.masks
        self._good = good_labels(rows)

    def row(self, row: Mapping[Any, Any]) -> dict[Any, Any]:
        """One row of columns: with defects, where it has none."""
        if not self._is_good(row):
            return dict(row)
        seed = int(torch.randint(2**62, ()))
        image, painted = forms.painted(row[self.columns.image], lambda image: self._bank.paint(image, seed=seed))
        if not painted.objects:
            return dict(row)
        return {**row, **self._description.describe(row, painted), self.columns.image: image}

    def _is_good(self, row: Mapping[Any, Any]) -> bool:
        columns = self.columns
        if columns.objects in row and read_objects(row[columns.objects]) is not None:
            return read_objects(row[columns.objects]) == []
        if columns.mask in row and row[columns.mask] is not None:
            return not np.asarray(row[columns.mask]).any()
        return columns.label in row and row[columns.label] in self._good


def _chance(probability: float) -> bool:
    return bool(torch.rand(()) < probability)


def _draw(count: int) -> int:
    return int(torch.randint(count, ()))
