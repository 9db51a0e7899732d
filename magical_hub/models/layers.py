"""Layers that the networks share: equalised learning rates, modulated convolutions, noise of the position.

Weights start from N(0, 1) and are scaled when they are used (equalised learning rate, Karras et al. 2018), so that one
rate of Adam suits every layer. All scales are folded into the weights or into the modulation, never into a pass over
the activations, which is what a step on small sub-regions would otherwise spend its time on.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

SLOPE = 0.2
GAIN = math.sqrt(2.0)
"""What keeps the variance through a leaky ReLU of slope 0.2, about."""

HALF = math.sqrt(0.5)
"""What keeps the variance of the sum of two branches."""

_LOW = 0xFFFFFFFF
"""The low 32 bits."""


def full_precision(device: torch.device) -> AbstractContextManager[None]:
    """Within it an autocast around it is off: tensors on that device keep their own precision."""
    if not torch.amp.is_autocast_available(device.type):
        return nullcontext()
    return torch.autocast(device.type, enabled=False)


class _LeakyReLU(torch.autograd.Function):
    """Leaky ReLU, in place, whose slopes are constants of a second derivative, as they are almost everywhere.

    Torch's own hands on zeros as their gradient, which then go backward through all layers before: a third of what a
    penalty on gradients cost.
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.mark_dirty(F.leaky_relu_(x, SLOPE))
        ctx.save_for_backward(x)
        ctx.set_materialize_grads(False)
        return x

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor | None) -> torch.Tensor | None:
        if gradient is None:
            return None
        (result,) = ctx.saved_tensors
        return torch.ops.aten.leaky_relu_backward(gradient, result.detach(), SLOPE, True)


class _Halve(torch.autograd.Function):
    """The mean of 2 x 2 cells; why it is not torch's own, see _LeakyReLU."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        ctx.set_materialize_grads(False)
        return F.avg_pool2d(x, 2)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor | None) -> torch.Tensor | None:
        if gradient is None:
            return None
        (x,) = ctx.saved_tensors
        settings = [2, 2], [2, 2], [0, 0], False, True, None  # kernel, stride, padding: those of the forward pass
        return torch.ops.aten.avg_pool2d_backward(gradient, x.detach(), *settings)


def activate(x: torch.Tensor) -> torch.Tensor:
    """Leaky ReLU, in place: the input of every call is a fresh tensor that nothing else reads."""
    activated: torch.Tensor = _LeakyReLU.apply(x)
    return activated


def repeat_edges(x: torch.Tensor) -> torch.Tensor:
    """Pad by one on each side with the values of the edge: zeros would mark the border of every sub-region."""
    return F.pad(x, (1, 1, 1, 1), mode="replicate")


def with_pair_difference(x: torch.Tensor, in_pairs: bool) -> torch.Tensor:
    """Feature maps, and their absolute difference within same-location pairs: (B, C, H, W) -> (B, 2 C, H, W).

    The difference lets a critic detect mode collapse at one location (Lin et al. 2018, "PacGAN"; Salimans et al. 2016,
    "minibatch discrimination").

    Args:
        x: (B, C, H, W).
        in_pairs: whether images 2i and 2i + 1 are a pair; otherwise each is paired with itself, and the difference is
            0.
    """
    pairs = x.unflatten(0, (-1, 2)) if in_pairs else x[:, None]
    difference = pairs - pairs.flip(1)
    absolute = difference * difference.detach().sign()  # so that a second derivative leaves the sign alone, too
    return torch.cat([x, absolute.flatten(0, 1)], 1)


class Bound(torch.autograd.Function):
    """Clamp to [-1, 1]; the gradient of a value outside is kept only where a step along it leads back inside.

    A tanh saturates under a Wasserstein critic and does not recover (measured, within a hundred steps); a clamp alone
    would be as dead outside. Real pixels, black and white included, are reached exactly.
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        return x.clamp(-1, 1)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        (x,) = ctx.saved_tensors
        outwards = (x.abs() > 1) & (x * gradient < 0)  # descent goes against the gradient
        return gradient.masked_fill(outwards, 0)


class Linear(nn.Module):
    """A linear layer with equalised rate. `rate` multiplies its learning rate; its bias, if any, starts at `bias`."""

    def __init__(
        self, inputs: int, outputs: int, gain: float = 1.0, rate: float = 1.0, bias: float | None = 0.0
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / rate)
        self.bias = None if bias is None else nn.Parameter(torch.full((outputs,), bias / rate))
        self.scale = gain * rate / math.sqrt(inputs)
        self.rate = rate

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, self.weight * self.scale, None if self.bias is None else self.bias * self.rate)


class Conv2d(nn.Module):
    """A convolution with equalised rate; `padding` zeros on each side."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, gain: float = 1.0, bias: bool = True, padding: int = 0
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        self.scale = gain / math.sqrt(inputs * kernel * kernel)
        self.padding = padding

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.conv2d(x, self.weight * self.scale, self.bias, padding=self.padding)


class ModulatedConv2d(nn.Module):
    """A 3 x 3 convolution whose input channels are scaled by a style and whose output channels are demodulated.

    Equations 1 and 3 of StyleGAN2 (Karras et al. 2020), as one shared convolution between two scalings, which batches
    better than one convolution per sample and needs no statistics of the image. `pad` keeps the size by repeating the
    edges; without it two rows and two columns fewer come out than went in.
    """

    def __init__(self, inputs: int, outputs: int, style_dim: int, gain: float = 1.0, pad: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3) / math.sqrt(inputs * 9))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.style = Linear(style_dim, inputs, bias=1.0)
        self.gain = gain
        self.pad = pad

    def forward(self, x: torch.Tensor, style: torch.Tensor, noise: torch.Tensor | None = None) -> torch.Tensor:
        scales = self.style(style)  # (B, inputs)
        energy = scales.float().square() @ self.weight.float().square().sum((2, 3)).T  # (B, outputs)
        demodulation = self.gain * torch.rsqrt(energy + 1e-8)
        x = x * scales[:, :, None, None].to(x.dtype)
        x = F.conv2d(repeat_edges(x) if self.pad else x, self.weight)
        shift = self.bias[:, None, None] if noise is None else noise + self.bias[:, None, None]
        return torch.addcmul(shift.to(x.dtype), x, demodulation[:, :, None, None].to(x.dtype))


class PositionNoise(nn.Module):
    """Noise with a learned strength for each channel, small at the start."""

    def __init__(self, channels: int, layer: int) -> None:
        super().__init__()
        self.strength = nn.Parameter(0.1 * torch.randn(channels))
        self.layer = layer

    def forward(
        self, seeds: torch.Tensor, tops: torch.Tensor, lefts: torch.Tensor, height: int, width: int
    ) -> torch.Tensor:
        """As `position_noise`: (B,) each -> (B, channels, height, width), channels last in memory.

        In the other layout the sum that it goes into would have it, too, and every convolution after it a copy.
        """
        layers = torch.full((1,), self.layer, device=seeds.device)
        noise = position_noise(seeds, layers, tops, lefts, height, width)
        return (noise.permute(0, 2, 3, 1) * self.strength).permute(0, 3, 1, 2)


def position_noise(
    seeds: torch.Tensor, layers: torch.Tensor, tops: torch.Tensor, lefts: torch.Tensor, height: int, width: int
) -> torch.Tensor:
    """`hashed_noise` of tiles of `height` x `width` cells that start at cells (tops, lefts), (B,) int64, of the layer:
    (B, n, height, width).
    """
    rows = tops[:, None] + torch.arange(height, device=seeds.device)
    cols = lefts[:, None] + torch.arange(width, device=seeds.device)
    return hashed_noise(seeds, layers, rows, cols)


def hashed_noise(seeds: torch.Tensor, layers: torch.Tensor, rows: torch.Tensor, cols: torch.Tensor) -> torch.Tensor:
    """Noise of unit variance, a function of (seed, layer, absolute position), so that a tile can be generated alone.

    A counter-based hash (the finaliser of MurmurHash3, 32 bits), uniform between -sqrt(3) and sqrt(3): the shape of
    its distribution doesn't matter, since convolutions follow.

    Args:
        seeds: (B,) int64, one per image.
        layers: (n,) int64; each has noise of its own.
        rows: (B, h) int64, and
        cols: (B, w) int64: positions of any meaning; they may be negative.

    Returns:
        (B, n, h, w) in torch's default dtype, or in float32 where that is shorter.
    """
    key = _mix(seeds & _LOW) ^ (seeds >> 32 & _LOW)
    key = _mix(key[:, None] ^ (layers * 0x9E3779B1 & _LOW))  # (B, n)
    by_row = _mix(key[:, :, None] ^ (rows & _LOW)[:, None])
    bits = _mix(by_row[:, :, :, None] ^ (cols * 0x85EBCA77 & _LOW)[:, None, None])
    dtype = torch.promote_types(torch.float32, torch.get_default_dtype())  # as that of places, which it is mixed by
    return bits.to(dtype) * (2 * math.sqrt(3) / 2**32) - math.sqrt(3)


def _mix(x: torch.Tensor) -> torch.Tensor:
    """fmix32 of MurmurHash3 in the low half of int64: products wrap, and their low 32 bits are right all the same."""
    x = (x ^ (x >> 16)) * 0x85EBCA6B & _LOW
    x = (x ^ (x >> 13)) * 0xC2B2AE35 & _LOW
    return x ^ (x >> 16)


def halve(x: torch.Tensor) -> torch.Tensor:
    """Half the resolution, by averaging."""
    halved: torch.Tensor = _Halve.apply(x)
    return halved


def double(x: torch.Tensor) -> torch.Tensor:
    """Twice the resolution, bilinearly, which leaves no checkerboard (Odena et al. 2016)."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def smooth_pixels(cells: torch.Tensor) -> torch.Tensor:
    """Four pixels a cell to pixels, filtered with [1 2 1] / 4 both ways: (B, 4 C, h, w) -> (B, C, 2 h - 2, 2 w - 2).

    The filter's zero at the Nyquist frequency leaves a pixel shuffle no checkerboard; it takes a pixel off each side.
    """
    pixels = F.pixel_shuffle(cells, 2)
    # Made where it is used: to copy it to a GPU, the host would have to wait.
    line = 0.5 - 0.25 * (torch.arange(3, dtype=pixels.dtype, device=pixels.device) - 1).abs()
    kernel = (line[:, None] * line).expand(pixels.shape[1], 1, 3, 3)
    return F.conv2d(pixels, kernel, groups=pixels.shape[1])


def num_doublings(height: int, width: int) -> int:
    """How often a sub-region is halved until its shorter side is near 4 px."""
    return max(1, int(math.log2(min(height, width) / 4)))
