"""Loading by an id on the Hub, as a user does: in a process of its own, from a real HTTP server on loopback."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hub_server import WRITE_TOKEN, HubServer

from magical_hub.errors import in_one_line

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def server(tmp_path: Path, pipe_folder: Path) -> HubServer:
    """Holds acme/tiny, and has not started."""
    server = HubServer(tmp_path / "server", {"acme/tiny": pipe_folder})
    server.model("acme/tiny").refs["v1"] = server.model("acme/tiny").refs["main"]
    return server


def online(server: HubServer, cache: Path) -> dict[str, str]:
    return {"HF_ENDPOINT": server.url, "HF_HOME": str(cache), "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}


def test_pipelines_components_and_datasets_by_their_ids(run_python: Run, server: HubServer, tmp_path: Path) -> None:
    """And from the cache, once the server is gone. What is pushed is what a user does with generated images: the
    client and `datasets`, with nothing of ours in between."""
    load = """
from magical_hub import MagicalPipeline
pipe = MagicalPipeline.from_pretrained("acme/tiny")
print(type(pipe.generator).__name__, pipe(seeds=[1], output_type="np").images.sum())
"""
    more = """
from magical_hub import MagicalGenerator
import datasets, diffusers
print(type(diffusers.DiffusionPipeline.from_pretrained("acme/tiny")) is MagicalPipeline)
print(MagicalGenerator.from_pretrained("acme/tiny", subfolder="generator").config.rows)
print(MagicalGenerator.from_pretrained("acme/tiny@v1", subfolder="generator").config.rows)
print(MagicalPipeline.from_pretrained("acme/tiny@v1").generator.config.cols)
made = datasets.Dataset.from_dict({"image": pipe(seeds=[1, 2, 3]).images, "seed": [1, 2, 3]})
made.push_to_hub("acme/synthetic", private=True)
back = datasets.load_dataset("acme/synthetic", split="train")
assert back[2]["image"].tobytes() == made[2]["image"].tobytes()
print(len(back), back["seed"][:], back.features["image"])
stream = datasets.load_dataset("acme/synthetic", split="train", streaming=True)
print([row["seed"] for row in stream])
"""
    with server:
        pulled = run_python(load + more, HF_TOKEN=WRITE_TOKEN, **online(server, tmp_path))
        assert pulled.returncode == 0, pulled.stderr
        assert "GET /api/models/acme/tiny/revision/v1" in server.requests
        assert server.repositories["datasets", "acme/synthetic"].private
    first, *rest = pulled.stdout.splitlines()
    assert rest == ["True", "2", "2", "3", "3 [1, 2, 3] Image(mode=None, decode=True)", "[1, 2, 3]"]
    cached = run_python(load, HF_HOME=str(tmp_path), HF_HUB_OFFLINE="1")
    assert cached.returncode == 0, cached.stderr
    assert first.startswith("MagicalGenerator ") and cached.stdout.splitlines() == [first]


@pytest.mark.slow
def test_info_pulls_no_weights(run_command: Run, server: HubServer, tmp_path: Path) -> None:
    with server:
        done = run_command("info", "--checkpoint", "acme/tiny", **online(server, tmp_path))
    assert done.returncode == 0 and "MagicalGenerator" in done.stdout, done.stderr
    assert not server.count("safetensors")


@pytest.mark.slow
def test_an_unknown_id_is_one_line(run_command: Run, server: HubServer, tmp_path: Path) -> None:
    with server:
        done = run_command(
            "generate", "--checkpoint", "acme/none", "--output-dir", tmp_path / "x", **online(server, tmp_path)
        )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: acme/none cannot be pulled: ")
    assert "Traceback" not in done.stderr


def test_an_error_in_one_line_holds_no_token() -> None:
    told = in_one_line(OSError("401 for hf_abcDEF123\n\n  Bearer xyz.123 " + "x" * 1000))
    assert told.startswith("401 for *** Bearer *** xxx") and len(told) < 410
