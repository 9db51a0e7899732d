"""Memory: the peak of a whole training step on sub-regions, and on whole images by a GAN of the same design.

A step is what the trainer does in one: windows read from the canvas store, both networks updated with the boundary
loss and a penalty (the dearest of its kinds of step), the averaged weights brought up to date. Each case runs in a
fresh process, on the CPU, with one thread and the same number of images in a batch. Resident before the step are the
weights, their averages and the optimizers' states, with all gradients dropped; gradients count to the step, those
that the step before left behind included. Two instruments that know nothing of each other measure it:

- tensors: the greatest running sum of what torch's CPU allocator gave out and took back (torch.profiler);
- process: the kernel's greatest resident size (VmHWM, reset by writing 5 to /proc/self/clear_refs), less the resident
  size before and less the pages of files that came in. glibc would keep freed memory and blur it, so
  MALLOC_MMAP_THRESHOLD_ makes every larger block a mapping of its own, which goes back when it is freed.

"total" is the greatest resident size of the process, Python and torch included.

The whole-image GAN has the same networks with a grid of one sub-region, and its critic sees the whole image. "full
width" has the same channels at the same distance from the pixels: what `--rows 1 --cols 1` trains, and what GANs of
that size have. "narrowing" is the smallest that could be called the same design: channels go on halving with each
doubling from where those of the sub-region's networks end, down to two at 512 px.
"""

from __future__ import annotations

import gc
import itertools
import os
import re
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.profiler import ProfilerActivity, profile

from training_tables.pictures import make_store, write_pictures
from training_tables.players import Case, Players

HEADER = """\
| trained | canvas | parameters, M | step, tensors, MiB | step, process, MiB | total, MiB \
| tensors, against the first canvas | against sub-regions on this canvas |
| --- | --- | --- | --- | --- | --- | --- | --- |"""

MIB = 2**20


class Footprint(NamedTuple):
    """Bytes; see the module."""

    parameters: int
    tensors: int
    process: int
    total: int


def main(
    generators: tuple[str, ...] = ("MagicalGenerator",),
    canvases: tuple[int, ...] = (256, 512, 1024, 2048, 4096),
    whole_canvases: tuple[int, ...] = (256, 512, 1024),
    sub_region: int = 64,
    batch_size: int = 4,
    base_width: int = 32,
    max_width: int = 128,
    window: int = 2,
    precision: str = "no",
) -> None:
    """Print the peak of a step, of training on sub-regions and on whole images.

    Args:
        generators: classes in magical_hub.
        canvases: sides in pixels to train on by sub-regions.
        whole_canvases: sides in pixels to train on as a whole, powers of 2; some of `canvases`.
        sub_region: side of a sub-region in pixels.
        batch_size: images in a step.
        base_width: channels at half the resolution of a sub-region.
        max_width: the most channels at any level.
        window: rows and columns of the window that a step takes of each image.
        precision: "no" or "bf16".
    """
    os.environ |= {"MALLOC_MMAP_THRESHOLD_": "65536", "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    common: dict[str, Any] = {"batch_size": batch_size, "max_width": max_width, "mixed_precision": precision}
    inside = {**common, "base_width": base_width, "window_rows": window, "window_cols": window}
    alone = {**common, "window_rows": 1, "window_cols": 1}
    print(
        f"{batch_size} images a step, sub-regions of {sub_region} px in windows of {window} x {window}, {precision=}"
    )
    print(f"\n{HEADER}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_pictures(folder / "pictures", batch_size, 256)
        stores = {canvas: make_store(folder, folder / "pictures", canvas, sub_region) for canvas in canvases}
        for generator in generators:
            parts: dict[int, Footprint] = {}
            for canvas in canvases:
                parts[canvas] = _in_fresh_process(Case(stores[canvas], sub_region, generator, inside))
                _print_row(f"{generator}, sub-regions", canvas, parts[canvas], parts[canvases[0]], parts[canvas])
            for kind in ("narrowing", "full width"):
                wholes: list[Footprint] = []
                for canvas in whole_canvases:
                    width = max(1, base_width * sub_region // canvas) if kind == "narrowing" else base_width
                    case = Case(stores[canvas], canvas, generator, {**alone, "base_width": width})
                    wholes.append(_in_fresh_process(case))
                    _print_row(f"{generator}, whole, {kind}", canvas, wholes[-1], wholes[0], parts[canvas])


def _in_fresh_process(case: Case) -> Footprint:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(measure, case).result()


def measure(case: Case) -> Footprint:
    """Train a few steps and measure one by each instrument."""
    torch.set_num_threads(1)
    players = Players(case)
    update = players.training_step()
    parameters = [parameter for network in players.networks.values() for parameter in network.parameters()]

    def step() -> None:
        update([players.batch(0)])  # batch 0 is one with a penalty
        players.ema.step(players.generator.parameters())

    def drop_gradients() -> None:
        for parameter in parameters:
            parameter.grad = None
        gc.collect()

    step()  # the optimizers' states, and what the libraries keep, come into being
    drop_gradients()
    before = _status()
    step()  # leaves gradients behind, as every step but the first finds them
    Path("/proc/self/clear_refs").write_text("5")
    step()
    after = _status()

    drop_gradients()  # the profiler sees no end of what began before it
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as profiler:
        step()
        step()
    kineto: Any = profiler.profiler
    records = [event for event in kineto.kineto_results.events() if event.name() == "[memory]"]
    changes = [record.nbytes() for record in sorted(records, key=lambda record: record.start_ns())]
    return Footprint(
        parameters=sum(parameter.numel() for parameter in parameters),
        tensors=max(itertools.accumulate(changes)),
        process=after["VmHWM"] - after["RssFile"] - before["RssAnon"],
        total=after["VmHWM"],
    )


def _status() -> dict[str, int]:
    """Sizes of this process in bytes, by the kernel's names."""
    text = Path("/proc/self/status").read_text()
    return {name: int(size) * 1024 for name, size in re.findall(r"(VmHWM|RssAnon|RssFile):\s+(\d+) kB", text)}


def _print_row(name: str, canvas: int, it: Footprint, first: Footprint, parts: Footprint) -> None:
    sizes = " | ".join(f"{size / MIB:.0f}" for size in it[1:])
    print(
        f"| {name} | {canvas} | {it.parameters / 1e6:.2f} | {sizes} | {it.tensors / first.tensors:.2f} "
        f"| {it.tensors / parts.tensors:.1f} |",
        flush=True,
    )
