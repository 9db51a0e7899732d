"""A Hub of one's own that this very process talks to, and reports of a tiny model's leakage."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pytest
from hub_server import WRITE_TOKEN, HubServer
from huggingface_hub import constants
from huggingface_hub.utils import disable_progress_bars
from PIL import Image

from magical_hub import MagicalPipeline, evaluate
from magical_hub.evaluation import EvaluationReport
from magical_hub.seeds import image_seed


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A server that the client of this process takes for the Hub, with a token that may write."""
    disable_progress_bars()
    with HubServer(tmp_path / "server") as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_TOKEN", WRITE_TOKEN)
        yield server


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
