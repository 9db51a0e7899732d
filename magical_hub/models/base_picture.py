"""A learned base picture that a seamless generator adds to; training initialises it with the mean training image."""

from __future__ import annotations

import torch
from torch import nn

from magical_hub.models.layers import full_precision

MOST_POINTS = 128
"""Points along an axis: neither parameters nor memory grow with the canvas."""

FINEST = 2
"""The fewest pixels between two points: a mean has no finer texture."""


class BasePicture(nn.Module):
    """A picture of the whole canvas for each class, learned, read a tile at a time.

    Aligned images have much in common, which a generator would otherwise need its first hours to learn. The picture is
    known at points 2 px apart, or further on canvases of more than 256 px, and bilinear between them.

    Args:
        image_size: height and width of the canvas in pixels.
        channels: of the picture.
        num_classes: image classes; 0 for none.
    """

    def __init__(self, image_size: tuple[int, int], channels: int, num_classes: int = 0) -> None:
        super().__init__()
        self.strides = [max(FINEST, -(-side // MOST_POINTS)) for side in image_size]
        points = [-(-side // stride) for side, stride in zip(image_size, self.strides, strict=True)]
        self.values = nn.Parameter(torch.zeros(max(1, num_classes), channels, *points))

    def forward(
        self, tops: torch.Tensor, lefts: torch.Tensor, height: int, width: int, class_labels: torch.Tensor | None
    ) -> torch.Tensor:
        """Tiles whose first pixel is (tops, lefts), (B,) int64: (B, channels, height, width) float32."""
        with full_precision(self.values.device):
            values = self.values.float()
            chosen = values.expand(len(tops), -1, -1, -1) if class_labels is None else values[class_labels]
            rows, cols = self._shares(tops, height, 0), self._shares(lefts, width, 1)
            return rows[:, None] @ chosen @ cols[:, None].transpose(2, 3)

    def _shares(self, starts: torch.Tensor, size: int, axis: int) -> torch.Tensor:
        """How much of each point is in each pixel from `starts` on: (B, size, points)."""
        count = self.values.shape[2 + axis]
        pixels = starts[:, None] + torch.arange(size, device=starts.device)
        # Beyond the outermost points the picture goes on as it is there.
        places = ((pixels + 0.5) / self.strides[axis] - 0.5).clamp(0, count - 1)
        return (1 - (places[:, :, None] - torch.arange(count, device=starts.device)).abs()).clamp(min=0)
