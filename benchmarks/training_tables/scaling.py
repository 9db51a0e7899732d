"""Scaling: the command `magical-hub train` in two processes and in one, on the same global batch, on the CPU.

Each process has one thread, so one process has one core, and two have two. Whole trainings take turns; a training's
steps a second come from its history.jsonl, from the first line to the last but one, which leaves out start and end.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from training_tables.pictures import write_pictures

HEADER = """\
| processes | steps/s | images/s | against one |
| --- | --- | --- | --- |"""

LAUNCH = "-m accelerate.commands.launch --multi_gpu --num_machines 1 --mixed_precision no --dynamo_backend no"
"""On a CPU too: --multi_gpu with ACCELERATE_USE_CPU is what starts several processes."""

LINES = 8
"""Lines of a training's history."""


def main(
    processes: tuple[int, ...] = (1, 2),
    canvas: int = 256,
    sub_region: int = 64,
    batch_size: int = 16,
    base_width: int = 32,
    max_width: int = 128,
    precision: str = "no",
    steps: int = 64,
    rounds: int = 3,
) -> None:
    """Print steps a second by the number of processes.

    Args:
        processes: numbers of processes, 1 first; no more than there are cores.
        canvas: side of the canvas in pixels, 64 to 2048.
        sub_region: side of a sub-region in pixels.
        batch_size: windows in the global batch.
        base_width: channels at half the resolution of a sub-region.
        max_width: the most channels at any level.
        precision: "no" or "bf16".
        steps: steps of a training, a multiple of 8.
        rounds: trainings for each number of processes.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_pictures(folder / "pictures", 2 * batch_size, canvas)
        side = canvas // sub_region
        options = {
            "--data": folder / "pictures",
            "--image-size": canvas,
            "--rows": side,
            "--cols": side,
            "--batch-size": batch_size,
            "--base-width": base_width,
            "--max-width": max_width,
            "--mixed-precision": precision,
            "--max-steps": steps,
            "--log-every": steps // LINES,
        }
        command = ["-m", "magical_hub.cli", "train", *(str(part) for option in options.items() for part in option)]
        turns = [
            {count: _rate(command, folder / f"run-{turn}-{count}", count) for count in processes}
            for turn in range(rounds)
        ]
    print(f"{batch_size} windows a step, one thread per process, {precision=}, load {os.getloadavg()[0]:.1f}\n")
    print(HEADER)
    for count in processes:
        rate = statistics.median(turn[count] for turn in turns)
        gain = statistics.median(turn[count] / turn[processes[0]] for turn in turns)
        print(f"| {count} | {rate:.3g} | {batch_size * rate:.3g} | {gain:.2f} |")


def _rate(command: list[str], run: Path, processes: int) -> float:
    """Steps a second of one training."""
    launch = [*LAUNCH.split(), "--num_processes", str(processes), "--main_process_port", "0"] if processes > 1 else []
    ran = subprocess.run(
        [sys.executable, *launch, *command, "--output-dir", str(run)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"},
        capture_output=True,
        text=True,
    )
    if ran.returncode:
        raise SystemExit(f"a training in {processes} processes failed:\n{ran.stderr[-3000:]}")
    lines = [json.loads(line) for line in (run / "history.jsonl").open()]
    first, last = lines[0], lines[-2]
    return float((last["step"] - first["step"]) / (last["seconds"] - first["seconds"]))
