"""Feature maps of the middle of a frozen network, which both detectors read: small defects still show there."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from magical_hub.metrics import FeatureNetwork
from magical_hub.training.processes import multiplies_bf16

_BATCH = 16


class Extractor:
    """Turns images (N, C, H, W) uint8 into feature maps, by batches; in bf16 where the hardware multiplies it."""

    def __init__(self, network: FeatureNetwork) -> None:
        self.network = network
        self.device = next(network.parameters()).device
        self.precision = "bf16" if multiplies_bf16() else "float32"

    @torch.inference_mode()
    def maps(self, images: np.ndarray) -> Iterator[Tensor]:
        """float32 on the CPU, (up to 16, F, h, w) at a time."""
        for first in range(0, len(images), _BATCH):
            batch = torch.from_numpy(np.asarray(images[first : first + _BATCH])).to(self.device).float() / 127.5 - 1
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
                made = self.network.maps(batch)
            yield made.float().cpu()

    def pooled(self, images: np.ndarray) -> np.ndarray:
        """Mean and greatest value over space of every map: (N, 2 F)."""
        return np.concatenate([torch.cat([m.mean((2, 3)), m.amax((2, 3))], 1).numpy() for m in self.maps(images)])
