"""What stops the pipeline: verdicts of the report that params.yaml doesn't allow, or a detector that gained nothing.

    python gates.py report report/report.json
    python gates.py detector detect.json

A gate that holds writes gate_report.json or gate_detector.json, on which the later stages hang. One that doesn't says
why in a line and exits with 1.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Literal

import tyro
import yaml


def of_report(report: dict[str, Any], gates: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Verdicts and figures of all sections, and what is wrong with the verdicts."""
    wrong = [
        f"{name} is {section['verdict']!r} and must be {' or '.join(gates[name])}: {section['statement']}"
        for name, section in report["sections"].items()
        if name in gates and section["verdict"] not in gates[name]
    ]
    return {name: {"verdict": its["verdict"], **its["scores"]} for name, its in report["sections"].items()}, wrong


def of_detector(scores: dict[str, Any], gates: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """What the synthetic images added, and what is wrong with it."""
    gain = scores["real and synthetic"]["mAP at 0.5"] - scores["real"]["mAP at 0.5"]
    least = gates["least_gain"]
    wrong = [f"with synthetic images mAP at 0.5 changes by {gain:.3f} and must by {least} or more"]
    return {"gain": gain}, wrong if gain < least else []


def main(gate: tyro.conf.Positional[Literal["report", "detector"]], figures: tyro.conf.Positional[Path]) -> None:
    """Check what FIGURES says against the gates."""
    check = {"report": of_report, "detector": of_detector}[gate]
    gates = yaml.safe_load(Path("params.yaml").read_text())["gates"]
    found, wrong = check(json.loads(figures.read_text()), gates)
    if wrong:
        sys.exit("gate: " + "; ".join(wrong))
    Path(f"gate_{gate}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    tyro.cli(main)
