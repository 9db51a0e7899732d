"""How much is done for an answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Effort:
    """What both detectors share.

    Attributes:
        seeds: how often everything is done anew.
        steps: gradient steps of each classifier.
        num_extra: further images of each kind for each seed.
        resamples: of seeds and test images.
        seed: everything random hangs on it.
        progress: told how many images were looked at.
    """

    seeds: int
    steps: int
    num_extra: int
    resamples: int
    seed: int
    progress: Callable[[int], Any]
