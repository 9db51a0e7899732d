"""Labelled synthetic images in a training set, by one call."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from magical_hub.augmentation.making import RowMaker, make_rows, rows_together
from magical_hub.augmentation.plan import SampleRequest
from magical_hub.augmentation.preparing import Prepared, Source, prepare
from magical_hub.augmentation.rows import PROVENANCE
from magical_hub.augmentation.settings import Settings
from magical_hub.augmentation.shards import make_shards, rows_fingerprint
from magical_hub.data.fingerprints import fingerprint_of
from magical_hub.errors import DataError

if TYPE_CHECKING:
    import datasets

logger = logging.getLogger(__name__)

Data = TypeVar("Data", bound=Any)
"""A `datasets.Dataset`, an `IterableDataset`, or a dictionary of splits of either."""


def augment_dataset(dataset: Data, source: Source, num_images: int, **settings: Any) -> Data:
    """A training set with synthetic rows after its own: the same features, names, image sizes and modes.

    Synthetic rows are stored in the cache of `datasets`, in Arrow files of up to 64 rows: the same call finds them
    there, an interrupted call continues, and other arguments, weights or data make other files (of an image file that
    a row names, path, size and time of change count: copied again, it is other data). Image i comes from
    `seeds.image_seed(seed, i)`; where it is dropped, from the seed that `plan.try_seed` gives. So rows depend
    neither on the number of processes nor, within a grey level, on the batch size. What was dropped is logged.

    Args:
        dataset: of a DatasetDict the split "train" is augmented and no other. Of an IterableDataset an
            IterableDataset comes, whose synthetic rows are made when they are reached.
        source: a MagicalPipeline makes whole images; a `DefectBank` paints defects on the good images of `dataset`
            (rows without objects, with an empty mask); a tuple of both paints them on generated images without
            defects, so that no background is real.
        num_images: synthetic rows in the result.
        settings: other fields of `Settings`: image_column, label_column, objects_column, mask_column, mask_values,
            balance, seed, batch_size, num_proc, keep, provenance, probability, engine, ray_address.

    Returns:
        The rows of `dataset`, then `num_images` rows more, in its format; of a stream, both interleaved. What can't be
        filled is null: other columns, and objects and masks where the checkpoint was trained without defects.

    Raises:
        ConfigError: where a setting is out of range, or the Ray cluster doesn't answer.
        DataError: where columns are missing, or can't be matched with the checkpoint.
        AugmentationError: where the tries run out before there are `num_images`.
    """
    checked = Settings(num_images, **settings)
    if not isinstance(dataset, dict):
        return augment(dataset, source, checked).dataset
    if "train" not in dataset:  # a DatasetDict, or one of streams
        raise DataError(f"there is no split 'train' among {', '.join(dataset)}: give one of the splits instead")
    return type(dataset)({**dataset, "train": augment(dataset["train"], source, checked).dataset})


@dataclass(frozen=True)
class Augmented:
    """A dataset with its synthetic rows, and how many images were "made" and dropped for which reason."""

    dataset: datasets.Dataset | datasets.IterableDataset
    counts: dict[str, int]


def augment(dataset: datasets.Dataset | datasets.IterableDataset, source: Source, settings: Settings) -> Augmented:
    """Augment one split as `augment_dataset` does; a stream has no counts, since its rows are still to be made."""
    import datasets

    prepared = prepare(dataset, source, settings)
    real = _marked_real(dataset, prepared.maker.features) if settings.provenance else dataset
    if isinstance(dataset, datasets.IterableDataset):
        return Augmented(_interleaved(real, prepared, settings), {})
    made, counts = synthesise(dataset, prepared, settings)
    together = datasets.concatenate_datasets([real.with_format(None), made], split=dataset.split)
    added = [name for name in together.column_names if name not in dataset.column_names]
    shown = [*dataset.format["columns"], *added]
    return Augmented(together.with_format(**{**dataset.format, "columns": shown}), counts)


def synthesise(
    dataset: datasets.Dataset, prepared: Prepared, settings: Settings
) -> tuple[datasets.Dataset, dict[str, int]]:
    """The synthetic rows alone, and the counts."""
    fingerprint = rows_fingerprint(prepared.maker, prepared.requests, fingerprint_of(dataset))
    made, counts = make_shards(prepared.maker, prepared.requests, fingerprint, settings)
    dropped = ", ".join(f"{count} {reason}" for reason, count in counts.items() if reason != "made")
    logger.log(
        logging.WARNING if dropped else logging.INFO,
        "%d images kept of %d made (%s)",
        len(made),
        counts["made"],
        dropped or "none dropped",
    )
    return made, dict(counts)


def _marked_real(dataset: Any, features: datasets.Features) -> Any:
    """The dataset with columns of provenance that say: not synthetic."""
    import datasets

    if isinstance(dataset, datasets.IterableDataset):
        blank = dict(zip(PROVENANCE, (False, None, None), strict=True))
        return dataset.map(lambda row: blank, features=features)
    for name, value in zip(PROVENANCE, (False, None, None), strict=True):
        dataset = dataset.add_column(name, [value] * len(dataset), feature=features[name])
    return dataset


def _interleaved(real: Any, prepared: Prepared, settings: Settings) -> datasets.IterableDataset:
    """Every row of both once; synthetic ones with the given probability, as long as there are both."""
    import datasets

    size = rows_together(prepared.maker)
    requests = prepared.requests
    made = datasets.IterableDataset.from_generator(
        _rows,
        features=prepared.maker.features,
        gen_kwargs={
            "parts": [requests[first : first + size] for first in range(0, len(requests), size)],
            "maker": prepared.maker,
        },
    )
    return datasets.interleave_datasets(
        [real, made],
        probabilities=[1 - settings.probability, settings.probability],
        seed=settings.seed,
        stopping_strategy="all_exhausted_without_replacement",
    )


def _rows(parts: list[list[SampleRequest]], maker: RowMaker) -> Iterator[dict[str, Any]]:
    """Make rows; `parts` is a list, which the workers of a DataLoader share out among themselves."""
    counts: Counter[str] = Counter()
    for part in parts:
        rows, made = make_rows(maker, part)
        counts.update(made)
        yield from rows
    logger.info("synthetic rows of the stream: %s", dict(counts))
