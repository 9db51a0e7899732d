"""How long `import magical_hub` and `magical-hub --help` take: the best of several fresh processes, in seconds.

python benchmarks/startup.py
"""

from __future__ import annotations

import subprocess
import sys
import time

COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "import magical_hub": [sys.executable, "-c", "import magical_hub"],
    "magical-hub --help": [sys.executable, "-m", "magical_hub.cli", "--help"],
}


def seconds(command: list[str]) -> float:
    """Wall-clock time of a command."""
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


if __name__ == "__main__":
    print("| command | seconds |\n| --- | --- |")
    for name, command in COMMANDS.items():
        print(f"| {name} | {min(seconds(command) for _ in range(7)):.2f} |")
