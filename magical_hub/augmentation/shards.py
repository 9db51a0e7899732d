"""Rows on the disk: Arrow files in the cache of `datasets`, each whole or not there, so that a killed call goes on."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from filelock import FileLock
from tqdm.auto import tqdm

import magical_hub
from magical_hub.augmentation.making import make_rows, rows_together
from magical_hub.augmentation.plan import Wish
from magical_hub.augmentation.preparing import Prepared
from magical_hub.augmentation.rows import Recipe
from magical_hub.files import write_text, written_whole
from magical_hub.pipeline import MagicalPipeline

if TYPE_CHECKING:
    import datasets

LAYOUT = 1
"""Counted up when the same arguments come to give other rows within one version of the program."""


def fingerprint_of(prepared: Prepared, dataset_fingerprint: str) -> str:
    """Changes with all that the rows hang on: weights, code, arguments, the dataset and its features."""
    from datasets.fingerprint import Hasher

    return str(Hasher.hash([LAYOUT, magical_hub.__version__, prepared, dataset_fingerprint]))


def make_shards(
    pipe: MagicalPipeline, recipe: Recipe, wanted: Sequence[Wish], fingerprint: str, num_proc: int | None
) -> tuple[datasets.Dataset, Counter[str]]:
    """The rows wished for, made where they aren't there yet, and how many images were made and dropped.

    Memory is that of one batch and of the rows made together, in each process.

    Args:
        pipe: makes the images.
        recipe: of the rows.
        wanted: a wish a row.
        fingerprint: names the folder.
        num_proc: processes; None or 1 is this one. A script that asks for more needs `if __name__ == "__main__":`.
    """
    import datasets

    folder = Path(datasets.config.HF_DATASETS_CACHE) / "magical_hub" / fingerprint
    folder.mkdir(parents=True, exist_ok=True)
    size = rows_together(recipe)
    parts = [wanted[first : first + size] for first in range(0, len(wanted), size)]
    paths = [folder / f"{number:05d}-of-{len(parts):05d}.arrow" for number in range(len(parts))]
    with FileLock(folder / ".lock"):  # a second call waits for the first, and finds all there
        missing = [(path, part) for path, part in zip(paths, parts, strict=True) if not path.exists()]
        with tqdm(total=len(wanted), desc="Augmenting", unit="img", disable=not missing) as bar:
            bar.update(len(wanted) - sum(len(part) for _, part in missing))
            for done in _write_all(pipe, recipe, missing, num_proc or 1):
                bar.update(done)
    counts: Counter[str] = Counter()
    for path in paths:
        counts.update(json.loads(path.with_suffix(".json").read_text()))
    return datasets.concatenate_datasets([datasets.Dataset.from_file(str(path)) for path in paths]), counts


Shard = tuple[Path, Sequence[Wish]]


def _write_all(pipe: MagicalPipeline, recipe: Recipe, shards: list[Shard], num_proc: int) -> Iterator[int]:
    """How many rows were written, shard by shard."""
    if min(num_proc, len(shards)) <= 1:
        for shard in shards:
            yield _write(pipe, recipe, shard)
        return
    threads = max(1, torch.get_num_threads() // num_proc)
    with ProcessPoolExecutor(
        min(num_proc, len(shards)),
        mp_context=torch.multiprocessing.get_context("spawn"),  # a fork of a process with threads may hang
        initializer=_start_worker,
        initargs=(pipe, recipe, threads),
    ) as pool:
        futures = [pool.submit(_write_in_worker, shard) for shard in shards]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


_worker: dict[str, Any] = {}
"""What a worker process was started with: sent once, and not with every shard."""


def _start_worker(pipe: MagicalPipeline, recipe: Recipe, threads: int) -> None:
    torch.set_num_threads(threads)
    _worker.update(pipe=pipe, recipe=recipe)


def _write_in_worker(shard: Shard) -> int:
    return _write(_worker["pipe"], _worker["recipe"], shard)


def _write(pipe: MagicalPipeline, recipe: Recipe, shard: Shard) -> int:
    from datasets.arrow_writer import ArrowWriter

    path, wanted = shard
    rows, counts = make_rows(pipe, recipe, wanted)
    write_text(path.with_suffix(".json"), json.dumps(counts))  # first: a shard that is there is done
    with written_whole(path) as beside:
        with ArrowWriter(path=str(beside), features=recipe.features, writer_batch_size=64) as writer:
            for row in rows:
                writer.write(row)
            writer.finalize()
    return len(rows)
