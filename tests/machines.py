"""Run the tests as other machines would: `make test-machines`, or `python tests/machines.py [options of pytest]`.

A kernel is chosen by what a CPU can do, and another kernel takes its sums in another order. What older CPUs and those
of other makers would choose can be chosen here too, for each library that computes: PyTorch itself, oneDNN, MKL, and
the OpenBLAS of NumPy and SciPy.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

MACHINES = {
    "a CPU with neither AVX nor AVX2": {
        "ATEN_CPU_CAPABILITY": "default",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "MKL_CBWR": "COMPATIBLE",
        "OPENBLAS_CORETYPE": "Nehalem",
    },
    "a CPU with AVX2, and without AVX-512": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_CBWR": "AVX2",
        "OPENBLAS_CORETYPE": "Haswell",
    },
    "PyTorch's plainest kernels, with the others of this CPU": {"ATEN_CPU_CAPABILITY": "default"},
    "oneDNN's plainest kernels, with the others of this CPU": {"ONEDNN_MAX_CPU_ISA": "SSE41"},
    "this CPU, with four threads a process": {"OMP_NUM_THREADS": "4"},
    "this CPU, with every core busy": {},
}
BUSY = "while True: pass"


def passes(machine: str, options: list[str]) -> bool:
    """Whether the tests pass on such a machine."""
    setting = MACHINES[machine]
    print(f"\n== {machine}: {' '.join(f'{name}={value}' for name, value in setting.items())}", flush=True)
    with ExitStack() as stack:
        for _ in range(0 if setting else os.cpu_count() or 1):
            stack.callback(subprocess.Popen([sys.executable, "-c", BUSY]).kill)
        tests = subprocess.run(
            [sys.executable, "-m", "pytest", *options],
            cwd=Path(__file__).parents[1],
            env={**os.environ, "OMP_NUM_THREADS": "1", **setting},
        )
    return tests.returncode == 0


def main() -> int:
    results = []
    for machine in MACHINES:
        started = time.monotonic()
        said = "passed" if passes(machine, sys.argv[1:]) else "FAILED"
        results.append(f"{said} in {(time.monotonic() - started) / 60:4.1f} min: {machine}")
    print("\n" + "\n".join(results))
    return int(any(result.startswith("FAILED") for result in results))


if __name__ == "__main__":
    sys.exit(main())
