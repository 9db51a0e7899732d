"""The network of both detectors: a small U-Net."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F


class UNet(nn.Module):
    """An encoder that halves the resolution level by level, and a decoder that doubles it again.

    The first level works on blocks of `stride` x `stride` pixels, which become channels: on a CPU the elementwise work
    at full resolution would cost more than all convolutions below. The decoder adds the encoder's maps of the same
    resolution (Ronneberger et al. 2015, with sums in place of joined channels).

    Args:
        channels: of the images.
        stride: pixels of a cell of the output.
        widths: channels of each level, the finest first.
    """

    def __init__(self, channels: int, stride: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.stride = stride
        self.multiple = stride * 2 ** (len(widths) - 1)
        """Sides of the images must be multiples of this."""
        pairs = list(pairwise((channels * stride**2, *widths)))
        self.down = nn.ModuleList(
            nn.Sequential(_block(before, width, 2 if level else 1), _block(width, width))
            for level, (before, width) in enumerate(pairs)
        )
        self.narrow = nn.ModuleList(nn.Conv2d(coarse, fine, 1) for fine, coarse in reversed(list(pairwise(widths))))
        self.up = nn.ModuleList(_block(width, width) for width in reversed(widths[:-1]))

    def forward(self, images: Tensor) -> Tensor:
        """Features (N, widths[0], H / stride, W / stride) of images (N, C, H, W)."""
        maps = F.pixel_unshuffle(images, self.stride)
        levels = []
        for level in self.down:
            maps = level(maps)
            levels.append(maps)
        for narrow, up, finer in zip(self.narrow, self.up, reversed(levels[:-1]), strict=True):
            maps = up(F.interpolate(narrow(maps), scale_factor=2.0) + finer)
        return maps


def padded(images: Tensor, multiple: int) -> Tensor:
    """Images continued at the right and at the bottom, by their last pixels, to multiples of `multiple`."""
    down, right = -images.shape[-2] % multiple, -images.shape[-1] % multiple
    return F.pad(images, (0, right, 0, down), mode="replicate") if down or right else images


def _block(before: int, width: int, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(before, width, 3, stride, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(width), nn.ReLU(inplace=True))
