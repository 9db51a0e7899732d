"""The leakage gate: no generator is published that copies its training images, or that was not checked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from magical_hub.errors import ConfigError, LeakageError
from magical_hub.evaluation import EvaluationReport
from magical_hub.evaluation.report import FORMAT
from magical_hub.files import expanded
from magical_hub.hub.contents import public_report
from magical_hub.safety import read_json
from magical_hub.training import Split

ADVICE = "run `magical-hub evaluate` on it, or give --allow-unchecked, and the card will say so"


@dataclass(frozen=True)
class Finding:
    """What is known of copying.

    Args:
        kind: "passed" where copies were searched for and none found; "failed" where some were; else "unchecked".
        statement: a sentence, for the card.
        report: what may be published of the report of these very weights; None where there is none.
    """

    kind: Literal["passed", "failed", "unchecked"]
    statement: str
    report: dict[str, Any] | None = None


def find_report(given: EvaluationReport | str | Path | None, run: Path | None) -> dict[str, Any] | None:
    """The report as given, or that in RUN/evaluation; None where there is none.

    Args:
        given: a report, its report.json, or the folder that holds it.
        run: the checkpoint's folder.

    Raises:
        ConfigError: where one was given, and can't be read.
    """
    if isinstance(given, EvaluationReport):
        return given.to_dict()
    if given is None:
        file = None if run is None else run / "evaluation" / "report.json"
        return read_json(file, file.parent) if file is not None and file.is_file() else None
    file = expanded(given)
    file = file / "report.json" if file.is_dir() else file
    try:
        return read_json(
            file, file.parent, ConfigError, "give the report.json of `magical-hub evaluate`, or its folder"
        )
    except ConfigError as error:
        raise ConfigError(f"report {given}: {error}") from error


def trained_on(record: dict[str, Any] | None, weights_sha256: str, run: Path | None) -> dict[str, str | None] | None:
    """The hashes of the sets of images that weights were trained on and that were held out; None where not known.

    Args:
        record: the one that came with the weights (see provenance.py).
        weights_sha256: of the weights.
        run: the checkpoint's folder; a RUN has its split.
    """
    if run is not None and (run / "split.json").is_file():
        return Split.load(run / "split.json").sha256()
    if record is None or record.get("weights_sha256") != weights_sha256:
        return None
    data = record.get("data")
    parts = data.get("sha256") if isinstance(data, dict) else None
    return dict(parts) if isinstance(parts, dict) else None


def check_report(report: dict[str, Any] | None, weights_sha256: str, images: dict[str, str | None] | None) -> Finding:
    """What a report says of the copying of these weights; one of other weights or other images says nothing.

    Args:
        report: of `evaluate`.
        weights_sha256: of the weights.
        images: as `trained_on`.

    Raises:
        ConfigError: where it is not a report, or one of another format.
    """
    if report is None:
        return Finding("unchecked", "No leakage check was made: whether it copies training images is not known.")
    try:
        kept = public_report(report)
        leakage = kept["sections"]["leakage"]
    except (LookupError, TypeError, AttributeError) as error:
        raise ConfigError("this is not a report that `magical-hub evaluate` wrote: make it again") from error
    if kept["format"] != FORMAT:
        raise ConfigError(f"the report is of format {kept['format']}, and this version reads {FORMAT}: make it again")
    verdict = leakage["verdict"]
    if kept["about"].get("weights_sha256") != weights_sha256:
        return Finding("unchecked", "No leakage check was made of these weights: the report is of others.")
    if verdict in ("good", "weak") and (doubt := _doubt(report["about"].get("sha256"), images)):
        return Finding("unchecked", f"No leakage check counts: {doubt}.")
    if verdict in ("good", "weak"):
        return Finding("passed", str(leakage["statement"]), kept)
    if verdict == "bad":
        return Finding("failed", str(leakage["statement"]), kept)
    return Finding("unchecked", "The leakage check could not be made: too little was there to compare with.", kept)


def _doubt(compared: Any, images: dict[str, str | None] | None) -> str | None:
    """Why a search for copies of other images than the weights' own proves nothing; None where it does."""
    if images is None or images.get("train") is None:
        return "which images it was trained on is not on record"
    if not isinstance(compared, dict) or compared.get("train") != images["train"]:
        return "the report compares with other images than those that it was trained on"
    if images.get("holdout") is not None and compared.get("holdout") != images["holdout"]:
        return "the report compares with other images than those that training held out"
    return None


def check(finding: Finding, allow_unchecked: bool) -> None:
    """Raise a LeakageError unless copies were searched for and none found, or the caller allows it."""
    if finding.kind == "passed" or allow_unchecked:
        return
    raise LeakageError(f"not pushed: {finding.statement.rstrip('.')}: {ADVICE}")
