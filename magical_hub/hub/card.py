"""The model card: what a published model is, how it was trained, how good it is; what is not known is left out."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData
from jinja2 import Environment, PackageLoader, StrictUndefined

from magical_hub.hub.gate import Finding
from magical_hub.pipeline import MagicalPipeline
from magical_hub.safety import MOST_BYTES_OF_IMAGES, read_json
from magical_hub.texts import code, markdown
from magical_hub.training.run.history import read_history
from magical_hub.version import __version__

TEMPLATE = "card.md.jinja"
TASK = "unconditional-image-generation"
MARK = re.compile(r"\n<!-- magical-hub card ([0-9a-f]{64}) -->\n*\Z")
"""The last line of a card of ours: the hash of all before it tells whether a person has changed it since."""

FIGURES = (
    ("kid", "KID x 1000", 1000, "kid_floor"),
    ("frechet", "Frechet distance", 1, "frechet_floor"),
    ("precision", "precision", 1, "precision_floor"),
    ("recall", "recall", 1, "recall_floor"),
    ("density", "density", 1, "density_floor"),
    ("coverage", "coverage", 1, "coverage_floor"),
    ("variety", "relative variety", 1, "variety_floor"),
    ("near_duplicate_share", "share with a near-duplicate", 1, "near_duplicate_share_real"),
    ("coherence_brightness", "correlation of brightness", 1, "coherence_brightness_real"),
    ("coherence_contrast", "correlation of contrast", 1, "coherence_contrast_real"),
)
"""A score of the report, its name on the card, what it is multiplied by, and the score that is its floor."""
PARTS = ("train", "validation", "holdout")
SEAMS = (("seam_ratio_rows", "between rows"), ("seam_ratio_cols", "between columns"))


@dataclass(frozen=True)
class Run:
    """What a run left beside its weights.

    Args:
        settings: training_config.json.
        steps: how many were done.
        counts: images of each part of the split.
    """

    settings: dict[str, Any] = field(default_factory=dict)
    steps: int | None = None
    counts: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, folder: Path | None) -> Run:
        """Read from RUN, as far as it is there."""
        if folder is None:
            return cls()
        settings, split = (
            read_json(folder / name, folder, most=MOST_BYTES_OF_IMAGES) if (folder / name).is_file() else {}
            for name in ("training_config.json", "split.json")
        )
        lines, _ = read_history(folder / "history.jsonl")
        counts = {part: len(split[part]) for part in PARTS if isinstance(split.get(part), list)}
        return cls(settings, int(lines[-1]["step"]) if lines else None, counts)


def write_card(
    pipe: MagicalPipeline,
    repo_id: str,
    finding: Finding,
    run: Run,
    *,
    license: str | None,
    dataset: str | None,
    total_bytes: int,
) -> str:
    """The text of README.md.

    Args:
        pipe: as it is published: with its critic, or without.
        repo_id: OWNER/NAME.
        finding: what is known of copying, with the report of these weights.
        run: how it was trained, as far as that is known.
        license: its identifier on the Hub.
        dataset: the id on the Hub of what it was trained on.
        total_bytes: of the weights in float32.
    """
    config = pipe.generator.config
    loader = PackageLoader("magical_hub.hub", ".")
    environment = Environment(
        loader=loader, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_shown
    )
    environment.filters["own"] = Markdown
    text = environment.get_template(TEMPLATE).render(
        card_data=Markdown(_data(repo_id, finding, license, dataset).to_yaml()),
        repo_id=Markdown(repo_id),
        name=Markdown(repo_id.rpartition("/")[2]),
        config=config,
        grid=pipe.generator.grid,
        networks={
            name: (type(network).__name__, network.num_parameters() / 1e6)
            for name, network in pipe.components.items()
            if network is not None
        },
        megabytes=total_bytes / 1e6,
        classes=Markdown(", ".join(code(name) for name in config.class_names or [])),
        defects=Markdown(", ".join(code(name) for name in config.defect_names or [])),
        finding=finding,
        run=run,
        about=finding.report["about"] if finding.report else None,
        figures=_figures(finding),
        seams=_seams(finding),
        sections={} if finding.report is None else finding.report["sections"],
        dataset=None if dataset is None else Markdown(dataset),
        version=__version__,
    )
    text = re.sub(r"\n{3,}", "\n\n", text).rstrip() + "\n"
    return f"{text}\n<!-- magical-hub card {_sha256(text)} -->\n"


class Markdown(str):
    """Text of our own, which goes into the card as it is; all else is escaped."""


def _shown(value: Any) -> Any:
    return value if isinstance(value, (Markdown, int, float)) else markdown(value)


def is_ours(text: str) -> bool:
    """Whether a card on the Hub is one that `write_card` wrote, and no person has changed since."""
    mark = MARK.search(text.replace("\r\n", "\n"))
    return mark is not None and mark[1] == _sha256(text.replace("\r\n", "\n")[: mark.start()])


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _data(repo_id: str, finding: Finding, license: str | None, dataset: str | None) -> ModelCardData:
    tags = ["diffusers", "gan", "industrial-inspection", "synthetic-data", f"leakage-check-{finding.kind}"]
    results = _results(finding, dataset)
    return ModelCardData(
        library_name="magical_hub",
        pipeline_tag=TASK,
        tags=tags,
        license=license,
        datasets=None if dataset is None else [dataset],
        metrics=sorted({result.metric_type for result in results}) or None,
        model_name=repo_id.rpartition("/")[2] if results else None,
        eval_results=results or None,
    )


def _scores(finding: Finding) -> dict[str, float]:
    """All figures of the report that are numbers."""
    sections = {} if finding.report is None else finding.report["sections"]
    scores = {key: value for section in sections.values() for key, value in section["scores"].items()}
    return {key: float(value) for key, value in scores.items() if value is not None}


def _results(finding: Finding, dataset: str | None) -> list[EvalResult]:
    """The figures as the Hub's model-index has them."""
    if finding.report is None:
        return []
    scores, about = _scores(finding), finding.report["about"]
    names = {key: name.removesuffix(" x 1000") for key, name, _, _ in FIGURES}
    names |= {key: f"relative seam ratio {where}" for key, where in SEAMS}
    return [
        EvalResult(
            task_type=TASK,
            dataset_type=dataset or "private",
            dataset_name=dataset or str(about["reference_is"]),
            metric_type=key,
            metric_name=f"{name}, {about['network']} features" if key in ("kid", "frechet") else name,
            metric_value=round(scores[key], 6),
        )
        for key, name in names.items()
        if key in scores
    ]


def _figures(finding: Finding) -> list[tuple[str, str, str]]:
    """Rows of a table: the name, the figure, its floor."""
    scores = _scores(finding)

    def shown(key: str, factor: float) -> str:
        if key not in scores:
            return ""
        error = scores.get(f"{key}_standard_error")
        return f"{factor * scores[key]:.3g}" + ("" if error is None else f" +- {factor * error:.2g}")

    return [(name, shown(key, by), shown(floor, by)) for key, name, by, floor in FIGURES if key in scores]


def _seams(finding: Finding) -> list[tuple[str, str, str]]:
    """Rows of a table: between what, the ratio, and the interval that real images show."""
    scores = _scores(finding)
    return [
        (where, f"{scores[key]:.2f}", f"{scores[key + '_low']:.2f} to {scores[key + '_high']:.2f}")
        for key, where in SEAMS
        if {key, f"{key}_low", f"{key}_high"} <= scores.keys()
    ]
