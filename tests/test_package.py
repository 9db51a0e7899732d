"""The package as a whole: its public names, its declared dependencies, and the wheel."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

import magical_hub
from magical_hub import MagicalPipeline
from magical_hub.checkpoint import BUNDLED, bundled_names


def test_the_public_names_are_there():
    for name in magical_hub.__all__:
        assert getattr(magical_hub, name).__name__ == name
        assert name in dir(magical_hub)
    assert re.fullmatch(r"\d+\.\d+\.\d+", magical_hub.__version__)


def test_other_names_are_not():
    with pytest.raises(AttributeError, match="magical_hub attribute Nothing"):
        magical_hub.Nothing  # noqa: B018


def imported(file: Path) -> set[str]:
    """The top-level names of the libraries that a file imports."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
    return {name.split(".")[0] for name in names} - {*sys.stdlib_module_names, "magical_hub"}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


EXTRAS = {
    "app": ["app"],
    "augmentation": ["albumentations", "ray", "torchvision"],
    "metrics": ["eval"],
    "evaluation": ["eval"],
    "data": ["large"],
    "detectors": ["eval"],
    "export": ["coco", "croissant", "large"],
    "provenance.py": ["large"],
    "serving.py": ["mlops"],
    "training": ["mlops"],
}
"""The rooms that may import what extras declare."""


def test_every_import_is_a_declared_dependency(repo):
    """What no dependency declares may be there on the maker's machine alone."""
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 cannot read TOML: run it with a later one")
    project = tomllib.loads((repo / "pyproject.toml").read_text())["project"]

    def declared(requirements: list[str]) -> set[str]:
        return {normal(re.match(r"[\w.-]+", requirement)[0]) for requirement in requirements}

    always = declared(project["dependencies"])
    extras = project["optional-dependencies"]
    rooms = {room: set().union(*(declared(extras[name]) for name in names)) for room, names in EXTRAS.items()}
    owners = importlib.metadata.packages_distributions()
    for file in sorted((repo / "magical_hub").rglob("*.py")):
        allowed = always.union(*(packages for room, packages in rooms.items() if room in file.parts))
        for name in imported(file):
            assert {normal(owner) for owner in owners.get(name, [name])} & allowed, f"{file.name} imports {name}"
    hub = ast.literal_eval(re.search(r"^dependencies = (\[.*?\])", (repo / "hubconf.py").read_text(), re.M | re.S)[1])
    assert {normal(owner) for name in hub for owner in owners[name]} <= always


@pytest.mark.slow
def test_the_wheel(repo, pipe_folder, tmp_path):
    """Built, installed into an environment of its own, and used from another folder.

    The libraries below it come from the environment of the tests, by a path file: that leaves this repository's own
    editable installation out.
    """
    subprocess.run([sys.executable, "-m", "build", "--wheel", "--outdir", tmp_path, repo], check=True, timeout=300)
    (wheel,) = tmp_path.glob("magical_hub-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {"magical_hub/cli.py", "magical_hub/models/generator.py", "magical_hub/hub/card.md.jinja"} <= {*names}
    for card in (repo / "model_cards").glob("*.md"):
        assert f"magical_hub/model_cards/{card.name}" in names
    for file in (repo / "magical_hub" / "checkpoints").rglob("*"):
        assert file.is_dir() or file.relative_to(repo).as_posix() in names
    assert [name for name in names if name.startswith(("tests/", "benchmarks/", "docs/"))] == []

    env = tmp_path / "env"
    subprocess.run([sys.executable, "-m", "venv", env], check=True, timeout=120)
    python = env / "bin" / "python"
    (own,) = env.glob("lib/python*/site-packages")
    (own / "libraries.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    subprocess.run([python, "-m", "pip", "install", "--no-deps", "--quiet", wheel], check=True, timeout=120)

    bundled = (repo / "magical_hub" / "checkpoints" / "solar-cells-128").is_dir()
    checkpoint = "solar-cells-128" if bundled else str(pipe_folder)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    ask = [python, "-c", "import magical_hub; print(magical_hub.__file__)"]
    where = subprocess.run(ask, cwd=elsewhere, capture_output=True, text=True, check=True).stdout.strip()
    assert Path(where) == own / "magical_hub" / "__init__.py"
    generate = [env / "bin" / "magical-hub", "generate", "--checkpoint", checkpoint, "--num-images", "2"]
    made = subprocess.run(
        [*generate, "--output-dir", "images"], cwd=elsewhere, capture_output=True, text=True, timeout=120
    )
    assert made.returncode == 0, made.stderr
    assert sorted(path.name for path in (elsewhere / "images").glob("*.png")) == ["00000.png", "00001.png"]


BUNDLE = {
    "package-512": ("BGA", (512, 512), "RGB", "apache-2.0"),
    "solar-cells-128": ("defective", (128, 128), "L", "bsd-3-clause"),
}
"""Of each bundled checkpoint a class, the size and the mode of its images, and the licence of its card."""


def test_every_bundled_checkpoint_has_its_card_and_is_small(repo):
    assert bundled_names() == sorted(BUNDLE)
    for name, (label, size, mode, licence) in BUNDLE.items():
        card = ModelCard.load(repo / "model_cards" / f"{name}.md")
        assert card.data.library_name == "magical_hub" and card.data.license == licence
        assert "@@" not in card.text
        assert sum(file.stat().st_size for file in (BUNDLED / name).rglob("*")) < 9 * 2**20
        (image,) = MagicalPipeline.from_pretrained(name)(class_labels=label, seeds=[0]).images
        assert image.size == size and image.mode == mode
        assert not [file for file in (BUNDLED / name).rglob("*") if file.suffix not in ("", ".json", ".safetensors")]
