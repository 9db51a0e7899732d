"""Loading by an id on the Hub, from a real HTTP server on loopback."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

from hub_server import HubServer

Run = Callable[..., subprocess.CompletedProcess[str]]


def online(server: HubServer, cache: Path) -> dict[str, str]:
    return {"HF_ENDPOINT": server.url, "HF_HOME": str(cache), "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}


def test_a_pipeline_is_pulled_by_its_id_and_then_from_the_cache(
    run_python: Run, pipe_folder: Path, tmp_path: Path
) -> None:
    load = """
from magical_hub import MagicalPipeline
pipe = MagicalPipeline.from_pretrained("acme/tiny")
print(type(pipe.generator).__name__, pipe(seeds=[1], output_type="np").images.sum())
"""
    with HubServer({"acme/tiny": pipe_folder}) as server:
        pulled = run_python(load, **online(server, tmp_path))
        assert pulled.returncode == 0, pulled.stderr
    cached = run_python(load, HF_HOME=str(tmp_path), HF_HUB_OFFLINE="1")
    assert cached.returncode == 0, cached.stderr
    assert pulled.stdout.startswith("MagicalGenerator ") and cached.stdout == pulled.stdout


def test_diffusers_and_a_single_component_load_by_id(run_python: Run, pipe_folder: Path, tmp_path: Path) -> None:
    load = """
from magical_hub import MagicalGenerator, MagicalPipeline
import diffusers
print(type(diffusers.DiffusionPipeline.from_pretrained("acme/tiny")) is MagicalPipeline)
print(MagicalGenerator.from_pretrained("acme/tiny", subfolder="generator").config.rows)
print(MagicalPipeline.from_pretrained("acme/tiny@v1").generator.config.cols)
"""
    with HubServer({"acme/tiny": pipe_folder}) as server:
        done = run_python(load, **online(server, tmp_path))
    assert done.stdout.split() == ["True", "2", "3"], done.stderr
    assert "GET /api/models/acme/tiny/revision/v1" in server.requests


def test_info_pulls_no_weights(run_command: Run, pipe_folder: Path, tmp_path: Path) -> None:
    with HubServer({"acme/tiny": pipe_folder}) as server:
        done = run_command("info", "--checkpoint", "acme/tiny", **online(server, tmp_path))
    assert done.returncode == 0 and "MagicalGenerator" in done.stdout, done.stderr
    assert not [request for request in server.requests if "safetensors" in request]


def test_an_unknown_id_is_one_line(run_command: Run, tmp_path: Path) -> None:
    with HubServer({}) as server:
        done = run_command(
            "generate", "--checkpoint", "acme/none", "--output-dir", tmp_path / "x", **online(server, tmp_path)
        )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: acme/none cannot be pulled")
    assert "Traceback" not in done.stderr
