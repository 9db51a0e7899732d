"""Labelled synthetic images in a training set, by one call."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from magical_hub.augmentation.making import RowMaker, make_rows, rows_together
from magical_hub.augmentation.plan import SampleRequest
from magical_hub.augmentation.preparing import Prepared, Source, prepare
from magical_hub.augmentation.rows import PROVENANCE
from magical_hub.augmentation.settings import Engine, Keep, Settings
from magical_hub.augmentation.shards import fingerprint_of, make_shards
from magical_hub.errors import DataError

if TYPE_CHECKING:
    import datasets

logger = logging.getLogger(__name__)

Data = TypeVar("Data", bound=Any)
"""A `datasets.Dataset`, an `IterableDataset`, or a dictionary of splits of either."""


def augment_dataset(
    dataset: Data,
    source: Source,
    num_images: int,
    image_column: str = "image",
    label_column: str | None = "label",
    objects_column: str | None = "auto",
    mask_column: str | None = "auto",
    mask_values: Mapping[int, str] | None = None,
    balance: bool = True,
    seed: int = 0,
    batch_size: int = 8,
    num_proc: int | None = None,
    keep: Keep = "verified",
    provenance: bool = False,
    probability: float = 0.5,
    engine: Engine = "local",
    ray_address: str | None = None,
) -> Data:
    """A training set with synthetic rows after its own: the same features, names, image sizes and modes.

    Synthetic rows are stored in the cache of `datasets`, in Arrow files of up to 64 rows: the same call finds them
    there, an interrupted call continues, and other arguments, weights or data make other files. Image i comes from
    `seeds.image_seed(seed, i)`; where it is dropped, from the seed that `plan.try_seed` gives. So rows depend
    neither on the number of processes nor, within a grey level, on the batch size. What was dropped is logged.

    Args:
        dataset: of a DatasetDict the split "train" is augmented and no other. Of an IterableDataset an
            IterableDataset comes, whose synthetic rows are made when they are reached.
        source: a MagicalPipeline makes whole images; a `DefectBank` paints defects on the good images of `dataset`
            (rows without objects, with an empty mask); a tuple of both paints them on generated images without
            defects, so that no background is real.
        num_images: synthetic rows in the result.
        image_column: column of the images.
        label_column: column of the classes to generate, matched by name: the checkpoint's image classes, or its
            defects and one name more that stands for none. Only classes that occur are generated. None leaves the
            classes to the checkpoint.
        objects_column, mask_column: of boxes x, y, w, h in pixels, and of masks; "auto" finds, None leaves null.
        mask_values: names of the defect classes that values of the masks stand for ({1: "dark", 2: "crack"}). None
            finds out what they mean (data/masks.py says how); synthetic masks have the same values.
        balance: make most of what is rare, so that the classes come as near to each other as they can; of a stream
            (whose counts are not known) as many of each. Otherwise as the dataset has them (of a stream: the
            checkpoint).
        seed: of the series of images.
        batch_size: images at a time.
        num_proc: processes; None is this one alone. A script with more needs `if __name__ == "__main__":`.
            With the engine "ray", actors of one core (or one GPU) each; None is as many as there are.
        keep: "verified" drops images that don't show their class or defect (where the checkpoint has a verifier;
            without one all count as verified), "all" none, a filter what it says (`augmentation.QualityFilter`).
        provenance: three columns more: `synthetic` (bool), `source` (checkpoint and a hash of its weights), `seed`.
            Of a DatasetDict only the split "train" has them.
        probability: of a stream alone: the share of synthetic rows, as long as there are rows of both.
        engine: "ray" makes the same rows on a Ray cluster (extra `ray`); not for a stream.
        ray_address: of the cluster that this machine is in: HOST:PORT or "auto". None takes the one that this process
            is connected to or that RAY_ADDRESS names, else starts one on this machine.

    Returns:
        The rows of `dataset`, then `num_images` rows more; of a stream, both interleaved. What can't be filled is
        null: other columns, and objects and masks where the checkpoint knows no defects.

    Raises:
        ConfigError: where an argument is out of range, or the Ray cluster doesn't answer.
        DataError: where columns are missing, or can't be matched with the checkpoint.
        AugmentationError: where the tries run out before there are `num_images`.
    """
    arguments = {name: value for name, value in locals().items() if name not in ("dataset", "source")}
    settings = Settings(**arguments)
    if not isinstance(dataset, dict):
        return augment(dataset, source, settings).dataset
    if "train" not in dataset:  # a DatasetDict, or one of streams
        raise DataError(f"there is no split 'train' among {', '.join(dataset)}: give one of the splits instead")
    return type(dataset)({**dataset, "train": augment(dataset["train"], source, settings).dataset})


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
    if dataset.format["type"] is not None:
        together = together.with_format(**{**dataset.format, "columns": None})
    return Augmented(together, counts)


def synthesise(
    dataset: datasets.Dataset, prepared: Prepared, settings: Settings
) -> tuple[datasets.Dataset, dict[str, int]]:
    """The synthetic rows alone, and the counts."""
    fingerprint = fingerprint_of(prepared.maker, prepared.requests, dataset._fingerprint)
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
