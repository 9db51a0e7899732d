"""From a dataset, a pipeline and arguments to what rows are made by: every mistake is found before a row is made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from magical_hub.augmentation.generated import GeneratedRows
from magical_hub.augmentation.image_spec import survey_images
from magical_hub.augmentation.labels import label_columns
from magical_hub.augmentation.making import RowMaker
from magical_hub.augmentation.painted import painted_rows
from magical_hub.augmentation.plan import SampleRequest, sample_requests
from magical_hub.augmentation.rows import PROVENANCE, RowEncoder, categories_of, mask_classes_of
from magical_hub.augmentation.settings import Settings
from magical_hub.conditions import LabelNames
from magical_hub.data.columns import check_dataset
from magical_hub.data.images import Intensity
from magical_hub.data.rows import LabelledRows
from magical_hub.defects.bank import DefectBank
from magical_hub.errors import ConfigError, DataError
from magical_hub.pipeline import MagicalPipeline
from magical_hub.provenance import pipeline_sha256, source_of

if TYPE_CHECKING:
    import datasets


Source = MagicalPipeline | DefectBank | tuple[MagicalPipeline, DefectBank]
"""The source of synthetic rows: generated images, defects painted on good images, or on generated good images."""


@dataclass(frozen=True)
class Prepared:
    """What rows are made by.

    Args:
        maker: of the rows.
        requests: one request per row.
        counts: how often each class of the label column occurs in the dataset; empty without a label column.
    """

    maker: RowMaker
    requests: list[SampleRequest]
    counts: dict[str, int]


def prepare(dataset: datasets.Dataset | datasets.IterableDataset, source: Source, settings: Settings) -> Prepared:
    """Look at the dataset, and match it with the source's labels.

    Raises:
        DataError: where columns are missing, hold something else, or name what the source doesn't have.
        ConfigError: where the settings don't go with the source.
    """
    import datasets

    check_dataset(dataset, streamed=True)
    streamed = isinstance(dataset, datasets.IterableDataset)
    if streamed and settings.engine == "ray":
        raise ConfigError("a stream's rows are made when they are reached: leave engine 'ray' out, or give a Dataset")
    maker: RowMaker
    if isinstance(source, MagicalPipeline):
        maker, counts = generated_rows(dataset, source, settings)
    else:
        if streamed or settings.engine == "ray":
            raise ConfigError("defects are painted on a Dataset by the engine 'local': give these")
        pipe, bank = (None, source) if isinstance(source, DefectBank) else source
        maker, counts = painted_rows(dataset, bank, pipe, settings, with_provenance(dataset.features, settings))
    return Prepared(maker, sample_requests(counts, settings.num_images, settings.balance, settings.seed), counts)


def generated_rows(
    dataset: datasets.Dataset | datasets.IterableDataset, pipe: MagicalPipeline, settings: Settings
) -> tuple[GeneratedRows, dict[str, int]]:
    """Rows of generated images, and how often each class of the label column occurs.

    Raises:
        DataError: where columns are missing, hold something else, or name what the checkpoint doesn't have.
    """
    import datasets

    features = dataset.features
    columns = settings.columns(features)
    known = LabelNames.of(pipe.generator.config)
    occurring = None if isinstance(dataset, datasets.IterableDataset) else _counted(dataset, columns.label)
    labels = label_columns(features, columns, known, occurring)
    trained_range = Intensity.of(pipe.generator.config.get("intensity_range"))
    spec = survey_images(LabelledRows(dataset, columns, settings.mask_values), trained_range)
    encoder = RowEncoder(
        features=with_provenance(features, settings),
        columns=columns,
        labels=labels,
        categories=categories_of(features[columns.objects], known.defects) if columns.objects else {},
        mask_classes=mask_classes_of(spec.masks, known.defects) if spec.masks is not None else (),
        spec=spec,
        source=source_of(pipe),
        seed=settings.seed,
        batch_size=settings.batch_size,
        keep=settings.keep,
    )
    return GeneratedRows(pipe, encoder, pipeline_sha256(pipe)), _counts(encoder, occurring, settings.balance)


def _counted(dataset: datasets.Dataset, label_column: str | None) -> dict[str, dict[Any, int]]:
    """The values of each column of classes, the label column among them, and how often each occurs."""
    import datasets

    classes = [name for name, feature in dataset.features.items() if isinstance(feature, datasets.ClassLabel)]
    counted = {}
    for column in {*classes, label_column} - {None}:
        values = dataset.with_format(None).select_columns([column])[column]
        try:
            counted[column] = dict(Counter(value for value in values if value is not None and value != -1))
        except TypeError as error:
            raise DataError(f"column {column!r} holds lists or records: name a column of classes") from error
        if column == label_column and not counted[column]:
            raise DataError(f"column {column!r} names no class in any row: fill it, or give label_column=None")
    return counted


def _counts(encoder: RowEncoder, occurring: Mapping[str, Mapping[Any, int]] | None, balance: bool) -> dict[str, int]:
    """How often each name of the label column occurs; of a stream it is not known."""
    label, column = encoder.label, encoder.columns.label
    if label is None or column is None:
        return {}
    if occurring is None:
        return dict.fromkeys(label.values, 0) if balance else {}
    return {name: occurring[column][value] for name, value in label.values.items() if value in occurring[column]}


def with_provenance(features: datasets.Features, settings: Settings) -> datasets.Features:
    """The features of synthetic rows: with the three columns of provenance where they are wanted.

    Raises:
        DataError: where the dataset has one of them already.
    """
    from datasets import Features, Value

    if not settings.provenance:
        return features
    taken = [name for name in PROVENANCE if name in features]
    if taken:
        raise DataError(f"the dataset has a column {taken[0]!r} already: rename it, or leave provenance out")
    types = dict(zip(PROVENANCE, (Value("bool"), Value("string"), Value("int64")), strict=True))
    return Features({**features, **types})
