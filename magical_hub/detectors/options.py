"""The options of the training of a detector."""

from __future__ import annotations

import math
from dataclasses import dataclass

from magical_hub.errors import check_number


@dataclass(frozen=True)
class DetectorOptions:
    """How a detector is trained.

    Attributes:
        steps: of the optimizer.
        batch_size: images of a step.
        crop_size: side in pixels of the square part of an image that is trained on; None takes whole images.
        learning_rate: the highest; it rises in the first tenth of the steps and falls to 0 by a cosine.
        weight_decay: of AdamW.
        augment: strong classical augmentation.
        quarter_turns: whether it may turn images by quarters.
        good_share: of the real rows of a batch, those without a defect; 0 to 1.
        synthetic_share: of the rows of a batch; 0 to 1.
        real_only_steps: share of the steps, the last ones, that have real rows only; 0 to 1.
        bf16: compute the convolutions in bfloat16, 2 to 5 times faster where the processor has instructions for it.

    Raises:
        ConfigError: where one is out of its range.
    """

    steps: int = 600
    batch_size: int = 8
    crop_size: int | None = None
    learning_rate: float = 3e-3
    weight_decay: float = 0.05
    augment: bool = True
    quarter_turns: bool = True
    good_share: float = 0.25
    synthetic_share: float = 0.3
    real_only_steps: float = 0.0
    bf16: bool = True

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size"):
            check_number(name, getattr(self, name), at_least=1, whole=True)
        if self.crop_size is not None:
            check_number("crop_size", self.crop_size, at_least=32, whole=True)
        for name in ("good_share", "synthetic_share", "real_only_steps"):
            check_number(name, getattr(self, name), at_least=0, at_most=1)
        check_number("learning_rate", self.learning_rate, above=0, below=math.inf)
