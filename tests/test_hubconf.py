"""The torch.hub entry points: from a folder, and from an archive of the repository as torch.hub unpacks it."""

from __future__ import annotations

import ast
import contextlib
import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

CHECK = """
def check(name, *where, **how):
    "Load all entry points, use them, and say what came."
    parts = ("pipeline", "generator", "critic")
    pipe, generator, critic = (torch.hub.load(*where, f"magical_{part}", name, **how) for part in parts)
    labels = torch.zeros(2).long() if generator.config.num_classes else None
    fields = torch.zeros(2, generator.grid.rows, generator.grid.cols).long() if generator.config.num_defects else None
    cells = generator.eval()(torch.randn(2, generator.config.latent_dim), torch.zeros(2).long(), labels, fields)
    output = critic(cells, torch.zeros(2).long(), labels, defect_labels=fields)
    return {
        "kinds": [type(item).__name__ for item in (pipe, generator, critic)],
        "size": pipe(num_images=1, generator=torch.manual_seed(0)).images[0].size,
        "cells": cells.shape[2:] == (generator.grid.cell_height, generator.grid.cell_width),
        "scores": len(output.score),
        "package": sys.modules["magical_hub"].__file__,
    }
"""

FROM_A_FOLDER = f"""
import json, sys, torch
{CHECK}
folder, *names = sys.argv[1:]
print(json.dumps([check(name, folder, source="local") for name in names]))
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


def run(run_python, tmp_path, source: str, *arguments: object) -> Any:
    ran = run_python(source, *arguments, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout.splitlines()[-1])


def test_a_folder_and_a_bundled_name_from_the_repository(run_python, repo, pipe_folder, tmp_path):
    loaded = run(run_python, tmp_path, FROM_A_FOLDER, repo, pipe_folder, "solar-cells-128")
    for about, kind, size in zip(loaded, ("MagicalGenerator", "SeamlessGenerator"), (48, 128), strict=True):
        assert about["kinds"] == ["MagicalPipeline", kind, "MagicalCritic"] and about["size"][0] == size
        assert about["cells"] and about["scores"] == 2


@pytest.mark.slow
def test_from_an_archive(run_python, archive, pipe_folder, tmp_path):
    about = run(run_python, tmp_path, FROM_AN_ARCHIVE, archive.parent, pipe_folder)
    assert about["size"] == [48, 32] and about["kinds"] == ["MagicalPipeline", "MagicalGenerator", "MagicalCritic"]
    assert about["names"] == ["magical_critic", "magical_generator", "magical_pipeline"]
    assert "solar-cells-128" in about["help"] and "from_pretrained" in about["help"]
    assert Path(about["package"]) == archive / "magical_hub" / "__init__.py"  # not an installed one


@pytest.mark.slow
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


def requirements(names: list[str]) -> set[str]:
    """The distributions of some imports, and all that these require here, by their normal names."""
    owners = importlib.metadata.packages_distributions()
    left, found = [owner for name in names for owner in owners[name]], set()
    while left:
        name = re.sub(r"[-_.]+", "-", left.pop()).lower()
        if name in found:
            continue
        found.add(name)
        for line in importlib.metadata.requires(name) or []:
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                with contextlib.suppress(importlib.metadata.PackageNotFoundError):
                    importlib.metadata.distribution(requirement.name)
                    left.append(requirement.name)
    return found


def link_distributions(names: set[str], site: Path) -> None:
    """Put links to the files of some installed distributions into a folder of packages."""
    for name in names:
        for file in importlib.metadata.distribution(name).files or []:
            top = file.parts[0]
            source = Path(str(file.locate())).parents[len(file.parts) - 2] if len(file.parts) > 1 else file.locate()
            if top not in ("..", "__pycache__") and not (site / top).exists():
                (site / top).symlink_to(source)


DEPENDENCIES = ast.literal_eval(
    re.search(r"^dependencies = (\[.*?\])", (Path(__file__).parent.parent / "hubconf.py").read_text(), re.M | re.S)[1]
)


@pytest.fixture(scope="module")
def libraries(tmp_path_factory) -> Path:
    """What `dependencies` names, with what that requires, and nothing else: links, so that it takes a moment."""
    site = tmp_path_factory.mktemp("libraries")
    link_distributions(requirements(DEPENDENCIES), site)
    assert not (site / "magical_hub").exists() and not (site / "kornia").exists() and (site / "torch").exists()
    return site


def test_the_dependencies_are_enough(archive, libraries, tmp_path):
    """The short form: Python without its own packages, and those of `dependencies` alone."""
    source = f"import sys; sys.path.append({str(libraries)!r})\n{FROM_AN_ARCHIVE}"
    command = [sys.executable, "-I", "-S", "-c", source, archive.parent, "solar-cells-128"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr
    about = json.loads(ran.stdout.splitlines()[-1])
    assert about["kinds"] == ["MagicalPipeline", "SeamlessGenerator", "MagicalCritic"] and about["size"] == [128, 128]


@pytest.mark.slow
def test_a_missing_dependency_is_named(archive, tmp_path_factory, tmp_path):
    site = tmp_path_factory.mktemp("fewer")
    link_distributions(requirements([name for name in DEPENDENCIES if name != "tenacity"]), site)
    source = f"import sys; sys.path.append({str(site)!r})\n{FROM_AN_ARCHIVE}"
    command = [sys.executable, "-I", "-S", "-c", source, archive.parent, "solar-cells-128"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert ran.stderr.splitlines()[-1] == "RuntimeError: Missing dependencies: tenacity"


@pytest.mark.slow
def test_a_fresh_virtual_environment(archive, libraries, tmp_path):
    """A new environment without pip, whose libraries are those of the tests' own by links: none is installed again."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "env"], check=True, timeout=120)
    (own,) = (tmp_path / "env").glob("lib/python*/site-packages")
    (own / "libraries.pth").write_text(f"{libraries}\n")
    python = tmp_path / "env" / "bin" / "python"
    command = [python, "-I", "-c", FROM_AN_ARCHIVE, archive.parent, "solar-cells-128"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout.splitlines()[-1])["package"].startswith(str(archive))
