"""A training set with synthetic rows, from a name to a folder in the layout of another program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from magical_hub.augmentation.augmenting import Augmented, augment
from magical_hub.augmentation.painted import check_modes
from magical_hub.augmentation.settings import Settings
from magical_hub.augmentation.shards import cache_folder
from magical_hub.data import open_dataset
from magical_hub.data.columns import Columns
from magical_hub.data.images import open_image
from magical_hub.data.kinds import range_of_16_bits
from magical_hub.data.rows import ONE_CLASS, LabelledRows
from magical_hub.defects.bank import DefectBank
from magical_hub.defects.rows import Rows
from magical_hub.devices import move
from magical_hub.errors import ConfigError, DataError
from magical_hub.export.labelled import Format, checked_samples, write_dataset
from magical_hub.export.places import check_place, is_remote
from magical_hub.files import expanded
from magical_hub.pictures import save_picture_grid, with_labels
from magical_hub.pipeline import MagicalPipeline
from magical_hub.provenance import of_images, of_painted

if TYPE_CHECKING:
    import datasets


PICTURES = 12
"""Synthetic images that are drawn with their labels."""


@dataclass(frozen=True)
class Written:
    """The result of `write_augmented`: numbers of images, the reasons for dropped ones, pictures, its record."""

    output_dir: str
    format: str
    real: int
    synthetic: int
    counts: dict[str, int]
    pictures: str | None
    record: dict[str, Any]

    def summary(self) -> str:
        """What was made, and what tuning chose, in a line each."""
        counts = ", ".join(f"{count} {reason}" for reason, count in self.counts.items())
        text = (
            f"{self.real} real and {self.synthetic} synthetic images{f' ({counts})' * bool(counts)}: {self.output_dir}"
        )
        text += f"; look at {self.pictures}" if self.pictures else ""
        if "tuning" in self.record:
            share = self.record["tuning"]["synthetic_share"]
            chosen = f"training is best with {share:.0%} of synthetic images" if share else "no share of them helped"
            text += f"\ntuning: {chosen}; {self.output_dir}/provenance.json has all that was tried"
        return text


def write_augmented(
    data: str,
    checkpoint: str | None,
    output_dir: str | Path,
    settings: Settings,
    format: Format = "hf",
    split: str = "train",
    device: str = "cpu",
    reference_column: str | None = None,
    tune: bool = False,
    tune_steps: int = 300,
    group_column: str | None = None,
) -> Written:
    """Augment a dataset and write it, real and synthetic images together; provenance.json says where they come from.

    In the format "hf", whose images are inside of Arrow files, samples.png shows synthetic ones with their labels.

    Args:
        data: as of `data.open_dataset`: a folder of images, one that `save_to_disk` wrote, or the id of a dataset on
            the Hub.
        checkpoint: RUN, an id on the Hub, or a bundled checkpoint's name. None paints the data's own defects on its
            own good images.
        output_dir: new or empty, or a URL for fsspec, as of `write_dataset`.
        settings: what is made.
        format: "hf", "parquet", "imagefolder", "coco", "yolo" or "anomalib".
        split: the split to augment; no other is written.
        device: cpu, cuda, mps ...
        reference_column: without a checkpoint, as of `DefectBank.from_dataset`.
        tune: without a checkpoint, choose settings and the share of synthetic rows by `defects.tune`; there are
            `num_images` of these at most, and none where none help.
        tune_steps: of each detector that is trained for it.
        group_column: of boards, lots, modules, which tuning keeps together.

    Raises:
        DataError: where the data can't be read, or lack what the format needs.
        ConfigError, CheckpointError, AugmentationError: as `augment_dataset` and `MagicalPipeline.from_pretrained`.
    """
    check_place(output_dir)  # before the work, not after it
    dataset = open_dataset(data, split)
    columns = settings.columns(dataset.features, painted=checkpoint is None)
    settings = replace(settings, label_column=columns.label)
    checked_samples(dataset, format, columns, settings.mask_values)
    if checkpoint is None:
        made, origin = _painted(dataset, settings, reference_column, tune_steps if tune else None, group_column)
    elif reference_column is not None or tune:
        raise ConfigError("reference_column and tune are for the defects of the data: leave the checkpoint out")
    else:
        made, origin = _generated(dataset, checkpoint, settings, format, device)
    record = {**origin, "made": "dataset", "format": format, "real": len(dataset)}
    write_dataset(
        made.dataset,
        output_dir,
        format,
        image_column=settings.image_column,
        label_column=settings.label_column,
        objects_column=settings.objects_column,
        mask_column=settings.mask_column,
        mask_values=settings.mask_values,
        record=record,
    )
    place = str(output_dir if is_remote(output_dir) else expanded(output_dir))
    synthetic, pictures = range(len(dataset), len(made.dataset))[:PICTURES], None
    if format == "hf" and synthetic and not is_remote(output_dir):  # whose images no viewer opens
        pictures = str(Path(place) / "samples.png")
        labelled, classes = labelled_images(made.dataset.select(synthetic), columns, settings.mask_values)
        save_picture_grid(labelled, Path(pictures), 4, classes)
    num_images = origin["image"]["num_images"]
    return Written(place, format, len(dataset), num_images, made.counts, pictures, record)


def labelled_images(
    dataset: datasets.Dataset, columns: Columns, mask_values: Mapping[int, str] | None
) -> tuple[np.ndarray, dict[int, str]]:
    """The images of a dataset with their boxes and masks drawn over them, and the classes that occur.

    Returns:
        (N, 3, H, W) uint8, for `picture_grid`; and the number and the name of each class, which has one colour in
        boxes and masks.
    """
    rows, shown, occurring = LabelledRows(dataset, columns, mask_values), [], set()
    named = rows.masks.names if rows.masks is not None else None
    names = list(dict.fromkeys([*rows.defect_names, *(named or ()), *rows.labels.values(), ONE_CLASS]))
    sixteen_bits = range_of_16_bits(row.image for row in rows.over("image"))
    for row in rows:
        items = row.objects or []
        mask = None
        if row.marked is not None:
            own = named or (row.label or ONE_CLASS,)
            mask = np.array([0, *(1 + names.index(name) for name in own)])[row.marked]
            for item in items if named is None else ():
                if item.mask is not None:
                    mask[item.mask()] = 1 + names.index(item.category)
            occurring |= {*np.unique(mask[mask > 0]) - 1}
        occurring |= {names.index(item.category) for item in items}
        objects = [{"bbox": item.box, "category": item.category} for item in items]
        picture = with_labels(open_image(*row.image, sixteen_bits=sixteen_bits), objects, mask, names)
        shown.append(np.asarray(picture.reduce(2)).transpose(2, 0, 1))
    return np.stack(shown), {number: names[number] for number in sorted(map(int, occurring))}


def _generated(
    dataset: datasets.Dataset, checkpoint: str, settings: Settings, format: Format, device: str
) -> tuple[Augmented, dict[str, Any]]:
    """The dataset with images of a checkpoint, and where they come from."""
    pipe = MagicalPipeline.from_pretrained(checkpoint)
    move(device, pipe)
    if format in ("coco", "yolo") and not pipe.generator.config.num_defects:
        raise DataError(
            f"{checkpoint} was trained without defects: its images have no boxes for {format}; take another format"
        )
    return augment(dataset, pipe, settings), of_images(pipe, _about(settings))


def _painted(
    dataset: datasets.Dataset,
    settings: Settings,
    reference_column: str | None,
    tune_steps: int | None,
    group_column: str | None,
) -> tuple[Augmented, dict[str, Any]]:
    """The dataset with its own defects on its own good images, and where they come from."""
    named: dict[str, Any] = {
        "image_column": settings.image_column,
        "label_column": settings.label_column,
        "objects_column": settings.objects_column,
        "mask_column": settings.mask_column,
        "reference_column": reference_column,
        "mask_values": settings.mask_values,
    }
    if tune_steps is None:
        bank = DefectBank.from_dataset(dataset, **named)
        return augment(dataset, bank, settings), of_painted(bank, _about(settings))
    columns = settings.columns(dataset.features, painted=True, reference=reference_column)
    check_modes(Rows(dataset, columns, settings.mask_values))  # before the tuning, not after it
    bank, tuned = DefectBank.tune(
        dataset, **named, group_column=group_column, steps=tune_steps, seed=settings.seed, kept_in=cache_folder()
    )
    num_images = min(settings.num_images, tuned.rows_for(len(dataset)))
    origin = {**of_painted(bank, {**_about(settings), "num_images": num_images}), "tuning": tuned.record()}
    if not num_images:
        return Augmented(dataset, {}), origin
    return augment(dataset, bank, replace(settings, num_images=num_images)), origin


def _about(settings: Settings) -> dict[str, Any]:
    """The request as a record holds it."""
    return {"seed": settings.seed, "num_images": settings.num_images, "balance": settings.balance}
