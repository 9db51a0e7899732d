"""What a training will cost: measured by a few steps of the trainer itself on a few of the images."""

from __future__ import annotations

import itertools
import logging
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import torch

from magical_hub.data import Record, Source, prepare_store
from magical_hub.errors import DataError
from magical_hub.grid import Grid
from magical_hub.training.config import TrainingConfig
from magical_hub.training.guards import is_out_of_memory, with_less_at_once
from magical_hub.training.processes import make_accelerator
from magical_hub.training.split import Split
from magical_hub.training.trainer import Trainer

if sys.platform != "win32":
    import resource

PROBED = 16
"""Images that the measured steps learn from."""
DEFECTIVE = 4
"""Of them with defects, where there are any: a step with defects costs more."""


@dataclass(frozen=True)
class Cost:
    """Of training on this machine, in this process."""

    step_seconds: float
    """A step, with all that takes part in it from when the feature critic has joined in."""
    memory_bytes: int
    """The most that the process held at a time: of a GPU's memory where there is one, else resident, libraries
    included."""
    free_bytes: int
    """What there is of that memory, together with what the process holds already."""


def measure_cost(config: TrainingConfig, source: Source) -> Cost:
    """Train for a few steps in a folder that is gone afterwards.

    Args:
        config: with nothing left open.
        source: the images.

    Raises:
        DataError: where too few of the first images can be read.
        TrainingError: where memory runs out.
    """
    try:
        with tempfile.TemporaryDirectory() as folder, _silence():
            return _measure(config, source, Path(folder))
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        less = with_less_at_once(config, 1, error)
    return measure_cost(less, source)  # out of the except clause, where the error still holds on to all that ran


def _measure(config: TrainingConfig, source: Source, folder: Path) -> Cost:
    assert config.canvas and config.rows and config.cols and config.channels
    few = replace(source, records=lambda: iter(_some_of(source)))
    store = prepare_store(
        few, folder / "data", Grid(config.rows, config.cols, *config.canvas), config.channels, progress=False
    )
    numbers = list(range(len(store)))
    split = Split(train=numbers, validation=numbers, holdout=[], digests=store.digests)
    split.save(folder / "split.json")
    probe = replace(
        config,
        output_dir=str(folder),
        resume=False,
        init_from=None,
        report_to="nothing",
        validate=False,
        class_balance=False,  # a few images need not show all classes
        balance_at=0.0,
    )
    trainer = Trainer(probe, make_accelerator(probe), store, split, roll_backs=0)
    trainer.advance()  # the optimizers' states, and what the libraries keep, come into being
    _wait()
    started = time.perf_counter()
    for _ in range(config.penalty_every):
        trainer.advance()
    _wait()
    return Cost((time.perf_counter() - started) / config.penalty_every, *_memory())


def _some_of(source: Source) -> list[Record]:
    """The first images, and in place of the last of them a few with defects, where the source knows any."""
    records = source.records()
    first = list(itertools.islice(records, PROBED))
    if source.defect_names is None:
        return first
    shown = (record for record in itertools.chain(first, records) if _shows_defect(record))
    defective = list(itertools.islice(shown, DEFECTIVE))
    names = {record.name for record in defective}
    return [record for record in first if record.name not in names][: PROBED - len(defective)] + defective


def _shows_defect(record: Record) -> bool:
    try:
        return record.problem is None and record.marks is not None and bool(record.marks.classes(record.name))
    except DataError:
        return False  # named when the store is made


@contextmanager
def _silence() -> Iterator[None]:
    """What there is to say of the images, training says."""
    logger = logging.getLogger("magical_hub")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _memory() -> tuple[int, int]:
    """The peak, and what is free together with what is held."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_reserved(), torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved()
    process = psutil.Process().memory_info()
    if sys.platform == "win32":
        peak = process.peak_wset
    else:
        unit = 1 if sys.platform == "darwin" else 1024
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return peak, psutil.virtual_memory().available + process.rss
