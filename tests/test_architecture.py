"""The order of the rooms in docs/architecture.md: every import runs downwards, and none in a circle."""

from __future__ import annotations

import graphlib
import re
from pathlib import Path

import grimp
import pytest

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


@pytest.fixture(scope="module")
def imports() -> dict[str, set[str]]:
    """Each module and those of this package that it imports: also inside functions, and for the type checker alone."""
    graph = grimp.build_graph(FACE, cache_dir=None)
    return {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}


def test_every_import_runs_downwards(repo, imports):
    floor = floors(repo / "docs" / "architecture.md")
    assert {room_of(module) for module in imports} == {*floor}, "the table has a row for each room, and no other"
    wrong = [
        f"{module} imports {other}"
        for module, others in imports.items()
        for other in others
        if room_of(module) != room_of(other)
        and floor[room_of(module)] >= floor[room_of(other)]
        and (module, other) not in UPWARD
    ]
    assert not wrong, "\n".join(sorted(wrong))


def test_no_import_runs_in_a_circle(imports):
    graph = {
        module: {other for other in others if (module, other) not in FORWARDING} for module, others in imports.items()
    }
    graphlib.TopologicalSorter(graph).prepare()
