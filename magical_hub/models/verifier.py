"""A classifier of classes and defects that takes no part in the adversarial objective."""

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
from magical_hub.models.feature_critic import cell_classifier, feature_widths, shared_features
from magical_hub.models.layers import SLOPE

NETWORK: Final = "efficientnet-lite0"
"""The frozen network of its features; the feature critic reads another one, whose features the generator fits."""


@dataclass
class VerifierOutput(BaseOutput):
    """Output of a verifier for B sub-regions.

    Args:
        class_logits: (B, num_classes), or None.
        defect_logits: (B, 1 + num_defects), the first for none; or None.
    """

    # As in CriticOutput, the defaults are for Accelerate.
    class_logits: torch.Tensor | None = None
    defect_logits: torch.Tensor | None = None


class LabelVerifier(Network):
    """A small classifier of sub-regions, each by itself, that learns from real ones alone, beside the GAN.

    The heads of the critics cannot verify generated images, since the generator was trained to satisfy them. The
    verifier reads frozen ImageNet features of another network than the feature critic. A few hundred steps on them
    learn defects that a network on pixels has not learned after thousands (docs/quality.md). The weights of the frozen
    network come with a package and are not saved.

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
        self.scales = nn.ModuleList(cell_classifier(channels, width) for channels in widths)
        inputs = width * len(self.scales)
        self.row_embedding = nn.Embedding(rows, inputs)
        self.col_embedding = nn.Embedding(cols, inputs)
        for embedding in (self.row_embedding, self.col_embedding):
            nn.init.zeros_(embedding.weight)
        self.hidden = nn.Linear(inputs, width)
        self.class_head = nn.Linear(width, num_classes) if num_classes else None
        self.defect_head = nn.Linear(width, 1 + num_defects) if num_defects else None

    def forward(self, sub_regions: torch.Tensor, locations: torch.Tensor) -> VerifierOutput:
        """Classify sub-regions.

        Args:
            sub_regions: (B, C, h, w) in [-1, 1].
            locations: (B,) int64.
        """
        self.grid.check_locations(locations, (1, 1))
        self.grid.window((1, 1)).check_images(sub_regions)
        with torch.no_grad():
            features = shared_features(NETWORK, *sub_regions.shape[2:], sub_regions.device)(sub_regions)
        pairs = zip(self.scales, features, strict=True)
        # The maximum over the cells of a scale: a defect is small.
        pooled = torch.cat([scale(x.to(self.dtype)).amax((2, 3)) for scale, x in pairs], 1)
        place = self.row_embedding(locations // self.grid.cols) + self.col_embedding(locations % self.grid.cols)
        x = F.leaky_relu(self.hidden(pooled + place), SLOPE)
        return VerifierOutput(
            class_logits=None if self.class_head is None else self.class_head(x),
            defect_logits=None if self.defect_head is None else self.defect_head(x),
        )
