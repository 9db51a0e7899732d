"""A Hub of one's own that this very process talks to, and reports of a tiny model's leakage."""

from __future__ import annotations

from typing import Any

import datasets
import pytest
from PIL import Image

from magical_hub import MagicalPipeline, evaluate
from magical_hub.evaluation import EvaluationReport
from magical_hub.seeds import image_seed


@pytest.fixture(scope="session")
def reports(pipe: MagicalPipeline, small_network: Any) -> dict[str, EvaluationReport]:
    """Of `pipe`: "passed", judged beside real cells; and "failed", where its own images are those of training."""
    from elpv_dataset.utils import load_dataset

    cells = [Image.fromarray(cell).resize((48, 32)) for cell in load_dataset()[0][:100]]
    train, held_out = (datasets.Dataset.from_dict({"image": some}) for some in (cells[:65], cells[65:]))
    seeds = [image_seed(0, number) for number in range(35)]  # of the very images that the evaluation will make
    copied = datasets.Dataset.from_dict({"image": pipe(seeds=seeds).images})
    arguments: dict[str, Any] = {"num_images": 35, "network": small_network}
    passed = evaluate(pipe, train, held_out, **arguments)
    failed = evaluate(pipe, copied, held_out, **arguments)
    assert (passed.leaks, failed.leaks) == (False, True)
    return {"passed": passed, "failed": failed}
