"""Few, large, aligned images in; many labelled ones out: a GAN on the sub-regions of images (MAGICal, 2023).

The names below are loaded when they are first used, so that `import magical_hub` stays fast.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "MagicalPipeline": "magical_hub.pipeline",
    "MagicalGenerator": "magical_hub.models",
    "SeamlessGenerator": "magical_hub.models",
    "MagicalCritic": "magical_hub.models",
    "LabelVerifier": "magical_hub.models",
    "Grid": "magical_hub.grid",
    "TrainingConfig": "magical_hub.training",
    "train": "magical_hub.training",
    "evaluate": "magical_hub.evaluation",
    "push": "magical_hub.hub",
    "augment_dataset": "magical_hub.augmentation",
    "MagicalTransform": "magical_hub.augmentation",
    # diffusers looks for the base class of a component beside the component (see magical_hub.pipeline).
    "ModelMixin": "diffusers",
}

__all__ = [
    "Grid",
    "LabelVerifier",
    "MagicalCritic",
    "MagicalGenerator",
    "MagicalPipeline",
    "MagicalTransform",
    "SeamlessGenerator",
    "TrainingConfig",
    "augment_dataset",
    "evaluate",
    "push",
    "train",
]

if TYPE_CHECKING:
    from magical_hub.augmentation.augmenting import augment_dataset
    from magical_hub.augmentation.transform import MagicalTransform
    from magical_hub.evaluation.evaluating import evaluate
    from magical_hub.grid import Grid
    from magical_hub.hub import push
    from magical_hub.models import LabelVerifier, MagicalCritic, MagicalGenerator, SeamlessGenerator
    from magical_hub.pipeline import MagicalPipeline
    from magical_hub.training import TrainingConfig, train


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'magical_hub' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
