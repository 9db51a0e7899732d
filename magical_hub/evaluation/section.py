"""A section of the report: one question, and what was found."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal


class Verdict(str, Enum):
    """The verdict of a section on the images."""

    GOOD = "good"
    WEAK = "weak"
    BAD = "bad"
    NONE = "left out"


Outcome = Literal["helps", "harms", "no gain", "not shown"]
"""What the difference of two detectors shows of the images that one of them was trained with."""


class LeftOut(Exception):
    """A question that can't be answered from what was given: the section says why."""


@dataclass
class Section:
    """The answer to one question.

    Args:
        name: its key in report.json.
        question: in words.
        verdict: good, weak, bad, or left out.
        statement: the verdict in a sentence or two; of a section left out, the reason.
        scores: figures by names that no other section uses; None where there is no such figure.
        details: how they were computed: counts, seeds, networks, tests, lists of images. Fit for JSON.
        pictures: PNG files by their captions.
        headline: the answer in a few words; with it the section is the first page of the report.
        advice: what to do, in a sentence or two, for the first page.
        tables: rows of cells by their captions, a heading first; for report.html.
    """

    name: str
    question: str
    verdict: Verdict
    statement: str
    scores: dict[str, float | None] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    pictures: dict[str, bytes] = field(default_factory=dict)
    headline: str = ""
    advice: str = ""
    tables: dict[str, list[list[str]]] = field(default_factory=dict)


def worst(*verdicts: Verdict) -> Verdict:
    """The worst of several; what was left out says nothing."""
    order = [Verdict.NONE, Verdict.GOOD, Verdict.WEAK, Verdict.BAD]
    return max(verdicts, key=order.index)


def at_least(value: float, good: float, weak: float) -> Verdict:
    """Good from one bound on, weak from a lower one on, else bad; NaN gives no verdict."""
    if value != value:
        return Verdict.NONE
    return Verdict.GOOD if value >= good else Verdict.WEAK if value >= weak else Verdict.BAD


def at_most(value: float, good: float, weak: float) -> Verdict:
    """Good up to one bound, weak up to a higher one, else bad; NaN gives no verdict."""
    return at_least(-value, -good, -weak)
