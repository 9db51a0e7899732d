"""A Hub of one's own that this very process talks to, and reports of a tiny model's leakage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from PIL import Image

from magical_hub import MagicalPipeline, evaluate
from magical_hub.checkpoint import weights_sha256
from magical_hub.data.canvas import digest, set_sha256
from magical_hub.evaluation import EvaluationReport
from magical_hub.seeds import image_seed


@pytest.fixture(scope="session")
def cells() -> list[Image.Image]:
    """Real images of the tiny model's size: 65 to train on, 35 held out."""
    from elpv_dataset.utils import load_dataset

    return [Image.fromarray(cell).resize((48, 32)) for cell in load_dataset()[0][:100]]


def sha256(images: list[Image.Image]) -> str:
    return set_sha256(digest([np.asarray(image)[None]]) for image in images)


@pytest.fixture(scope="session")
def pipe(pipe: MagicalPipeline, cells: list[Image.Image]) -> MagicalPipeline:
    """The tiny pipeline, with a record that says what it was trained on."""
    recorded = MagicalPipeline(pipe.generator, pipe.critic)
    recorded.set_progress_bar_config(disable=True)
    record = {
        "made": "checkpoint",
        "weights_sha256": weights_sha256(pipe.generator),
        "data": {"sha256": {"train": sha256(cells[:65]), "holdout": sha256(cells[65:])}},
    }
    recorded.origin = {"record": record}
    return recorded


@pytest.fixture(scope="session")
def pipe_folder(pipe: MagicalPipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`pipe`, saved. Not to be changed: copy it."""
    folder = tmp_path_factory.mktemp("recorded") / "tiny"
    pipe.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def reports(pipe: MagicalPipeline, small_network: Any, cells: list[Image.Image]) -> dict[str, EvaluationReport]:
    """Of `pipe`: "passed", judged beside its real cells; "others", beside images that it has nothing to do with;
    and "failed", where its own images are those of training."""
    train, held_out = (datasets.Dataset.from_dict({"image": some}) for some in (cells[:65], cells[65:]))
    swapped = [image.rotate(180) for image in cells]
    others = [datasets.Dataset.from_dict({"image": some}) for some in (swapped[:65], swapped[65:])]
    seeds = [image_seed(0, number) for number in range(35)]  # of the very images that the evaluation will make
    copied = datasets.Dataset.from_dict({"image": pipe(seeds=seeds).images})
    arguments: dict[str, Any] = {"num_images": 35, "network": small_network}
    passed = evaluate(pipe, train, held_out, **arguments)
    failed = evaluate(pipe, copied, held_out, **arguments)
    other = evaluate(pipe, *others, **arguments)
    assert (passed.leaks, failed.leaks, other.leaks) == (False, True, False)
    return {"passed": passed, "failed": failed, "others": other}
