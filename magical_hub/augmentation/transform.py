"""A transform of the rows of a dataset: some images become synthetic, or get a defect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from magical_hub.augmentation import forms
from magical_hub.augmentation.augmenting import synthesise
from magical_hub.augmentation.painted import describe, good_rows
from magical_hub.augmentation.patches import MODES, Patch, make_patches
from magical_hub.augmentation.plan import sample_requests
from magical_hub.augmentation.preparing import Prepared, generated_rows
from magical_hub.augmentation.rows import RowEncoder
from magical_hub.augmentation.settings import Keep, Settings
from magical_hub.conditions import LabelNames
from magical_hub.data.columns import Columns, check_dataset, read_objects
from magical_hub.data.masks import MaskValues
from magical_hub.defects.bank import DefectBank
from magical_hub.errors import ConfigError, check_number
from magical_hub.pipeline import MagicalPipeline

if TYPE_CHECKING:
    import datasets


class MagicalTransform:
    """With a probability, replaces an image by a synthetic one, adds a generated defect, or paints a real one on it.

    For Hugging Face datasets: `dataset.with_transform(transform)`. `TorchvisionTransform` and
    `AlbumentationsTransform` do the same as transforms of these libraries.

    A pipeline makes a pool once (in the cache of `datasets`), so no network runs while a detector trains. A bank
    paints on good images (without objects, with an empty mask), anew every time that one is reached; an image that
    comes without its labels stays as it is. The transform can be pickled. Random numbers come from torch's global
    generator, which a DataLoader seeds in each worker.

    Args:
        dataset: whose rows will be transformed: its features, image size and classes.
        source: a MagicalPipeline makes the pool; a `DefectBank` paints defects.
        p: the probability that an image is changed.
        defect_share: of the images changed, the share that gets a defect, where the checkpoint was trained with
            defects and the image is without; the others are replaced. Of a pipeline alone, as are the next.
        pool_size: synthetic images in the pool, as many of each class, and as many defects.
        image_column, label_column, objects_column, mask_column, mask_values: as in `augment_dataset`. Without a label
            column any synthetic image may replace any other.
        seed, batch_size, num_proc, keep: of the pool, as in `augment_dataset`.

    Attributes:
        columns: the columns of a row.
        masks: the meaning of the values of masks; None where the dataset has no masks.

    Raises:
        ConfigError: where a number is out of range, or rows have boxes or masks and the checkpoint was trained
            without defects.
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
        for name, share in (("p", p), ("defect_share", defect_share)):
            check_number(name, share, at_least=0, at_most=1)
        check_number("pool_size", pool_size, at_least=1, whole=True)
        check_dataset(dataset)
        columns = (image_column, label_column, objects_column, mask_column, mask_values)
        settings = Settings(pool_size, *columns, seed=seed, batch_size=batch_size, num_proc=num_proc, keep=keep)
        self.p = p
        self._change: Pool | Painter
        if isinstance(source, DefectBank):
            self._change = Painter(dataset, source, settings)
        else:
            self._change = Pool(dataset, source, settings, defect_share)
        self.columns, self.masks = self._change.columns, self._change.masks

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Rows as a dictionary of columns (lists), as `with_transform` gives them; or one row.

        Raises:
            ConfigError: where there is no column of images, or an image is of another size than the pool's or holds
                floats that are not from 0 to 1.
        """
        image = self.columns.image
        if not isinstance(batch, Mapping):
            raise ConfigError(
                f"MagicalTransform got a {type(batch).__name__}, and takes rows of a dataset: torchvision's and "
                "albumentations' transforms are TorchvisionTransform and AlbumentationsTransform"
            )
        if image not in batch:
            raise ConfigError(f"there is no {image!r} among {', '.join(map(str, batch))}")
        if not isinstance(batch[image], list):
            return self._drawn(batch)
        rows = [self._drawn(dict(zip(batch, values, strict=True))) for values in zip(*batch.values(), strict=True)]
        return {name: [row[name] for row in rows] for name in batch}

    def change(self, row: Mapping[Any, Any], seed: int) -> dict[Any, Any]:
        """One row, changed; the result depends on the row and the seed alone.

        Args:
            row: of columns; the image is Pillow's or an array (H, W) or (H, W, C), of 8 or 16 bits or floats in 0..1.
            seed: of a bank, that of `DefectBank.paint`.

        Returns:
            The row with the image and what describes it replaced; the same image object where nothing changed.
        """
        return self._change.row(row, seed)

    def _drawn(self, row: Mapping[Any, Any]) -> dict[Any, Any]:
        seed = None if row[self.columns.image] is None else drawn_seed(self.p)
        return dict(row) if seed is None else self.change(row, seed)


def drawn_seed(p: float) -> int | None:
    """A seed from torch's global generator; None with the probability 1 - p, where nothing is to change."""
    return int(torch.randint(2**62, ())) if torch.rand(()) < p else None


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
        self._encoder: RowEncoder = maker.encoder
        self.columns, self.masks = self._encoder.columns, self._encoder.spec.masks
        has_defects = bool(LabelNames.of(pipe.generator.config).defects)
        described = [name for name in (self._encoder.columns.objects, self._encoder.columns.mask) if name is not None]
        if described and not has_defects:
            raise ConfigError(
                f"the checkpoint was trained without defects, so it can't say what {described[0]!r} of a synthetic "
                "image is: give objects_column=None and mask_column=None, and remove these columns from the rows"
            )
        if pool_size < len(counts):
            raise ConfigError(f"pool_size is {pool_size} for {len(counts)} classes: give at least one per class")
        each = sample_requests(dict.fromkeys(counts, 0), pool_size, balance=True, seed=settings.seed)
        self._pool, _ = synthesise(dataset, Prepared(maker, each, counts), settings)
        self._members: dict[Any, list[int]] = {}
        """Rows of the pool of each class."""
        label = self._encoder.columns.label
        for number, value in enumerate(self._pool[label] if label else [None] * len(self._pool)):
            self._members.setdefault(value, []).append(number)
        blends = has_defects and defect_share > 0 and self._encoder.spec.mode in MODES
        self._patches = make_patches(pipe, self._encoder, pool_size) if blends else []

    def row(self, row: Mapping[Any, Any], seed: int) -> dict[Any, Any]:
        """One row of columns, changed."""
        spec = self._encoder.spec
        if spec.intensity is not None and spec.mode.startswith("I"):
            forms.check_scale(row[self.columns.image], spec.intensity.high)
        rng = np.random.default_rng(seed)
        if rng.random() < self.defect_share and self._takes_defect(row):
            fitting = [patch for patch in self._patches if self._fits(patch, row)]
            if fitting:
                return self._blended(row, fitting[int(rng.integers(len(fitting)))])
        return self._replaced(row, rng)

    def _replaced(self, row: Mapping[Any, Any], rng: np.random.Generator) -> dict[Any, Any]:
        columns, changed = self._encoder.columns, dict(row)
        label = row.get(columns.label) if columns.label else None
        members = range(len(self._pool)) if label is None else self._members.get(label, [])
        if not members:  # a class that no row of the dataset had
            return changed
        other = self._pool[members[int(rng.integers(len(members)))]]
        for name in (columns.objects, columns.mask, *self._encoder.labels):
            if name in row:
                changed[name] = other[name]
        changed[columns.image] = forms.replaced(row[columns.image], other[columns.image])
        return changed

    def _takes_defect(self, row: Mapping[Any, Any]) -> bool:
        """Whether neither its objects nor its mask say that a row has a defect; null may mean that it has one."""
        known = _has_defect(row, self.columns, self.masks)
        return known is False or (known is None and not {self.columns.objects, self.columns.mask} & row.keys())

    def _fits(self, patch: Patch, row: Mapping[Any, Any]) -> bool:
        """Whether a row is of the class that the patch comes from, and of none with a defect, as far as it says so."""
        for name, column in self._encoder.labels.items():
            if row.get(name) is None:
                continue
            suits = column.values[column.none] if column.is_defect and column.none else patch.values.get(name)
            if row[name] != suits:
                return False
        return True

    def _blended(self, row: Mapping[Any, Any], patch: Patch) -> dict[Any, Any]:
        columns, changed = self._encoder.columns, dict(row)
        size = self._encoder.spec.size
        changed[columns.image] = forms.added(row[columns.image], patch, size, self._encoder.spec.mode)
        annotation = {"objects": [{"bbox": patch.box, "category": patch.defect}]}
        for name, column in self._encoder.labels.items():
            if name in row and column.is_defect:
                changed[name] = column.value(annotation)
        if columns.objects in row:
            changed[columns.objects] = self._encoder.objects([(patch.box, patch.defect)])
        if columns.mask in row:
            mask = np.zeros(size[::-1], np.uint8)
            rows, cols = patch.mask.shape
            mask[patch.top : patch.top + rows, patch.left : patch.left + cols] = patch.mask
            changed[columns.mask] = self._encoder.spec.mask(self._encoder.dataset_mask(mask), row[columns.mask])
        return changed


class Painter:
    """Changes good rows by painting defects of a bank on them.

    Args:
        dataset, bank: as of `MagicalTransform`.
        settings: names the columns.
    """

    def __init__(self, dataset: datasets.Dataset, bank: DefectBank, settings: Settings) -> None:
        rows = good_rows(dataset, bank, settings)
        self._bank, self._description = bank, describe(rows, bank)
        self.columns, self.masks = rows.columns, rows.masks
        self._good = {value for value, name in rows.labels.items() if name in rows.good_labels}

    def row(self, row: Mapping[Any, Any], seed: int) -> dict[Any, Any]:
        """One row of columns: with defects, where it has none."""
        if not self._is_good(row):
            return dict(row)
        forms.check_scale(row[self.columns.image], self._bank.white)
        image, painted = forms.painted(row[self.columns.image], lambda image: self._bank.paint(image, seed=seed))
        if not painted.objects:
            return dict(row)
        return {**row, **self._description.describe(row, painted), self.columns.image: image}

    def _is_good(self, row: Mapping[Any, Any]) -> bool:
        known = _has_defect(row, self.columns, self.masks)
        return row.get(self.columns.label) in self._good if known is None else not known


def _has_defect(row: Mapping[Any, Any], columns: Columns, masks: MaskValues | None) -> bool | None:
    """Whether the objects or the mask of a row say that it has a defect; None where neither says anything."""
    objects, mask = read_objects(row.get(columns.objects)), row.get(columns.mask)
    if objects is None and mask is None:
        return None
    marked = mask is not None and masks is not None and masks.read(mask, "the mask of a row").any()
    return bool(objects) or bool(marked)
