"""A DRAFT that was never run on a GPU: the library's training step as CUDA graphs, beside the same step as it is.

    python benchmarks/cuda_graph_draft.py --steps 40

It is type-checked against the classes of magical_hub.training, and nothing more is known of it: expect to mend it at
the first run. Where there is no CUDA device it ends with one line.

A step of some thousand small kernels is bound by the host that launches them one by one. A graph launches all of them
at once, with the same memory each time. Kinds of step differ in their kernels, so each has a graph: with and without
the penalty, before and after the feature critic is enabled. The first steps of a kind run as they are, which creates
the optimizers' states and lets the libraries choose their kernels; then one is captured, which computes nothing, and
replayed.

What of the library a capture needs, and what would block it:

- Inputs stand in buffers of their own, into which each batch is copied: `StaticBatch`. The library's batches come from
  pinned memory by copies that do not wait.
- The step draws no random numbers (they are in the batch), so that no generator must be registered with the graph.
- Adam counts its steps on the device: `capturable`. Its rate is a tensor, which a schedule then fills: `prepare_adam`.
- What takes Python's numbers that change stays outside: the EMA weights (the decay grows in the first steps), the
  schedules, the adaptation, and the held-out score every 8 steps.
- Until the feature critic is enabled, `AdaptivePenalty.adapt` reads one boolean from the device every 8 steps: it
  waits between two graphs, not within one.
- One process, no gradient accumulation: the gradients of several are shared in hooks of DistributedDataParallel, and
  the stop that they agree on is a reduce whose result the host reads. fp16 is not for this draft either: whether its
  gradient scaler skips a step is decided on the host.
- accelerate enters its autocast within each forward pass, so that no cast weight outlives the capture.
"""

from __future__ import annotations

import copy
import itertools
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import NamedTuple

import torch
import tyro
from torch.profiler import ProfilerActivity
from training_tables.pictures import make_store, write_pictures
from training_tables.players import Case, Players

from magical_hub.training.batch import Batch
from magical_hub.training.method import Terms
from magical_hub.training.step import TrainingStep

WARM_UP = 3
"""Steps of a kind before it is captured."""

Step = Callable[[Batch], Terms]


class Kind(NamedTuple):
    """What decides which kernels a step has."""

    penalty: bool
    feature_critic: bool


class StaticBatch:
    """Tensors on the device that a graph reads, filled anew for every step."""

    def __init__(self, batch: Batch) -> None:
        self.batch = copy.deepcopy(batch)

    def fill(self, batch: Batch) -> None:
        """Copy a batch of the same shapes into them."""
        for field in fields(batch):
            buffer, value = getattr(self.batch, field.name), getattr(batch, field.name)
            if isinstance(buffer, torch.Tensor):
                buffer.copy_(value, non_blocking=True)


@dataclass(frozen=True)
class Captured:
    """A graph, what it reads and what it writes."""

    graph: torch.cuda.CUDAGraph
    inputs: StaticBatch
    figures: Terms


class GraphedStep:
    """One update of every network, replayed from the graph of its kind once there is one.

    Args:
        step: the library's, of one process, without gradient accumulation, with one update of the critic.
    """

    def __init__(self, step: TrainingStep) -> None:
        self.step, self.done = step, Counter[Kind]()
        self.graphs: dict[Kind, Captured] = {}
        prepare_adam(step)

    def __call__(self, batch: Batch) -> Terms:
        method = self.step.method
        kind = Kind(batch.number % method.config.penalty_every == 0, method.penalty.balanced)
        if kind not in self.graphs:
            if self.done[kind] < WARM_UP:
                self.done[kind] += 1
                return self._warm_up(batch)
            self.graphs[kind] = self._capture(batch)
        captured = self.graphs[kind]
        captured.inputs.fill(batch)
        captured.graph.replay()
        return {name: value.clone() for name, value in captured.figures.items()}  # the next replay overwrites them

    def _warm_up(self, batch: Batch) -> Terms:
        """On a stream of its own, as a capture demands."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            figures = self.step([batch])
        torch.cuda.current_stream().wait_stream(stream)
        return figures

    def _capture(self, batch: Batch) -> Captured:
        inputs, graph = StaticBatch(batch), torch.cuda.CUDAGraph()
        for optimizer in self.step.optimizers.values():
            optimizer.zero_grad(set_to_none=True)  # so that gradients are in the graph's own memory
        with torch.cuda.graph(graph):
            figures = self.step([inputs.batch])
        return Captured(graph, inputs, figures)


def prepare_adam(step: TrainingStep) -> None:
    """Let Adam keep its count of steps and its rate on the device."""
    for optimizer in step.optimizers.values():
        for group in optimizer.param_groups:
            group["capturable"] = True
            group["lr"] = torch.tensor(float(group["lr"]), device=step.accelerator.device)


def main(
    generator: str = "SeamlessGenerator",
    canvas: int = 128,
    sub_region: int = 32,
    batch_size: int = 16,
    steps: int = 40,
) -> None:
    """Print kernels and milliseconds a step of both, and how far their losses are from each other.

    Args:
        generator: class in magical_hub.
        canvas: side of the canvas in pixels.
        sub_region: side of a sub-region in pixels.
        batch_size: windows of 2 x 2 sub-regions in a step.
        steps: steps to time, a multiple of 4, which is how often there is a penalty.
    """
    if not torch.cuda.is_available():
        raise SystemExit("cuda_graph_draft: CUDA graphs need an NVIDIA GPU, and torch finds none here")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_pictures(folder / "pictures", batch_size, canvas)
        store = make_store(folder, folder / "pictures", canvas, sub_region)
        case = Case(store, sub_region, generator, {"batch_size": batch_size, "mixed_precision": "bf16"})
        plain, graphed = Players(case), Players(case)
        plain_update, graphed_update = plain.training_step(), GraphedStep(graphed.training_step())

        def plain_step(batch: Batch) -> Terms:
            return plain_update([batch])

        warm = 4 * (WARM_UP + 1)
        print("| step | kernels and copies | launches by the host | ms |\n| --- | --- | --- | --- |")
        last: list[Terms] = []
        rows: list[tuple[str, Players, Step]] = [
            ("as it is", plain, plain_step),
            ("as a graph", graphed, graphed_update),
        ]
        for title, players, step in rows:
            batches = map(players.batch, itertools.count())
            for _ in range(warm):
                figures = step(next(batches))
            last.append(figures)
            seconds = _seconds(step, [next(batches) for _ in range(steps)])
            kernels, launches = _count(step, [next(batches) for _ in range(4)])
            print(f"| {title} | {kernels:.0f} | {launches:.0f} | {1000 * seconds:.2f} |")
        differences = {name: float((last[0][name] - last[1][name]).abs()) for name in last[0]}
        print(
            f"\nAfter {warm} steps from the same weights the figures differ by at most {max(differences.values()):.2g}"
        )


def _seconds(step: Step, batches: list[Batch]) -> float:
    """Seconds a step, by the clock on the wall."""
    torch.cuda.synchronize()
    started = time.perf_counter()
    for batch in batches:
        step(batch)
    torch.cuda.synchronize()
    return (time.perf_counter() - started) / len(batches)


def _count(step: Step, batches: list[Batch]) -> tuple[float, float]:
    """Kernels and copies on the device, and launches by the host (of kernels, or of graphs), a step."""
    with torch.profiler.profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        for batch in batches:
            step(batch)
        torch.cuda.synchronize()
    events = profiler.events() or []
    kernels = sum(event.device_type == torch.autograd.DeviceType.CUDA for event in events)
    launches = sum("Launch" in event.name for event in events)
    return kernels / len(batches), launches / len(batches)


if __name__ == "__main__":
    tyro.cli(main)
