"""Generated images beside real ones, to be looked at: as many of each, and the nearest training image of each."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import nn

from magical_hub.evaluation.evidence import Data, Subject, gather
from magical_hub.evaluation.images import FeatureCache
from magical_hub.evaluation.views import NEIGHBOURS, aligned
from magical_hub.pipeline import MagicalPipeline


@dataclass(frozen=True, eq=False)
class Comparison:
    """N generated and N real images, all (N, C, H, W) uint8.

    Args:
        generated: in random order.
        real: held out from training where such are known.
        closest: the training image that is nearest to each generated one.
        closest_names: their files, or rows.
        distances: (N,) from 0, equal but for light and a small shift, over 1.41, nothing in common.
    """

    generated: np.ndarray
    real: np.ndarray
    closest: np.ndarray
    closest_names: list[str]
    distances: np.ndarray


def compare(
    pipe_or_folder: MagicalPipeline | str | Path, real: Data | None = None, *, num_images: int = 12, seed: int = 0
) -> Comparison:
    """Put generated images beside real ones, and find the training image nearest to each, by pixels.

    It proves neither that they are good nor that they are not copies: `evaluate` tests that.

    Args:
        pipe_or_folder: as for `evaluate`.
        real: the training images, a folder or a dataset; a RUN records its own, and those held out.
        num_images: N; fewer where there are no more real ones.
        seed: of the images and of their order.

    Raises:
        ConfigError, DataError, GridError, CheckpointError: as `evaluate`.
    """
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        cache = FeatureCache(place, place, nn.Identity())  # of no features: pixels are compared
        subject = Subject.of(pipe_or_folder)
        evidence = gather(subject, real, None, num_images=num_images, seed=seed, cache=cache, scratch=place)
        made, train = evidence.compared, evidence.train
        near = aligned(cache.whole(made), cache.whole(train), min(NEIGHBOURS, len(train)))
        rows = near.indices[:, 0]
        every = np.arange(len(made))
        return Comparison(
            made.read(every),
            evidence.reference.read(every),
            train.read(rows),
            [train.names[row] for row in rows],
            near.distances[:, 0],
        )
