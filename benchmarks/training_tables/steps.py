"""Time and operators of a step: this library's step, and the same networks trained in the order of the authors' code.

The same in all rows: the networks and their widths, the batch of real sub-regions (those of `batch_size` windows of
2 x 2) and how they are read, the noise, Adam, one thread. What differs:

| | authors' order | this library |
| --- | --- | --- |
| generated in a step | one batch for the critic, one for the generator, one for the boundary | one for all three |
| windows for the boundary loss | 3 x 3, one a step; or this library's, one at a time | all, at once |
| passes of the critic in its update | real, fake and interpolated apart | real and fake as one batch |
| updates of the generator | two | one |
| layout, precision | NCHW, float32 | channels-last, float32 or bf16 |

The rows "paper's objective" keep the paper's losses in this library's order: the Wasserstein loss, the gradient
penalty at every update, a critic of single sub-regions. So what they gain is the share of the order (and of the
layout); what the rows "default" gain beyond it is the share of the objective, whose penalty comes every fourth update.
The averaging of the generator's weights, which the authors' code has not, is in no row. Steps are not of equal worth:
the authors' order updates the generator twice.

Each row is a process of its own, since Accelerate keeps one precision per process; they take turns, one at a time. On
a CPU the clock is that of the thread's processor time, which on a machine with nothing else to do is the time that
passes, and on a busy one leaves out the waiting. Where there is a GPU all of it runs there, by the clock on the wall.
"""

from __future__ import annotations

import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity

from training_tables.pictures import make_store, write_pictures
from training_tables.players import Case, Players
from training_tables.rival import AuthorsOrder

HEADER = """\
| step | ms a step | operators a step | sub-regions/s | against the authors' order | the same, window by window |
| --- | --- | --- | --- | --- | --- |"""

PAPERS = {"adversarial": "wasserstein", "critic_input": "sub_regions"}


@dataclass(frozen=True)
class Contender:
    """A way to make a step."""

    case: Case
    boundary: tuple[tuple[int, int], int] | None = None
    """The authors' order with so large windows and so many of them; None for this library's step."""


def main(
    generator: str = "MagicalGenerator",
    canvas: int = 256,
    sub_region: int = 64,
    batch_size: int = 16,
    base_width: int = 32,
    max_width: int = 128,
    steps: int = 4,
    rounds: int = 7,
    profile: bool = False,
) -> None:
    """Print milliseconds and operators a step.

    Args:
        generator: class in magical_hub.
        canvas: side of the canvas in pixels.
        sub_region: side of a sub-region in pixels; a third of the canvas or less.
        batch_size: windows of 2 x 2 sub-regions in a step.
        base_width: channels at half the resolution of a sub-region.
        max_width: the most channels at any level.
        steps: steps in a turn, a multiple of 4, which is how often the default takes its penalty.
        rounds: turns that each row takes.
        profile: print each row's dearest operations too.
    """
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        write_pictures(folder / "pictures", batch_size, min(canvas, 2048))
        store = make_store(folder, folder / "pictures", canvas, sub_region)
        common = {"batch_size": batch_size, "base_width": base_width, "max_width": max_width}

        def case(precision: str, **changes: Any) -> Case:
            return Case(store, sub_region, generator, {**common, "mixed_precision": precision, **changes})

        contenders = {
            "authors' order, one window of 3 x 3": Contender(case("no", **PAPERS), ((3, 3), 1)),
            "authors' order, the same windows": Contender(case("no", **PAPERS), ((2, 2), batch_size)),
            "paper's objective, float32": Contender(case("no", **PAPERS)),
            "default, float32": Contender(case("no")),
            "paper's objective, bf16": Contender(case("bf16", **PAPERS)),
            "default, bf16": Contender(case("bf16")),
        }
        spawn = get_context("spawn")
        processes = {
            title: stack.enter_context(ProcessPoolExecutor(1, spawn, initializer=_start, initargs=(contender,)))
            for title, contender in contenders.items()
        }
        turns = [
            {title: process.submit(_turn, steps).result() for title, process in processes.items()}
            for _ in range(rounds + 1)
        ][1:]  # the first turn warms up
        print(_about(batch_size, sub_region, canvas))
        print(HEADER)
        baselines = list(contenders)[:2]
        for title, process in processes.items():
            seconds = statistics.median(turn[title] for turn in turns)
            operators = process.submit(_operators, steps).result()
            gains = [statistics.median(turn[baseline] / turn[title] for turn in turns) for baseline in baselines]
            print(
                f"| {title} | {1000 * seconds:.4g} | {operators:.0f} | {batch_size * 4 / seconds:.3g} "
                f"| {gains[0]:.2f} | {gains[1]:.2f} |"
            )
        if profile:
            for title, process in processes.items():
                print(f"\n{title}\n\n```\n{process.submit(_profile, steps).result()}\n```")


def _about(batch_size: int, sub_region: int, canvas: int) -> str:
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    multiplies = [name for name in ("avx512_bf16", "amx_bf16") if capabilities.get(name)]
    where = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU, one thread"
    return (
        f"{where}; bf16 in the CPU's hardware: {', '.join(multiplies) or 'no'}; {batch_size} windows of 2 x 2 "
        f"sub-regions of {sub_region} px from a canvas of {canvas} px; load {os.getloadavg()[0]:.1f}\n"
    )


_step: Callable[[], object]
"""One step of this process's contender."""


def _start(contender: Contender) -> None:
    global _step
    torch.set_num_threads(1)
    players = Players(contender.case)
    batches = map(players.batch, itertools.count())
    if contender.boundary is None:
        update = players.training_step()
        _step = lambda: update([next(batches)])  # noqa: E731
    else:
        rival = AuthorsOrder(players, *contender.boundary)
        _step = lambda: rival(next(batches))  # noqa: E731


def _turn(steps: int) -> float:
    """Seconds a step."""
    clock = time.perf_counter if torch.cuda.is_available() else time.process_time
    started = clock()
    for _ in range(steps):
        _step()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return (clock() - started) / steps


def _operators(steps: int) -> float:
    """What torch calls in a step, operators within operators included; on a GPU kernels and copies there."""
    events: Any = _profiled(steps).events()
    if torch.cuda.is_available():
        return sum(event.device_type == torch.autograd.DeviceType.CUDA for event in events) / steps
    return sum(event.name.startswith("aten::") for event in events) / steps


def _profile(steps: int) -> str:
    by = "self_cuda_time_total" if torch.cuda.is_available() else "self_cpu_time_total"
    return str(_profiled(steps).key_averages().table(sort_by=by, row_limit=15, max_name_column_width=45))


def _profiled(steps: int) -> torch.profiler.profile:
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])]
    with torch.profiler.profile(activities=activities, acc_events=True) as profiler:
        _turn(steps)
    return profiler
