"""The section of the report: detectors trained on the run's own images, tested on its held-out ones; and a picture."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from magical_hub.evaluation.evidence import Evidence
from magical_hub.evaluation.images import ImageSet
from magical_hub.evaluation.plots import as_png, draw_differences, draw_scores
from magical_hub.evaluation.section import LeftOut, Section, Verdict, worst
from magical_hub.evaluation.usefulness.measure import measure_usefulness
from magical_hub.evaluation.usefulness.result import REAL, SYNTHETIC, TaskResult, UsefulnessResult
from magical_hub.metrics import FeatureNetwork

QUESTION = "Do the images make a detector better?"
MOST = 2000
"""The most real images, of training and of testing each: all are in memory."""
VERDICTS = {"helps": Verdict.GOOD, "not shown": Verdict.WEAK, "harms": Verdict.BAD}


def measure(evidence: Evidence) -> Section:
    """A classifier and anomaly detection, each with and without synthetic images."""
    names = evidence.train.store.class_names
    if evidence.holdout is None:
        raise LeftOut("there are no held-out images to test a detector on")
    if names is None or evidence.holdout.store.class_names is None:
        raise LeftOut("no classes are known: give label_column")
    if evidence.pipe is not None:
        known = list(evidence.pipe.generator.config.class_names or [])
        names = known + [name for name in names if name not in known]
    train, test = (images.shuffled(evidence.seed).take(MOST) for images in (evidence.train, evidence.holdout))
    made = evidence.generated
    network = evidence.cache.network
    result = measure_usefulness(
        made.read(np.arange(len(made))) if evidence.pipe is None else evidence.pipe,
        train.read(np.arange(len(train))),
        _numbers(train, names),
        test.read(np.arange(len(test))),
        _numbers(test, names),
        normal_class=None if evidence.normal_class is None else names.index(evidence.normal_class),
        network=network if isinstance(network, FeatureNetwork) else None,
        seed=evidence.seed,
    )
    if not result.tasks:
        raise LeftOut("; ".join(result.left_out.values()))
    return Section(
        name="usefulness",
        question=QUESTION,
        verdict=worst(*(VERDICTS[task.verdict] for task in result.tasks.values())),
        statement=" ".join(_sentence(name, task) for name, task in result.tasks.items()),
        scores=_scores(result.tasks),
        details=result.to_json(),
        pictures={"Scores of each arm, and their differences": draw_usefulness(result)},
    )


def _numbers(images: ImageSet, names: list[str]) -> np.ndarray:
    """The class of each image as its place among `names`; one that is not there comes after them all."""
    classes = images.store.class_names or []
    places = np.array([names.index(name) if name in names else len(names) + n for n, name in enumerate(classes)])
    return places[images.labels]


def _sentence(name: str, task: TaskResult) -> str:
    first = task.comparisons[0]
    return (
        f"{name.replace('_', ' ').capitalize()}: {task.verdict}; with synthetic images the {first.measure} changes by "
        f"{first.difference:+.3f} ({first.low:+.3f} to {first.high:+.3f})."
    )


def _scores(tasks: dict[str, TaskResult]) -> dict[str, float | None]:
    scores: dict[str, float | None] = {}
    for name, task in tasks.items():
        measure = task.measures[0]
        scores[f"{name}_real"] = float(np.mean(task.scores[REAL][measure]))
        scores[f"{name}_with_synthetic"] = float(np.mean(task.scores[SYNTHETIC][measure]))
        scores[f"{name}_difference"] = task.comparisons[0].difference
    return scores


def draw_usefulness(result: UsefulnessResult) -> bytes:
    """A PNG file, one row per task: the scores of each arm, seed by seed, and the differences with their intervals.

    Args:
        result: with one task or more.
    """
    figure = Figure(figsize=(12, 3.4 * len(result.tasks)), layout="tight")
    for (left, right), (name, task) in zip(
        figure.subplots(len(result.tasks), 2, squeeze=False), result.tasks.items(), strict=True
    ):
        measure = task.measures[0]
        draw_scores(left, {arm: measures[measure] for arm, measures in task.scores.items()})
        title = f"{name.replace('_', ' ').capitalize()}: {task.verdict}"
        left.set(title=title, xlabel=f"{measure}, one point per seed")
        shown = [c for c in task.comparisons if c.measure == measure]
        rows = {f"{c.arm}\nagainst {c.against}": (c.difference, c.low, c.high, c.verdict) for c in shown}
        draw_differences(right, rows)
        right.set(title="Green helps, red harms, grey is not shown", xlabel=f"difference in {measure}")
    return as_png(figure)
