"""Beyond the paper: a generator whose sub-regions agree at their seams by construction.

A learned map over the whole canvas holds what depends on the location. A tile reads its crop of that map with a halo,
and every convolution after it is unpadded, so that a tile and its neighbour compute the same values where they meet.
What is the same for the whole image enters by modulation, which needs no statistics of the tile. (Related:
InfinityGAN, Lin et al. 2022; ALIS, Skorokhodov et al. 2021; StyleGAN2, Karras et al. 2020.)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import register_to_config
from torch import nn

from magical_hub.grid import Window
from magical_hub.models.base import Network
from magical_hub.models.base_picture import BasePicture
from magical_hub.models.canvas_map import CanvasMap
from magical_hub.models.checks import check_config, check_defect_labels
from magical_hub.models.defect_field import DefectField
from magical_hub.models.layers import (
    GAIN,
    HALF,
    Bound,
    Conv2d,
    ModulatedConv2d,
    PositionNoise,
    activate,
    position_noise,
    smooth_pixels,
)
from magical_hub.models.mapping import LatentMapping
from magical_hub.models.spans import LevelSpans, Span, cut, doubled_within, plan_spans, receptive_field_radius

INITIAL_OUTPUT = 0.2
"""Factor of the initial output of a generator with a base picture, which dominates at the start."""

FIRST_MAP_LAYER = 1024
"""The number of the first noise layer of the map; below it are those of the convolutions."""


@dataclass(frozen=True)
class Conditions:
    """Conditioning of B images beside their style: classes (B,), defect maps (B, R, K) and seeds (B,), int64 each."""

    class_labels: torch.Tensor | None
    defect_labels: torch.Tensor | None
    seeds: torch.Tensor | None


class SeamlessBlock(nn.Module):
    """Two unpadded modulated convolutions with skip connections; except in the first block, a doubling between them.

    So the first convolution has a quarter of the cost, and reduces the channels that are then doubled.
    """

    def __init__(self, inputs: int, outputs: int, style_dim: int, layer: int) -> None:
        super().__init__()
        # The first sum has a variance of one half, so that the second has one.
        self.skip = Conv2d(inputs, outputs, 1, gain=HALF * HALF, bias=False)
        self.conv1 = ModulatedConv2d(inputs, outputs, style_dim, gain=GAIN * HALF * HALF, pad=False)
        self.conv2 = ModulatedConv2d(outputs, outputs, style_dim, gain=GAIN, pad=False)
        self.noise = PositionNoise(outputs, layer)
        self.doubles = layer > 0

    def forward(
        self,
        x: torch.Tensor,
        style: torch.Tensor,
        seeds: torch.Tensor | None,
        starts: tuple[torch.Tensor, torch.Tensor],
        rows: LevelSpans,
        cols: LevelSpans,
    ) -> torch.Tensor:
        """From what covers `given` to what covers `made`.

        `starts` are the tiles' first row and column in cells of this level: (B,) int64 each.
        """
        noise = None
        if seeds is not None:
            tops, lefts = starts[0] + rows.made.first, starts[1] + cols.made.first
            noise = self.noise(seeds, tops, lefts, len(rows.made), len(cols.made))
        x = F.pad(self.skip(x), (-1, -1, -1, -1)) + activate(self.conv1(x, style))
        if self.doubles:
            x = doubled_within(x, (rows.given.grown(-1), cols.given.grown(-1)), rows.mid, cols.mid)
        return F.pad(x, (-1, -1, -1, -1)) + activate(self.conv2(x, style, noise))


class SeamlessGenerator(Network):
    """A generator of whole images that can be made tile by tile, in any tiles, in a tile's memory.

    Called as `MagicalGenerator` is. Its convolutions read past a tile's edge, `halo` map cells on each side, and
    past the canvas's edge too, where the map goes on.

    Args:
        rows, cols, image_size, channels, latent_dim, style_dim, num_classes, class_names, class_frequencies: as
            `MagicalGenerator`'s.
        base_width: channels at half the resolution, doubled with every halving up to `max_width`.
        max_width: the most channels at any level, and the channels of the map.
        num_levels: levels of the synthesis; a cell of the map is 2**num_levels px wide.
        noise_channels: channels of local noise that the map takes in, each cell's own.
        base_picture: whether what the layers draw is added to a learned picture of each class (see BasePicture),
            which a trainer starts with the mean of its images.
        intensity_range: as `MagicalGenerator`'s.
        num_defects, defect_names, defect_frequencies: as `MagicalGenerator`'s. What a defect changes lies in its
            sub-region and within `defect_reach` pixels of it, one sub-region at most: beyond, an image with and
            without it agree exactly.

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
        base_width: int = 32,
        max_width: int = 128,
        num_levels: int = 4,
        noise_channels: int = 16,
        base_picture: bool = False,
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
        self.cell = 2**num_levels
        self.halo = -plan_spans(self.cell, num_levels)[0].given.first
        widths = [min(max_width, base_width * 2**level) for level in reversed(range(num_levels))]

        self.mapping = LatentMapping(latent_dim, style_dim, num_classes)
        cells = (-(-image_size[0] // self.cell), -(-image_size[1] // self.cell))
        # + 1: a tile may start in the midst of a cell.
        self.map = CanvasMap(cells, widths[0], self.halo + 1, num_classes)
        self.offsets = (
            max(row * self.grid.cell_height % self.cell for row in range(rows)),
            max(col * self.grid.cell_width % self.cell for col in range(cols)),
        )
        self.map_noise = Conv2d(noise_channels, widths[0], 1, gain=0.1, bias=False) if noise_channels else None
        self.blocks = nn.ModuleList(
            SeamlessBlock(inputs, outputs, style_dim, layer)
            for layer, (inputs, outputs) in enumerate(zip(widths[:1] + widths, widths, strict=False))
        )
        self.defect_reach, self.defect_fields = 0, nn.ModuleDict()
        if num_defects:
            reaches = {level: receptive_field_radius(level, num_levels) for level in range(1, num_levels)}
            fitting = [
                level for level in reaches if reaches[level] <= min(self.grid.cell_height, self.grid.cell_width)
            ]
            self.defect_reach = reaches[fitting[0]]
            for number, level in enumerate(fitting):
                cell = self.cell >> (level - 1)  # of what the level's block is given
                self.defect_fields[str(level)] = DefectField(self.grid, widths[level - 1], num_defects, cell, number)
        # Each level adds to the picture; the last one draws four pixels a cell, which saves all work at full size.
        share = (num_levels + 1) ** -0.5
        self.to_picture = nn.ModuleList(Conv2d(outputs, channels, 1, gain=share) for outputs in widths)
        self.to_pixels = Conv2d(widths[-1], channels * 4, 3, gain=share)
        self.base = BasePicture(image_size, channels, num_classes) if base_picture else None
        if base_picture:
            with torch.no_grad():
                for layer in (*self.to_picture, self.to_pixels):
                    layer.weight.mul_(INITIAL_OUTPUT)

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
        """Generate sub-regions, or windows of neighbouring sub-regions of one latent: as `MagicalGenerator`."""
        check_defect_labels(defect_labels, self.config.num_defects, self.grid)
        self.grid.check_locations(locations, window)
        tops = locations // self.grid.cols * self.grid.cell_height
        lefts = locations % self.grid.cols * self.grid.cell_width
        size = self.grid.window(window)
        style = self.mapping(latents, class_labels, truncation_psi)
        conditions = Conditions(class_labels, defect_labels, seeds)
        return self._tiles(style, tops, lefts, size.height, size.width, self.offsets, conditions)

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
        """Any rectangle, as `MagicalGenerator.region`: within float tolerance the crop of the whole images."""
        check_defect_labels(defect_labels, self.config.num_defects, self.grid)
        self.grid.check_rectangle(top, left, height, width)
        style = self.mapping(latents, class_labels, truncation_psi)
        starts = torch.tensor([[top], [left]], device=latents.device).expand(-1, len(latents))
        offsets = (top % self.cell, left % self.cell)
        conditions = Conditions(class_labels, defect_labels, seeds)
        return self._tiles(style, starts[0], starts[1], height, width, offsets, conditions)

    def _tiles(
        self,
        style: torch.Tensor,
        tops: torch.Tensor,
        lefts: torch.Tensor,
        height: int,
        width: int,
        offsets: tuple[int, int],
        conditions: Conditions,
    ) -> torch.Tensor:
        """Tiles of one size: each is made from the map cell on in which it starts, and cut.

        `offsets`: the furthest that any of them starts below and right of where its cell starts, in pixels.
        """
        down, right = offsets
        cells = tops // self.cell, lefts // self.cell
        made = self._synthesize(style, *cells, height + down, width + right, conditions)
        if not (down or right):
            return made
        rows = (tops % self.cell)[:, None] + torch.arange(height, device=made.device)
        cols = (lefts % self.cell)[:, None] + torch.arange(width, device=made.device)
        which = torch.arange(len(made), device=made.device)
        return made.permute(0, 2, 3, 1)[which[:, None, None], rows[:, :, None], cols[:, None]].permute(0, 3, 1, 2)

    def _synthesize(
        self,
        style: torch.Tensor,
        first_rows: torch.Tensor,
        first_cols: torch.Tensor,
        height: int,
        width: int,
        conditions: Conditions,
    ) -> torch.Tensor:
        """Tiles of `height` x `width` px that start at map cells `first_rows`, `first_cols`: (B,) int64 each."""
        levels = len(self.blocks)
        plans = list(zip(plan_spans(height, levels), plan_spans(width, levels), strict=True))
        down, across = plans[0][0].given, plans[0][1].given
        tops, lefts = first_rows + down.first, first_cols + across.first
        seeds = conditions.seeds
        x = self.map(tops, lefts, len(down), len(across), conditions.class_labels)
        if seeds is not None and self.map_noise is not None:
            layers = torch.arange(self.config.noise_channels, device=seeds.device) + FIRST_MAP_LAYER
            x = x + self.map_noise(position_noise(seeds, layers, tops, lefts, len(down), len(across)).to(x.dtype))
        x = x.contiguous(memory_format=torch.channels_last)

        picture: torch.Tensor | None = None
        drawn: tuple[Span, Span] | None = None
        for level, (block, to_picture, (rows, cols)) in enumerate(
            zip(self.blocks, self.to_picture, plans, strict=True)
        ):
            if conditions.defect_labels is not None and str(level) in self.defect_fields:
                given = (first_rows << level - 1) + rows.given.first, (first_cols << level - 1) + cols.given.first
                field = self.defect_fields[str(level)]
                x = x + field(conditions.defect_labels, seeds, *given, len(rows.given), len(cols.given)).to(x.dtype)
            starts = (first_rows << level, first_cols << level)
            x = block(x, style, seeds, starts, rows, cols)
            part = cut(to_picture(x), (rows.made, cols.made), rows.picture, cols.picture)
            if picture is not None and drawn is not None:
                part = part + doubled_within(picture, drawn, rows.picture, cols.picture)
            picture, drawn = part, (rows.picture, cols.picture)
        assert picture is not None and drawn is not None
        whole = (Span(0, height), Span(0, width))
        # From the level's features to pixels: a 3 x 3 convolution, four pixels a cell, and the filter.
        pixels = smooth_pixels(self.to_pixels(x))
        down, across = (Span(2 * (span.first + 1) + 1, 2 * (span.last - 1) - 1) for span in (rows.made, cols.made))
        pixels = (cut(pixels, (down, across), *whole) + doubled_within(picture, drawn, *whole)).float()
        if self.base is not None:
            corner = first_rows * self.cell, first_cols * self.cell
            pixels = pixels + self.base(*corner, height, width, conditions.class_labels)
        return Bound.apply(pixels)
