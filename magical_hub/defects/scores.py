"""Finished figures of a tuning, on disk, so that one that was stopped continues where it stopped."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from magical_hub.files import append_bytes, check_plain
from magical_hub.safety import read_json_lines


class KeptScores:
    """Scores of detectors by what was tried and on which fold, a line of JSON each; a damaged line counts for nothing.

    Args:
        path: of the file; its folder is made where it is missing. Its name must change with all that a score depends
            on beside what was tried and the fold. None keeps nothing.

    Raises:
        DataError: where the file is a link.
    """

    def __init__(self, path: Path | None) -> None:
        self._path, self._scores = path, dict[str, float]()
        if path is None:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        check_plain(path)
        for line in read_json_lines(path)[0]:
            if isinstance(line.get("score"), float):
                self._scores[_key(line.get("tried"), line.get("fold"))] = line["score"]

    def get(self, tried: Any, fold: int, measure: Callable[[], float]) -> float:
        """A score that is kept already, or else the measured one.

        Args:
            tried: what was tried, as JSON holds it.
            fold: its number.
            measure: trains a detector and tests it.
        """
        key = _key(tried, fold)
        if key not in self._scores:
            self._scores[key] = measure()
            if self._path is not None:  # a line break comes first, and ends a line that a kill cut off
                line = json.dumps({"tried": tried, "fold": fold, "score": self._scores[key]})
                append_bytes(self._path, f"\n{line}".encode())
        return self._scores[key]


def _key(tried: Any, fold: Any) -> str:
    return json.dumps([tried, fold], sort_keys=True)
