"""Whether what was asked of an image is in it: a judge that no generator was trained to please."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers.configuration_utils import register_to_config
from diffusers.utils import BaseOutput
from torch import nn

from magical_hub.errors import ConfigError
from magical_hub.grid import Grid
from magical_hub.models.checks import check_sizes
from magical_hub.models.layers import GAIN, Linear, activate
from magical_hub.models.trunk import SubRegionNetwork


@dataclass
class VerifierOutput(BaseOutput):
    """What a verifier says of B sub-regions.

    Args:
        class_logits: (B, num_classes), or None.
        defect_logits: (B, 1 + num_defects), the first for none; or None.
    """

    # As in CriticOutput, the defaults are for Accelerate.
    class_logits: torch.Tensor | None = None
    defect_logits: torch.Tensor | None = None


class LabelVerifier(SubRegionNetwork):
    """A small classifier of sub-regions, each by itself, that learns from real ones alone, beside the GAN.

    The critic's own heads can't say whether an asked defect is there: the generator was trained to please them.

    Args:
        rows, cols, image_size, channels, num_classes, num_defects: as the generator's; classes or defects there are.
        base_width: channels at half the resolution of a sub-region, doubled with every halving up to `max_width`.
        max_width: the most channels at any level.

    Raises:
        ConfigError: where there is nothing to verify.
    """

    @register_to_config
    def __init__(
        self,
        rows: int = 4,
        cols: int = 4,
        image_size: tuple[int, int] = (128, 128),
        channels: int = 1,
        base_width: int = 32,
        max_width: int = 128,
        num_classes: int = 0,
        num_defects: int = 0,
    ) -> None:
        super().__init__()
        check_sizes(
            rows=rows,
            cols=cols,
            image_size=image_size,
            base_width=base_width,
            max_width=max_width,
            num_classes=num_classes,
            num_defects=num_defects,
        )
        if not num_classes and not num_defects:
            raise ConfigError("a verifier needs classes or defects to verify: give num_classes or num_defects")
        self.grid = Grid(rows, cols, *image_size)
        features = self._build_trunk(channels, base_width, max_width)
        self.row_embedding = nn.Embedding(rows, features)
        self.col_embedding = nn.Embedding(cols, features)
        self.hidden = Linear(features, features, GAIN)
        self.class_head = Linear(features, num_classes) if num_classes else None
        self.defect_head = Linear(features, 1 + num_defects) if num_defects else None

    def forward(self, sub_regions: torch.Tensor, locations: torch.Tensor) -> VerifierOutput:
        """Judge sub-regions.

        Args:
            sub_regions: (B, C, h, w) in [-1, 1].
            locations: (B,) int64.
        """
        self.grid.check_locations(locations, (1, 1))
        rows, cols = locations // self.grid.cols, locations % self.grid.cols
        x = self._features(sub_regions, (1, 1))
        x = activate(self.hidden(x + (self.row_embedding(rows) + self.col_embedding(cols)).to(x.dtype)))
        return VerifierOutput(
            class_logits=None if self.class_head is None else self.class_head(x),
            defect_logits=None if self.defect_head is None else self.defect_head(x),
        )
