"""The generator of the paper: sub-regions conditioned on their location, joined by the boundary loss."""

from __future__ import annotations

import torch
from diffusers.configuration_utils import register_to_config
from torch import nn

from magical_hub.grid import Window
from magical_hub.models.base import Network
from magical_hub.models.checks import check_config, check_defect_labels
from magical_hub.models.layers import (
    GAIN,
    HALF,
    Bound,
    Conv2d,
    Linear,
    ModulatedConv2d,
    PositionNoise,
    activate,
    double,
    num_doublings,
    repeat_edges,
    smooth_pixels,
)
from magical_hub.models.mapping import LatentMapping


class SynthesisBlock(nn.Module):
    """A residual block of two modulated convolutions; all but the first double the resolution first."""

    def __init__(self, inputs: int, outputs: int, style_dim: int, layer: int, doubles: bool) -> None:
        super().__init__()
        self.doubles = doubles
        self.skip = Conv2d(inputs, outputs, 1, gain=HALF, bias=False)
        self.conv1 = ModulatedConv2d(inputs, outputs, style_dim, gain=GAIN)
        self.conv2 = ModulatedConv2d(outputs, outputs, style_dim, gain=GAIN * HALF)
        self.noise = PositionNoise(outputs, layer)

    def forward(
        self, x: torch.Tensor, style: torch.Tensor, seeds: torch.Tensor | None, rows: torch.Tensor, cols: torch.Tensor
    ) -> torch.Tensor:
        skip = self.skip(x)  # before the doubling, where it costs a quarter: the two commute
        if self.doubles:
            x, skip = double(x), double(skip)
        height, width = x.shape[2:]
        noise = None if seeds is None else self.noise(seeds, rows * height, cols * width, height, width)
        x = activate(self.conv1(x, style))
        x = activate(self.conv2(x, style, noise))
        return skip + x


class MagicalGenerator(Network):
    """The generator of MAGICal (Chang, Choi and Han 2023): sub-regions from a latent and a location.

    What is the same for the whole image (latent, class) is mapped to a style that all of its sub-regions share; the
    location, its row and its column embedded each for itself, makes the map that the synthesis starts from and joins
    the style. So the parameters hardly grow with the number of locations.

    Args:
        rows, cols: the grid.
        image_size: (height, width) of the whole image in pixels; sub-regions must be at least 16 x 16.
        channels: 1 (grey) or 3 (RGB).
        latent_dim: L, length of a latent.
        style_dim: width of the mapped latent.
        base_width: channels at half the resolution of a sub-region, doubled with every halving up to `max_width`.
        max_width: the most channels at any level.
        num_classes: image classes; 0 for none.
        class_names: their names.
        class_frequencies: how often each occurs in the training set (they sum to 1).
        num_defects: defect classes of sub-regions, "none" (0) not counted; 0 for no defects.
        defect_names: their names.
        defect_frequencies: how often each occurs at each location of the training images of a class: (classes, or 1;
            R*K; defects).
        intensity_range: the values of the training images that became black and white; None: the whole range of 8 and
            16 bits.

    Raises:
        ConfigError: where a number is out of its range.
        GridError: where the grid does not divide the image.
    """

    @register_to_config
    def __init__(
        self,
        rows: int = 4,
        cols: int = 4,
        image_size: tuple[int, int] = (128, 128),
        channels: int = 1,
        latent_dim: int = 128,
        style_dim: int = 128,
        base_width: int = 64,
        max_width: int = 256,
        num_classes: int = 0,
        class_names: list[str] | None = None,
        class_frequencies: list[float] | None = None,
        num_defects: int = 0,
        defect_names: list[str] | None = None,
        defect_frequencies: list[list[list[float]]] | None = None,
        intensity_range: list[float] | None = None,
    ) -> None:
        super().__init__()
        self.grid = check_config(self.config)
        height, width = self.grid.cell_height, self.grid.cell_width
        doublings = num_doublings(height, width)
        # Sizes that halving does not divide are made a little larger and cut, half on each side.
        self.start = (-(-height // 2**doublings), -(-width // 2**doublings))
        widths = [min(max_width, base_width * 2**level) for level in reversed(range(doublings))]

        self.mapping = LatentMapping(latent_dim, style_dim, num_classes)
        self.row_embedding = nn.Embedding(rows, 32)
        self.col_embedding = nn.Embedding(cols, 32)
        self.defect_embedding = nn.Embedding(num_defects, 64) if num_defects else None
        self.place = Linear(64, style_dim, GAIN)
        self.gate = Linear(64, style_dim)
        self.start_map = Linear(3 * style_dim, widths[0] * self.start[0] * self.start[1])
        self.blocks = nn.ModuleList(
            SynthesisBlock(inputs, outputs, 2 * style_dim, layer, doubles=layer > 0)
            for layer, (inputs, outputs) in enumerate(zip(widths[:1] + widths, widths, strict=False))
        )
        # Each level adds to the picture; the last one draws four pixels a cell, which saves all work at full size.
        self.to_picture = nn.ModuleList(Conv2d(outputs, channels, 1) for outputs in widths)
        self.to_pixels = Conv2d(widths[-1], channels * 4, 3)

    def forward(
        self,
        latents: torch.Tensor,
        locations: torch.Tensor,
        class_labels: torch.Tensor | None = None,
        defect_labels: torch.Tensor | None = None,
        seeds: torch.Tensor | None = None,
        window: Window = (1, 1),
        truncation_psi: float = 1.0,
    ) -> torch.Tensor:
        """Generate sub-regions, or windows of neighbouring sub-regions of one latent, joined.

        Args:
            latents: (B, L), standard normal.
            locations: (B,) int64, row-major; of a window, the location of its top-left sub-region.
            class_labels: (B,) int64; needed where the generator has classes, None where it has none.
            defect_labels: (B, R, K) int64: 0 for none, else 1 + the number of the defect; None for none anywhere.
            seeds: (B,) int64 seeds of the pixel noise; None for none.
            window: rows and columns of sub-regions.
            truncation_psi: 1 is as trained, towards 0 draws the style to its mean, up to 2 away from it.

        Returns:
            (B, C, h * window rows, w * window columns) in [-1, 1].
        """
        check_defect_labels(defect_labels, self.config.num_defects, self.grid)
        style = self.mapping(latents, class_labels, truncation_psi)
        members = self.grid.members(locations, window)  # (B, n)
        count = members.shape[1]
        cells = self._synthesize(
            style.repeat_interleave(count, 0),
            members.flatten(),
            None if seeds is None else seeds.repeat_interleave(count, 0),
            None if defect_labels is None else defect_labels.flatten(1).gather(1, members).flatten(),
        )
        return self.grid.window(window).stitch(cells.unflatten(0, (-1, count)))

    def region(
        self,
        latents: torch.Tensor,
        top: int,
        left: int,
        height: int,
        width: int,
        class_labels: torch.Tensor | None = None,
        defect_labels: torch.Tensor | None = None,
        seeds: torch.Tensor | None = None,
        truncation_psi: float = 1.0,
    ) -> torch.Tensor:
        """Any rectangle of the images, by way of the sub-regions that it touches.

        Args:
            latents, class_labels, defect_labels, seeds, truncation_psi: as `forward`'s.
            top, left, height, width: in pixels; the rectangle must lie in the image.

        Returns:
            (B, C, height, width) in [-1, 1].

        Raises:
            GridError: where the rectangle leaves the image.
        """
        location, window = self.grid.cover(top, left, height, width)
        locations = torch.full((len(latents),), location, device=latents.device)
        made = self(latents, locations, class_labels, defect_labels, seeds, window, truncation_psi)
        rows, cols = self.grid.span(location)
        return made[:, :, top - rows.start :, left - cols.start :][:, :, :height, :width]

    def _synthesize(
        self,
        style: torch.Tensor,
        locations: torch.Tensor,
        seeds: torch.Tensor | None,
        defects: torch.Tensor | None,
    ) -> torch.Tensor:
        rows, cols = locations // self.grid.cols, locations % self.grid.cols
        place = torch.cat([self.row_embedding(rows), self.col_embedding(cols)], 1)
        if defects is not None and self.defect_embedding is not None:
            # Conditioning of the sub-region, as its location.
            place = place + self.defect_embedding((defects - 1).clamp(min=0)) * (defects > 0)[:, None]
        here = activate(self.place(place)).to(style.dtype)
        # A product of latent and location: without it all sub-regions of an image start from the same texture, which a
        # critic of single sub-regions does not penalise.
        mixed = style * self.gate(place).to(style.dtype)
        style = torch.cat([style, here], 1)
        x = activate(self.start_map(torch.cat([style, mixed], 1)))
        x = x.unflatten(1, (-1, *self.start)).contiguous(memory_format=torch.channels_last)
        picture: torch.Tensor | None = None
        for block, to_picture in zip(self.blocks, self.to_picture, strict=True):
            x = block(x, style, seeds, rows, cols)
            picture = to_picture(x) if picture is None else double(picture) + to_picture(x)
        assert picture is not None
        # Whole cells are repeated at the edge to feed the filter, since single pixels would break the pattern that it
        # cancels, and draw a line along every seam.
        pixels = smooth_pixels(repeat_edges(self.to_pixels(repeat_edges(x))))
        picture = double(picture) + pixels[:, :, 1:-1, 1:-1]
        top, left = (picture.shape[2] - self.grid.cell_height) // 2, (picture.shape[3] - self.grid.cell_width) // 2
        return Bound.apply(
            picture[:, :, top : top + self.grid.cell_height, left : left + self.grid.cell_width].float()
        )
