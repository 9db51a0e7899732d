"""The torch.hub entry points: from a folder, and from an archive of the repository as torch.hub unpacks it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

CHECK = """
def check(name, *where, **how):
    "Load all entry points, use them, and say what came."
    parts = ("pipeline", "generator", "critic")
    pipe, generator, critic = (torch.hub.load(*where, f"magical_{part}", name, **how) for part in parts)
    labels = torch.zeros(2).long() if generator.config.num_classes else None
    cells = generator.eval()(torch.randn(2, generator.config.latent_dim), torch.zeros(2).long(), labels)
    judged = critic(cells, torch.zeros(2).long(), labels)
    return {
        "kinds": [type(thing).__name__ for thing in (pipe, generator, critic)],
        "size": pipe(num_images=1, generator=torch.manual_seed(0)).images[0].size,
        "cells": cells.shape[2:] == (generator.grid.cell_height, generator.grid.cell_width),
        "scores": len(judged.score),
        "package": sys.modules["magical_hub"].__file__,
    }
"""

FROM_A_FOLDER = f"""
import json, sys, torch
{CHECK}
folder, name = sys.argv[1:]
print(json.dumps(check(name, folder, source="local")))
"""

FROM_AN_ARCHIVE = f"""
import json, sys, torch
{CHECK}
hub, name = sys.argv[1:]
torch.hub.set_dir(hub)  # where it finds OWNER/magical-hub:main downloaded and unpacked already
how = {{"trust_repo": True, "skip_validation": True}}
print(json.dumps({{
    **check(name, "OWNER/magical-hub:main", **how),
    "names": torch.hub.list("OWNER/magical-hub:main", **how),
    "help": torch.hub.help("OWNER/magical-hub:main", "magical_pipeline", **how),
}}))
"""


@pytest.fixture(scope="module")
def archive(repo, tmp_path_factory) -> Path:
    """The files of the repository and nothing else: no .git, nothing installed."""
    folder = tmp_path_factory.mktemp("hub") / "OWNER_magical-hub_main"
    shutil.copytree(repo / "magical_hub", folder / "magical_hub", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(repo / "hubconf.py", folder)
    return folder


def run(run_python, tmp_path, source: str, place: Path, name: object) -> dict:
    ran = run_python(source, place, name, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    about = json.loads(ran.stdout.splitlines()[-1])
    assert about["kinds"] == ["MagicalPipeline", "MagicalGenerator", "MagicalCritic"]
    assert about["cells"] and about["scores"] == 2
    return about


def test_from_the_repository(run_python, repo, pipe_folder, tmp_path):
    about = run(run_python, tmp_path, FROM_A_FOLDER, repo, pipe_folder)
    assert about["size"] == [48, 32]


def test_from_an_archive(run_python, archive, pipe_folder, tmp_path):
    about = run(run_python, tmp_path, FROM_AN_ARCHIVE, archive.parent, pipe_folder)
    assert about["size"] == [48, 32]
    assert about["names"] == ["magical_critic", "magical_generator", "magical_pipeline"]
    assert "package-128" in about["help"] and "from_pretrained" in about["help"]
    assert Path(about["package"]) == archive / "magical_hub" / "__init__.py"  # not an installed one


@pytest.mark.parametrize("source", ["folder", "archive"])
def test_the_bundled_checkpoint(run_python, repo, archive, tmp_path, source):
    if not (repo / "magical_hub" / "checkpoints" / "package-128").is_dir():
        pytest.skip("this build has no bundled checkpoint package-128")
    if source == "folder":
        about = run(run_python, tmp_path, FROM_A_FOLDER, repo, "package-128")
    else:
        about = run(run_python, tmp_path, FROM_AN_ARCHIVE, archive.parent, "package-128")
    assert about["size"] == [128, 128]


def test_a_checkpoint_without_a_critic(run_python, repo, pipe, tmp_path):
    type(pipe)(pipe.generator).save_pretrained(tmp_path / "a")
    source = """
import sys, torch
try:
    torch.hub.load(sys.argv[1], "magical_critic", sys.argv[2], source="local")
except ValueError as error:
    print(error)
"""
    ran = run_python(source, repo, tmp_path / "a")
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == f"{tmp_path / 'a'} was saved without its critic: take a checkpoint that has one\n"
