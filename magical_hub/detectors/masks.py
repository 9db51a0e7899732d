"""A small U-Net for masks: for each pixel and each class of defect how likely it is there."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from magical_hub.detectors.boxes import as_input
from magical_hub.detectors.network import UNet, padded

_AT_ONCE = 32


class MaskDetector(nn.Module):
    """Finds the pixels of defects.

    Args:
        channels: of the images.
        num_classes: of the defects.
        stride: pixels of a cell of the U-Net's output, from which as many pixels are read.
        widths: of the U-Net.
    """

    def __init__(
        self, channels: int, num_classes: int, stride: int = 2, widths: tuple[int, ...] = (32, 64, 96, 128)
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.features = UNet(channels, stride, widths)
        self.head = nn.Conv2d(widths[0], num_classes * stride**2, 3, padding=1)
        nn.init.constant_(self.head.bias, -3.0)  # type: ignore[arg-type]  # few pixels are defective

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, num_classes, H, W), float32, of images (N, C, H, W) in [-1, 1]."""
        maps = self.head(self.features(padded(images, self.features.multiple))).float()
        return F.pixel_shuffle(maps, self.features.stride)[..., : images.shape[-2], : images.shape[-1]]

    def loss(self, images: Tensor, masks: Tensor) -> Tensor:
        """Binary cross-entropy of pixels, and soft Dice (Milletari et al. 2016) of the classes in the batch.

        Args:
            images: (N, C, H, W) in [-1, 1].
            masks: (N, H, W): 0 for no defect, else 1 + the class.
        """
        logits = self(images)
        wanted = F.one_hot(masks.long(), 1 + self.num_classes)[..., 1:].permute(0, 3, 1, 2).float()
        entropy = F.binary_cross_entropy_with_logits(logits, wanted)
        chances = logits.sigmoid()
        shared, total = (values.sum((0, 2, 3)) for values in (chances * wanted, chances + wanted))
        dice = 1 - (2 * shared + 1) / (total + 1)
        there = wanted.sum((0, 2, 3)) > 0
        return 5 * entropy + (dice * there).sum() / self.num_classes

    @torch.inference_mode()
    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """(N, num_classes, H, W) float32 from 0 to 1 of images (N, H, W, C) uint8."""
        self.eval()
        parts = [images[first : first + _AT_ONCE] for first in range(0, len(images), _AT_ONCE)]
        return np.concatenate(
            [self(as_input(part, self.head.weight.device)).sigmoid().cpu().numpy() for part in parts]
        )
