"""Which synthetic images are kept: the verified ones, all, or those that a filter lets through."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from magical_hub.augmentation.verification import verified
from magical_hub.errors import ConfigError
from magical_hub.pipeline import MagicalPipeline, MagicalPipelineOutput

Filter = Callable[[np.ndarray, Sequence[dict[str, Any]]], Any]
"""From images (N, H, W) or (N, H, W, C) uint8, as they were generated, and their annotations to N bools, true where
one is kept; or to N strings, why it is dropped, and "" where it is kept."""
Keep = Literal["verified", "all"] | Filter


def drop_reasons(keep: Keep, pipe: MagicalPipeline, output: MagicalPipelineOutput) -> list[str]:
    """Why each image is dropped, "" where it is kept.

    Raises:
        ConfigError: where a filter gives anything but a bool or a string an image.
    """
    count = len(output.images)
    if keep == "all":
        return [""] * count
    if keep == "verified":
        return ["" if there else "not verified" for there in verified(pipe, output)]
    assert callable(keep)
    annotations = output.annotations or [{} for _ in range(count)]
    return filter_reasons(keep, list(output.images), annotations)


def filter_reasons(keep: Filter, images: Sequence[Any], annotations: Sequence[dict[str, Any]]) -> list[str]:
    """Why a filter drops each image, "" where it keeps it.

    Raises:
        ConfigError: where it gives anything but a bool or a string an image.
    """
    count = len(images)
    said = np.asarray(keep(np.stack([np.asarray(image) for image in images]), annotations))
    if said.shape != (count,) or said.dtype.kind not in "bU":
        raise ConfigError(
            f"the filter gave {said.dtype} of shape {said.shape} for {count} images: let it give one bool, "
            "or one string, an image"
        )
    return ["" if kept else "dropped by the filter" for kept in said] if said.dtype.kind == "b" else said.tolist()
