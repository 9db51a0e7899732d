"""Rows on the disk: Arrow files in the cache of `datasets`, whole or not there, so that a killed call can continue."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from filelock import FileLock
from tqdm.auto import tqdm

from magical_hub import provenance
from magical_hub.augmentation.making import RowMaker, Shard, make_shard, rows_together
from magical_hub.augmentation.plan import SampleRequest
from magical_hub.augmentation.settings import Settings
from magical_hub.errors import DataError
from magical_hub.files import remove_leftovers, write_text, written_whole
from magical_hub.safety import read_json

if TYPE_CHECKING:
    import datasets


def cache_folder() -> Path:
    """Where finished parts of what was stopped are kept, and found by the same call: in the cache of `datasets`."""
    import datasets

    return Path(datasets.config.HF_DATASETS_CACHE) / "magical_hub"


def rows_fingerprint(maker: RowMaker, requests: Sequence[SampleRequest], dataset_fingerprint: str) -> str:
    """Changes with all that the rows depend on: weights, code, libraries, arguments, the dataset and its features."""
    from datasets.fingerprint import Hasher

    program = {key: value for key, value in provenance.made_by().items() if key != "command"}
    return str(Hasher.hash([program, maker.identity, list(requests), dataset_fingerprint]))


def make_shards(
    maker: RowMaker, requests: Sequence[SampleRequest], fingerprint: str, settings: Settings
) -> tuple[datasets.Dataset, Counter[str]]:
    """The requested rows, generated where they are not in the cache yet, and how many images were made and dropped.

    Memory is that of one batch and of the rows made together, in each process.

    Args:
        maker: makes the rows.
        requests: one request per row.
        fingerprint: names the folder.
        settings: who makes them: engine, num_proc and ray_address.
    """
    import datasets

    folder = cache_folder() / fingerprint
    folder.mkdir(parents=True, exist_ok=True)
    size = rows_together(maker)
    parts = [requests[first : first + size] for first in range(0, len(requests), size)]
    paths = [folder / f"{number:05d}-of-{len(parts):05d}.arrow" for number in range(len(parts))]
    with FileLock(folder / ".lock"):  # a second call waits for the first, and finds all there
        remove_leftovers(folder)
        found = [_counts_of(path, len(part)) for path, part in zip(paths, parts, strict=True)]
        missing = [number for number, some in enumerate(found) if some is None]
        with tqdm(total=len(requests), desc="Augmenting", unit="img", disable=not missing) as bar:
            bar.update(len(requests) - sum(len(parts[number]) for number in missing))
            for made, shard in _make_all(maker, [parts[number] for number in missing], settings):
                found[missing[made]] = _write(paths[missing[made]], shard, len(parts[missing[made]]))
                bar.update(len(parts[missing[made]]))
    counts: Counter[str] = Counter()
    for some in found:
        counts.update(some)
    return datasets.concatenate_datasets([datasets.Dataset.from_file(str(path)) for path in paths]), counts


def _make_all(
    maker: RowMaker, parts: list[Sequence[SampleRequest]], settings: Settings
) -> Iterator[tuple[int, Shard]]:
    """One shard per part, by the part's number, in the order in which they are ready."""
    if settings.engine == "ray" and parts:
        from magical_hub.augmentation.cluster import make_on_cluster

        yield from make_on_cluster(maker, parts, settings.num_proc, settings.ray_address)
        return
    num_proc = min(settings.num_proc or 1, len(parts))
    if num_proc <= 1:
        for number, part in enumerate(parts):
            yield number, make_shard(maker, part)
        return
    threads = max(1, torch.get_num_threads() // num_proc)
    with ProcessPoolExecutor(
        num_proc,
        mp_context=torch.multiprocessing.get_context("spawn"),  # a fork of a process with threads may hang
        initializer=_start_worker,
        initargs=(maker, threads),
    ) as pool:
        numbers = {pool.submit(_make_in_worker, part): number for number, part in enumerate(parts)}
        try:
            for future in as_completed(numbers):
                yield numbers.pop(future), future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


_worker: dict[str, Any] = {}
"""The maker of a worker process, which is sent once and not with every shard."""


def _start_worker(maker: RowMaker, threads: int) -> None:
    torch.set_num_threads(threads)
    _worker.update(maker=maker)


def _make_in_worker(requests: Sequence[SampleRequest]) -> Shard:
    return make_shard(_worker["maker"], requests)


def _write(path: Path, shard: Shard, rows: int) -> dict[str, int]:
    """Write a shard and the record that it must match to be used again; returns its counts."""
    counts: dict[str, int] = json.loads(shard.counts)
    record = {"rows": rows, "sha256": hashlib.sha256(shard.arrow).hexdigest(), "counts": counts}
    write_text(path.with_suffix(".json"), json.dumps(record))  # first: a shard that is there is done
    with written_whole(path) as beside:
        beside.write_bytes(shard.arrow)
    return counts


def _counts_of(path: Path, rows: int) -> dict[str, int] | None:
    """The counts of a shard that is there whole; None where it has to be made (again)."""
    try:
        record = read_json(path.with_suffix(".json"), path.parent, DataError, "it is made again")
        counts = record.get("counts")
        right = record.get("rows") == rows and isinstance(counts, dict) and path.is_file() and not path.is_symlink()
        if not right or record.get("sha256") != provenance.file_sha256(path):
            return None
    except (DataError, OSError):
        return None
    return {str(name): count for name, count in record["counts"].items() if isinstance(count, int)}
