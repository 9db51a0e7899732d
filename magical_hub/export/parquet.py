"""A labelled dataset as Parquet files with the images in them, named as on the Hub: `load_dataset` finds them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tqdm.auto import tqdm

if TYPE_CHECKING:
    import datasets

FILE_BYTES = 500 * 2**20
"""The size of a file, about; `push_to_hub` makes the same."""
ROWS_TOGETHER = 64
"""Rows of a group, which is what a reader decodes at a time."""


def write_parquet(dataset: datasets.Dataset, folder: Path) -> None:
    """Write data/train-00000-of-00001.parquet and so on: all columns, and images by their files' bytes.

    Args:
        dataset: images may still be files elsewhere.
        folder: where to; it must exist.
    """
    import pyarrow.parquet as pq
    from datasets.table import embed_table_storage

    (folder / "data").mkdir()
    files = 1 + dataset._estimate_nbytes() // FILE_BYTES
    with tqdm(total=len(dataset), desc="Writing Parquet", unit="row") as bar:
        for number in range(files):
            rows = dataset.with_format("arrow").shard(files, number, contiguous=True)
            path = folder / "data" / f"train-{number:05d}-of-{files:05d}.parquet"
            with pq.ParquetWriter(path, dataset.features.arrow_schema) as writer:
                for table in rows.iter(ROWS_TOGETHER):
                    writer.write_table(embed_table_storage(table))
                    bar.update(len(table))
