"""What a training costs, each figure beside that of the plain way to do the same: one Markdown table a call.

    python benchmarks/training.py loading
    python benchmarks/training.py memory --canvases 256 512 1024 2048 4096
    python benchmarks/training.py steps --profile
    python benchmarks/training.py scaling

Ratios hold within one run: what is timed takes turns (A B A B), and medians count. The plain ways are written here
from the description of the method; training_tables/ has a module a table, which says what is the same and what not.
"""

from __future__ import annotations

import tyro
from training_tables import loading, memory, scaling, steps

if __name__ == "__main__":
    tyro.extras.subcommand_cli_from_dict(
        {"loading": loading.main, "memory": memory.main, "steps": steps.main, "scaling": scaling.main}
    )
