"""What a training will be, before it starts: what was chosen, what it costs, and where the data does not suit.

The cost is measured, by a few steps of the trainer itself on a few of the images.
"""

from __future__ import annotations

import itertools
import logging
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import psutil
import torch

from magical_hub.data import Record, Source, prepare_store
from magical_hub.errors import DataError
from magical_hub.training.config import TrainingConfig
from magical_hub.training.guards import is_out_of_memory, with_smaller_passes
from magical_hub.training.processes import make_accelerator
from magical_hub.training.run.layout import check_free, source_of
from magical_hub.training.run.split import Split
from magical_hub.training.survey import SURVEYED, Survey, complete
from magical_hub.training.trainer import Trainer

if sys.platform != "win32":
    import resource

FEW = 100
"""Images, all parts together: fewer never gave a good result."""
FEW_OF_A_KIND = 20
"""Images of a class, or with a kind of defect, in the training part: from fewer none was ever learned."""
IN_PLACE = 0.75
"""Share of the images in place below which they do not suit the method. Solar cells and packages have 0.88 to 1.0;
cut 5% askew they have 0.3 to 0.65."""
MEASURED_FROM = 50
"""Steps from which on their cost is measured, by a few."""
STRETCH = 1.05
"""Ratio of an image's shape to the canvas's from which on the stretching gives a warning."""
PROBED = 16
"""Images that the measured steps train on."""
DEFECTIVE = 4
"""The number of those that have defects, where there are any: a step with defects costs more."""


@dataclass(frozen=True)
class Plan:
    """The plan of a training: what is chosen from the data, and what it costs."""

    config: TrainingConfig
    """The configuration, with nothing left open."""
    num_images: int | None
    """The number of images; None for a stream."""
    counts: dict[str, int] | None
    """Images of each class and each kind of defect, all parts together; None for a stream."""
    sizes: int
    """Different sizes among the images looked at."""
    depth: str
    """The type and range of the pixels in words, where they are not of 8 bits."""
    alignment: float | None
    """`metrics.alignment` of the images looked at; None where it was not measured."""
    disk_bytes: int | None
    """Bytes of the decoded images in RUN; None for a stream."""
    warnings: tuple[str, ...]
    """Warnings of the data or the machine."""
    seconds: float | None
    """Seconds of the whole training, decoding included, pictures and checkpoints not; None where not measured: under
    several processes, and for a few steps. So are the following."""
    step_seconds: float | None
    """Seconds of a step on this machine."""
    memory_bytes: int | None
    """The most that training holds at a time: of a GPU's memory where there is one, else of the machine's, libraries
    included."""
    window_bytes: int | None
    """Of that memory, what each window of a pass takes, measured with all windows of this configuration's."""
    windows_that_fit: int | None
    """How many windows in one pass that memory has room for."""

    def to_dict(self) -> dict[str, object]:
        """The numbers alone, as `--json` prints them."""
        chosen = ("output_dir", "channels", "rows", "cols", "generator", "batch_size", "max_steps")
        values = {name: value for name, value in vars(self).items() if name not in ("config", "sizes", "depth")}
        settings = {name: getattr(self.config, name) for name in chosen}
        return {**values, **settings, "image_size": list(self.config.canvas or ()), "warnings": list(self.warnings)}

    def text(self) -> str:
        """The plan in words."""
        config, grid = self.config, self.config.grid
        validation, holdout = config.validation_fraction, config.holdout_fraction
        images = "images as they come" if self.num_images is None else f"{self.num_images} images"
        depth = f"\ndepth     {self.depth}" if self.depth else ""
        sizes = "one size" if self.sizes == 1 else f"{self.sizes} sizes among those looked at"
        place = "" if self.alignment is None else f", {self.alignment:.0%} of them in place"
        until = f"{config.max_steps} steps"
        if config.max_minutes is not None:
            until += f" or {config.max_minutes:g} min, whichever ends first"
        lines = [
            f"data      {images}, {sizes}{place}{depth}",
            # With what each part of the split will have of it.
            *(
                f"          {name}: {count} images, about {count * (1 - validation - holdout):.0f} to learn from, "
                f"{count * validation:.0f} for validation, {count * holdout:.0f} held out"
                for name, count in (self.counts or {}).items()
            ),
            f"canvas    {grid.height} x {grid.width} px, {'grey' if config.channels == 1 else 'colour'}, "
            f"{grid.rows} x {grid.cols} sub-regions of {grid.cell_height} x {grid.cell_width} px",
            f"training  {config.generator} generator, {config.batch_size} windows of {config.window_rows} x "
            f"{config.window_cols} sub-regions a step, {until}",
        ]
        if self.seconds is not None and self.step_seconds is not None and self.memory_bytes is not None:
            lines.append(
                f"cost      about {_duration(self.seconds)} ({self.step_seconds:.2g} s a step), "
                f"{_size(self.memory_bytes)} of memory, {_size(self.disk_bytes or 0)} on the disk"
            )
        if self.window_bytes is not None and self.windows_that_fit is not None:
            at_once = config.batch_size // config.gradient_accumulation
            lines.append(
                f"memory    a pass of {at_once} windows takes {_size(at_once * self.window_bytes)}, each "
                f"{_size(self.window_bytes)}: about {self.windows_that_fit} windows in a pass would fit"
            )
        lines.append(f"RUN       {config.output_dir}")
        return "\n".join(lines + [f"warning: {warning}" for warning in self.warnings])


def plan(config: TrainingConfig) -> Plan:
    """Look at the data, fill in what is left open, and measure what training costs by a few steps; leaves no files.

    Raises:
        DataError, GridError, ConfigError, TrainingError: as `train`.
    """
    check_free(config)
    source = source_of(config)
    survey = Survey(source)
    config = complete(config, survey)
    count = source.count
    assert config.canvas and config.channels and config.max_steps
    alone = int(os.environ.get("WORLD_SIZE", 1)) == 1
    cost = measure_cost(config, source) if alone and config.max_steps >= MEASURED_FROM else None
    seconds = None
    if cost is not None:
        seconds = config.max_steps * cost.step_seconds + (count or 0) * survey.seconds
        seconds = round(min(seconds, (config.max_minutes or float("inf")) * 60), 1)
    return Plan(
        config=config,
        num_images=count,
        counts=survey.counts,
        depth=survey.depth,
        sizes=len(set(survey.sizes)),
        alignment=survey.alignment,
        disk_bytes=None if count is None else count * config.canvas[0] * config.canvas[1] * config.channels,
        warnings=tuple(_warnings(config, survey, cost)),
        seconds=seconds,
        step_seconds=None if cost is None else cost.step_seconds,
        memory_bytes=None if cost is None else cost.memory_bytes,
        window_bytes=None if cost is None else cost.window_bytes,
        windows_that_fit=None if cost is None else cost.windows_that_fit,
    )


def _warnings(config: TrainingConfig, survey: Survey, cost: Cost | None) -> list[str]:
    count, found = survey.source.count, [*survey.warnings]
    assert config.canvas
    height, width = config.canvas
    if count is not None and count < FEW:
        found.append(
            f"{count} images are few: expect little variety, and look for copies (magical-hub evaluate); give {FEW} "
            "or more"
        )
    learned = 1 - config.validation_fraction - config.holdout_fraction
    for name, number in (survey.counts or {}).items():
        if number * learned < FEW_OF_A_KIND and name != "no defect":
            found.append(
                f"{name} has {number} images, about {number * learned:.0f} of them to learn from: too few to be "
                f"generated well; give {FEW_OF_A_KIND} or more, or leave it out"
            )
    if survey.alignment is not None and survey.alignment < IN_PLACE:
        found.append(
            f"only {survey.alignment:.0%} of the images are aligned with the others: the method learns what is at "
            "each location, so align them first (one camera position, one crop)"
        )
    if survey.unreadable:
        found.append(
            f"{survey.unreadable} of the first {SURVEYED} images looked at cannot be read: they will be skipped, by "
            "name (--strict stops instead)"
        )
    shapes = [h * width / (w * height) for h, w in survey.sizes]
    stretched = sum(max(shape, 1 / shape) > STRETCH for shape in shapes)
    if stretched:
        found.append(
            f"{stretched} of {len(shapes)} images looked at have another shape than the canvas and will be stretched: "
            "crop them to one shape"
        )
    elif len(set(survey.sizes)) > 1:
        found.append(f"{len(set(survey.sizes))} sizes are mixed: all are resized to the canvas")
    if cost is not None and cost.memory_bytes > cost.free_bytes:
        found.append(
            f"training takes {_size(cost.memory_bytes)} and {_size(cost.free_bytes)} are free: give "
            "--gradient-accumulation 2, or --auto-batch-size"
        )
    return found


class Cost(NamedTuple):
    """The cost of training on this machine, in this process: see `Plan`."""

    step_seconds: float
    memory_bytes: int
    free_bytes: int
    """The bytes of that memory that are free, together with those that the process holds already."""
    window_bytes: int
    windows_that_fit: int


def measure_cost(config: TrainingConfig, source: Source) -> Cost:
    """Train for a few steps in a folder that is gone afterwards; nothing of `config` is left open.

    Raises:
        DataError: where too few of the first images can be read.
        TrainingError: where memory runs out.
    """
    try:
        with tempfile.TemporaryDirectory() as folder, _without_warnings():
            return _measure(config, source, Path(folder))
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        less = with_smaller_passes(config, 1, error)
    return measure_cost(less, source)  # out of the except clause, where the error still holds on to all that ran


def _measure(config: TrainingConfig, source: Source, folder: Path) -> Cost:
    assert config.channels
    few = replace(source, records=lambda: iter(_some_of(source)))
    store = prepare_store(few, folder / "data", config.grid, config.channels, progress=False)
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
        class_balance=False,  # a few images need not be of all classes
        balance_at=0.0,
    )
    trainer = Trainer(probe, make_accelerator(probe), store, split)
    held = _held()  # networks, and on a CPU libraries and data
    trainer.advance()  # the optimizers' states, and what the libraries keep, come into being
    _synchronise()
    started = time.perf_counter()
    for _ in range(config.penalty_every):
        trainer.advance()
    _synchronise()
    seconds = (time.perf_counter() - started) / config.penalty_every
    peak, free = _memory()
    # A little too much for a window, since gradients and Adam's moments are shared out.
    window = max(1, (peak - held) // (config.batch_size // config.gradient_accumulation))
    return Cost(round(seconds, 4), peak, free, window, max(0, (free - held) // window // 2 * 2))


def _some_of(source: Source) -> list[Record]:
    """The first images, and in place of the last of them a few with defects, where the source says which have any."""
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
        return record.problem is None and record.defects is not None and bool(record.defects.classes(record.name))
    except DataError:
        return False  # named when the store is made


@contextmanager
def _without_warnings() -> Iterator[None]:
    """No warnings of the images: training gives them."""
    logger = logging.getLogger("magical_hub")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _held() -> int:
    """What the process holds: of a GPU's memory where there is one, else resident."""
    return torch.cuda.memory_allocated() if torch.cuda.is_available() else psutil.Process().memory_info().rss


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


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
