"""The report: sections, a verdict over all, and the two files that it is written to."""

from __future__ import annotations

import base64
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from magical_hub.errors import ConfigError
from magical_hub.evaluation.section import Section, Verdict, worst
from magical_hub.files import write_text

FORMAT = 1
"""The format of report.json: keys may be added within a format, and never change their meaning."""
OVERALL = {
    Verdict.GOOD: "Fit for use, as far as this report tested.",
    Verdict.WEAK: "Use with care: see what is weak, or was not tested.",
    Verdict.BAD: "Do not use these images.",
    Verdict.NONE: "No verdict: nothing could be measured.",
}


@dataclass
class EvaluationReport:
    """What `evaluate` found.

    Args:
        sections: a question each, by their names.
        about: what was evaluated, and by what: versions, seeds, counts, the hash of the weights.
    """

    sections: dict[str, Section]
    about: dict[str, Any]

    @property
    def verdict(self) -> Verdict:
        """The worst of all sections; weak where they are good and one was left out."""
        verdicts = [section.verdict for section in self.sections.values()]
        found = worst(Verdict.NONE, *verdicts)
        return Verdict.WEAK if found is Verdict.GOOD and Verdict.NONE in verdicts else found

    @property
    def first_page(self) -> Section | None:
        """The section with an answer of its own for a reader of one page; None where there is none."""
        return next((section for section in self.sections.values() if section.headline), None)

    @property
    def statement(self) -> str:
        """The verdict in words, and what it is due to."""
        if self.first_page is not None and len(self.sections) == 1:
            return self.first_page.headline
        counted = {Verdict.WEAK: (Verdict.WEAK, Verdict.NONE), Verdict.BAD: (Verdict.BAD,)}.get(self.verdict, ())
        to_blame = [name for name, section in self.sections.items() if section.verdict in counted]
        return OVERALL[self.verdict] + (f" ({', '.join(to_blame)})" if to_blame else "")

    @property
    def leaks(self) -> bool | None:
        """Whether copying was found; None where it could not be tested."""
        verdict = self.sections["leakage"].verdict if "leakage" in self.sections else Verdict.NONE
        return None if verdict is Verdict.NONE else verdict is Verdict.BAD

    def get_score(self, name: str) -> float:
        """A figure by its name, NaN where there is none of these images.

        Raises:
            ConfigError: where no section that was measured has it; it lists those that are there.
        """
        scores = {key: value for section in self.sections.values() for key, value in section.scores.items()}
        if name not in scores:
            raise ConfigError(f"the report has no score {name!r}: it has {', '.join(scores)}")
        value = scores[name]
        return float("nan") if value is None else value

    def get_details(self, name: str) -> dict[str, Any]:
        """How a section's figures were computed.

        Raises:
            ConfigError: where there is no such section.
        """
        if name not in self.sections:
            raise ConfigError(f"the report has no section {name!r}: it has {', '.join(self.sections)}")
        return self.sections[name].details

    def summary(self) -> str:
        """The verdicts and their statements, a line each."""
        lines = [f"{name}, {section.verdict.value}: {section.statement}" for name, section in self.sections.items()]
        advice = [self.first_page.advice] if self.first_page is not None else []
        return "\n".join([*lines, self.statement, *advice])

    def to_dict(self) -> dict[str, Any]:
        """All but the pictures, fit for JSON: a figure that is not finite is None."""
        return {
            "format": FORMAT,
            "verdict": self.verdict.value,
            "statement": self.statement,
            "about": self.about,
            "sections": {
                name: {
                    "question": section.question,
                    "verdict": section.verdict.value,
                    "statement": section.statement,
                    "scores": {key: _finite(value) for key, value in section.scores.items()},
                    "details": section.details,
                    **({"headline": section.headline, "advice": section.advice} if section.headline else {}),
                }
                for name, section in self.sections.items()
            },
        }

    def to_json(self) -> str:
        """`to_dict` as text."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False)

    def to_html(self) -> str:
        """One page that needs nothing else: pictures are in it."""
        loader = PackageLoader("magical_hub.evaluation", ".")
        environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
        environment.filters["data_uri"] = lambda png: f"data:image/png;base64,{base64.b64encode(png).decode()}"
        environment.filters["figure"] = lambda value: "none" if _finite(value) is None else f"{value:.4g}"
        environment.filters["text"] = lambda details: json.dumps(details, indent=2)
        return environment.get_template("report.html.jinja").render(report=self)

    def write(self, folder: Path) -> None:
        """Write report.html, and then report.json, each whole or not at all."""
        write_text(folder / "report.html", self.to_html())
        write_text(folder / "report.json", self.to_json())


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
