"""The order of the rooms in docs/architecture.md: every import runs downwards, and none in a circle."""

from __future__ import annotations

import ast
import graphlib
import re
from collections.abc import Iterator
from pathlib import Path

FACE = "magical_hub"
UPWARD = {("magical_hub.pipeline", "magical_hub.hub")}
"""`MagicalPipeline.push_to_hub` forwards to the gate of `push`: the one import that runs upwards."""
FORWARDING = {*UPWARD, ("magical_hub.defects.bank", "magical_hub.defects.tuning")}
"""Methods that forward to a function which takes their class: they close a circle. `DefectBank.tune` is the other."""


def floors(page: Path) -> dict[str, int]:
    """Each room of the table and the number of its floor, 0 the highest."""
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", page.read_text(), re.M)
    return {room: floor for floor, row in enumerate(rows) for room in re.findall(r"\w+", row)}


def room_of(module: str) -> str:
    """The room of a module: the name below `magical_hub`, or `magical_hub` itself, the public face."""
    return module.split(".")[1] if "." in module else FACE


def modules(package: Path) -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    found = {}
    for file in [*package.rglob("*.py"), package / "__init__.pyi"]:
        parts = file.relative_to(package.parent).with_suffix("").parts
        found[".".join(parts).removesuffix(".__init__")] = file
    return found


def imports(file: Path, known: set[str]) -> Iterator[str]:
    """The modules of this package that a file imports: also inside functions, and for the type checker alone."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == FACE)
        elif isinstance(node, ast.ImportFrom):
            base = f"{FACE}.{node.module}" if node.level else node.module or ""
            if base.split(".")[0] != FACE:
                continue
            for alias in node.names:
                yield f"{base}.{alias.name}" if f"{base}.{alias.name}" in known else base


def test_every_import_runs_downwards(repo):
    floor = floors(repo / "docs" / "architecture.md")
    found = modules(repo / "magical_hub")
    assert {room_of(module) for module in found} == {*floor}, "the table has a row for each room, and no other"
    wrong = [
        f"{module} imports {other}"
        for module, file in found.items()
        for other in imports(file, {*found})
        if room_of(module) != room_of(other)
        and floor[room_of(module)] >= floor[room_of(other)]
        and (module, other) not in UPWARD
    ]
    assert not wrong, "\n".join(sorted({*wrong}))


def test_no_import_runs_in_a_circle(repo):
    found = modules(repo / "magical_hub")
    graph = {
        module: {other for other in imports(file, {*found}) if other != module and (module, other) not in FORWARDING}
        for module, file in found.items()
    }
    graphlib.TopologicalSorter(graph).prepare()
