"""How much is done to measure usefulness, and the result: scores, paired differences, verdicts; JSON and Markdown."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from magical_hub.evaluation.section import Outcome
from magical_hub.metrics.paired import difference_over_resamples

REAL, CLASSICAL, PROCEDURAL = "real only", "real + classical", "real + procedural"
SYNTHETIC, ALONE = "real + synthetic", "synthetic only"
PAIRS = (
    (SYNTHETIC, REAL),
    (SYNTHETIC, CLASSICAL),
    (SYNTHETIC, PROCEDURAL),
    (CLASSICAL, REAL),
    (PROCEDURAL, REAL),
    (ALONE, REAL),
)
"""The arms that are compared: the question first, then the rivals, then the others alone."""

CONFIDENCE = 0.95
"""The confidence of all intervals of one measure together (Bonferroni)."""


@dataclass(frozen=True)
class Effort:
    """What both detectors share.

    Attributes:
        seeds: how often everything is done anew.
        steps: gradient steps of each classifier.
        num_extra: further images of each kind for each seed.
        resamples: of seeds and test images.
        seed: everything random depends on it alone.
        progress: called with the number of images done.
    """

    seeds: int
    steps: int
    num_extra: int
    resamples: int
    seed: int
    progress: Callable[[int], Any]


@dataclass(frozen=True)
class Comparison:
    """The mean paired difference of two arms, over seeds.

    Attributes:
        arm, against: what was compared; above 0 the arm is better.
        measure: which score.
        difference: of the test images as they are.
        low, high: its interval, by resampling seeds and test images.
        verdict: "helps" where the whole interval is above 0, "harms" where it is below, else "not shown".
    """

    arm: str
    against: str
    measure: str
    difference: float
    low: float
    high: float
    verdict: Outcome


@dataclass(frozen=True)
class TaskResult:
    """One detector: its scores with and without synthetic images.

    Attributes:
        detector: what it is, in words.
        counts: images of each kind.
        scores: of each arm, of each measure, one per seed, 0 to 1; the verdict is by the first measure.
        comparisons: all pairs, measure by measure.
    """

    detector: str
    counts: dict[str, int]
    scores: dict[str, dict[str, list[float]]]
    comparisons: list[Comparison]

    @property
    def measures(self) -> list[str]:
        """The names of the scores, the one that the verdict is by first."""
        return list(self.scores[REAL])

    @property
    def verdict(self) -> Outcome:
        """The verdict on real + synthetic images against real ones only, by the first measure."""
        return self.comparisons[0].verdict


@dataclass(frozen=True)
class UsefulnessResult:
    """Whether synthetic images make a detector better.

    Attributes:
        tasks: "classification" and "anomaly_detection", those that could be measured.
        left_out: what was not measured, and why.
        settings: seeds, steps and all else that the figures depend on.
    """

    tasks: dict[str, TaskResult]
    left_out: dict[str, str]
    settings: dict[str, Any]

    @property
    def verdicts(self) -> dict[str, Outcome]:
        """One per task."""
        return {name: task.verdict for name, task in self.tasks.items()}

    def to_json(self) -> dict[str, Any]:
        """Plain dictionaries, lists, strings and numbers."""
        return {"verdicts": self.verdicts, **asdict(self)}

    def to_markdown(self) -> str:
        """The verdicts and two tables a task."""
        lines = []
        for name, task in self.tasks.items():
            counts = ", ".join(f"{count} {what}" for what, count in task.counts.items())
            lines += [f"**{name.replace('_', ' ').capitalize()}: {task.verdict}.** {task.detector} ({counts}).", ""]
            lines += [*_scores_table(task), "", *_comparisons_table(task), ""]
        lines += [f"- {what}: left out, since {why}" for what, why in self.left_out.items()]
        return "\n".join(lines).rstrip() + "\n"


def compare(
    scores: Mapping[str, Mapping[str, np.ndarray]], rng: np.random.Generator
) -> tuple[dict[str, dict[str, list[float]]], list[Comparison]]:
    """What a TaskResult holds, of the resampled scores.

    Args:
        scores: of each arm, of each measure, (S, 1 + B): one row per seed, the first column for the test images as
            they are, the others for resamples of them.
        rng: draws the seeds of each resample.
    """
    pairs = [pair for pair in PAIRS if pair[0] in scores and pair[1] in scores]
    level = 1 - (1 - CONFIDENCE) / len(pairs)
    comparisons = []
    for measure in scores[REAL]:
        for arm, against in pairs:
            both = scores[arm][measure], scores[against][measure]
            difference, low, high = difference_over_resamples(*both, rng, level)
            verdict: Outcome = "helps" if low > 0 else "harms" if high < 0 else "not shown"
            comparisons.append(Comparison(arm, against, measure, difference, low, high, verdict))
    plain = {
        arm: {measure: [float(score) for score in values[:, 0]] for measure, values in measures.items()}
        for arm, measures in scores.items()
    }
    return plain, comparisons


def _scores_table(task: TaskResult) -> list[str]:
    lines = ["| arm | " + " | ".join(task.measures) + " |", "| --- |" + " --- |" * len(task.measures)]
    for arm, measures in task.scores.items():
        cells = [f"{np.mean(values):.3f} +- {np.std(values, ddof=1):.3f}" for values in measures.values()]
        lines.append(f"| {arm} | " + " | ".join(cells) + " |")
    return lines


def _comparisons_table(task: TaskResult) -> list[str]:
    lines = ["| comparison | measure | difference | interval | verdict |", "| --- | --- | --- | --- | --- |"]
    for c in task.comparisons:
        lines.append(
            f"| {c.arm}, against {c.against} | {c.measure} | {c.difference:+.3f} | {c.low:+.3f} to {c.high:+.3f} "
            f"| {c.verdict} |"
        )
    return lines
