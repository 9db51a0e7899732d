"""Whether what was asked of an image is in it: a judge that no generator was trained to please."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import register_to_config
from diffusers.utils import BaseOutput
from torch import nn

from magical_hub.errors import ConfigError
from magical_hub.models.base import Network
from magical_hub.models.checks import check_config
from magical_hub.models.feature_critic import feature_widths, shared_features
from magical_hub.models.layers import SLOPE

NETWORK: Final = "efficientnet-lite0"
"""What it looks through. The critic's heads look through another one, for the generator learns to please those."""


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


class LabelVerifier(Network):
    """A small classifier of sub-regions, each by itself, that learns from real ones alone, beside the GAN.

    The critics' own heads can't say whether an asked defect is there: the generator was trained to please them. It
    looks through frozen ImageNet features, where a few hundred steps show it defects that a network trained on pixels
    does not see after thousands (docs/quality.md): those of another network than the critic looks through. Their
    weights come with a package and are not its own.

    Args:
        rows, cols, image_size, channels, num_classes, num_defects: as the generator's; classes or defects there are.
        width: channels of its layers.
        defect_weight: how often training counts a sub-region with a defect, where one without counts once.

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
        num_classes: int = 0,
        num_defects: int = 0,
        width: int = 64,
        defect_weight: float = 4.0,
    ) -> None:
        super().__init__()
        self.grid = check_config(self.config)
        if not num_classes and not num_defects:
            raise ConfigError("a verifier needs classes or defects to verify: give num_classes or num_defects")
        widths = feature_widths(self.grid.cell_height, self.grid.cell_width)
        self.scales = nn.ModuleList(_scale(inputs, width) for inputs in widths)
        seen = width * len(self.scales)
        self.row_embedding = nn.Embedding(rows, seen)
        self.col_embedding = nn.Embedding(cols, seen)
        for embedding in (self.row_embedding, self.col_embedding):
            nn.init.zeros_(embedding.weight)
        self.hidden = nn.Linear(seen, width)
        self.class_head = nn.Linear(width, num_classes) if num_classes else None
        self.defect_head = nn.Linear(width, 1 + num_defects) if num_defects else None

    def forward(self, sub_regions: torch.Tensor, locations: torch.Tensor) -> VerifierOutput:
        """Judge sub-regions.

        Args:
            sub_regions: (B, C, h, w) in [-1, 1].
            locations: (B,) int64.
        """
        self.grid.check_locations(locations, (1, 1))
        self.grid.window((1, 1)).check_images(sub_regions)
        with torch.no_grad():
            features = shared_features(NETWORK, *sub_regions.shape[2:], sub_regions.device)(sub_regions)
        pairs = zip(self.scales, features, strict=True)
        # The surest cell of a scale speaks for it: a defect is small.
        seen = torch.cat([scale(x.to(self.dtype)).amax((2, 3)) for scale, x in pairs], 1)
        place = self.row_embedding(locations // self.grid.cols) + self.col_embedding(locations % self.grid.cols)
        x = F.leaky_relu(self.hidden(seen + place), SLOPE)
        return VerifierOutput(
            class_logits=None if self.class_head is None else self.class_head(x),
            defect_logits=None if self.defect_head is None else self.defect_head(x),
        )


def _scale(inputs: int, width: int) -> nn.Sequential:
    """What is seen in the cells of one scale, each beside its neighbours."""
    return nn.Sequential(
        nn.Conv2d(inputs, width, 1),
        nn.LeakyReLU(SLOPE),
        nn.Conv2d(width, width, 3, padding=1),
        nn.LeakyReLU(SLOPE),
    )
