"""What the seamless generator alone does: a tile of any size at any place is the crop of the whole image."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from float64 import float64
from hypothesis import given, settings
from hypothesis import strategies as st

from magical_hub import SeamlessGenerator
from magical_hub.errors import ConfigError, GridError
from magical_hub.models.canvas_map import CanvasMap

TOLERANCE = 1e-10
"""The greatest difference of a tile from the crop of the whole, in [-1, 1], in float64."""


def build(rows: int, cols: int, image_size: tuple[int, int], **more: Any) -> SeamlessGenerator:
    torch.manual_seed(0)
    sizes = {"base_width": 8, "max_width": 16, "latent_dim": 16, "style_dim": 16, "noise_channels": 4}
    return SeamlessGenerator(rows=rows, cols=cols, image_size=image_size, **{**sizes, **more}).eval()


def two_images(network: SeamlessGenerator) -> dict[str, torch.Tensor]:
    """What two images of the network depend on: latents, seeds and, where it has classes, classes."""
    latents = torch.randn(2, 16, generator=torch.Generator().manual_seed(0))
    images = {"latents": latents, "seeds": torch.tensor([7, 2**62 + 1])}
    return images | ({"class_labels": torch.tensor([2, 0])} if network.config.num_classes else {})


Trained = Callable[[SeamlessGenerator], SeamlessGenerator]


@pytest.fixture(scope="module")
def trained(randomise) -> Trained:
    """Makes a network as if trained: no weight where it started, and pictures that fill the range but seldom leave it.

    (Pictures of fresh weights lie mostly beyond the bounds, where any two are equal.)
    """

    @torch.no_grad()
    def train(network: SeamlessGenerator) -> SeamlessGenerator:
        randomise(network)
        size = {"height": min(160, network.grid.height), "width": min(160, network.grid.width)}

        def scale(factor: float) -> torch.Tensor:
            for layer in (*network.to_picture, network.to_pixels):
                layer.weight *= factor
                layer.bias *= factor
            return network.region(top=0, left=0, **size, **two_images(network))

        inside = scale(0.01)
        middle = inside.mean((0, 2, 3), keepdim=True)  # of each channel: one far off would leave the others no range
        network.to_pixels.bias -= middle.flatten().repeat_interleave(4)
        scale(0.3 / float((inside - middle).std()))
        return network

    return train


def assert_tells_places_apart(images: torch.Tensor) -> None:
    """Neither constant nor stuck at the bounds, nor alike one pixel further on: else to be equal would say nothing."""
    assert images.std((2, 3)).min() > 0.01
    assert (images.abs() >= 1).float().mean() < 0.2
    for axis in (2, 3):
        assert images.diff(dim=axis).abs().mean() > 1e-3


def difference(a: torch.Tensor, b: torch.Tensor) -> float:
    assert a.shape == b.shape
    return float((a - b).abs().max())


# -- tiles -------------------------------------------------------------------------------------------------------


@st.composite
def networks(draw: st.DrawFn) -> SeamlessGenerator:
    """Of any grid, size of sub-regions, number of levels and channels; with three classes."""
    rows, cols = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    size = (rows * draw(st.integers(16, 40)), cols * draw(st.integers(16, 40)))
    levels, channels = draw(st.integers(2, 5)), draw(st.sampled_from([1, 3]))
    return build(rows, cols, size, num_levels=levels, channels=channels, num_classes=3)


@float64()
@given(networks(), st.data())
@settings(max_examples=40)
@torch.no_grad()
def test_any_tile_is_the_crop_of_the_whole_image(trained, network, data):
    images, size = two_images(trained(network)), (network.grid.height, network.grid.width)
    whole = network.region(top=0, left=0, height=size[0], width=size[1], **images)
    assert whole.shape == (2, network.config.channels, *size)
    assert_tells_places_apart(whole)
    for _ in range(4):
        top, left = (data.draw(st.integers(0, side - 1)) for side in size)
        height, width = data.draw(st.integers(1, size[0] - top)), data.draw(st.integers(1, size[1] - left))
        tile = network.region(top=top, left=left, height=height, width=width, **images)
        assert difference(tile, whole[:, :, top : top + height, left : left + width]) <= TOLERANCE


@float64()
@given(networks(), st.data())
@settings(max_examples=30)
@torch.no_grad()
def test_any_window_is_the_crop_of_the_whole_image(trained, network, data):
    """In one batch: both images, and windows that start at different places of a map cell."""
    grid, images = network.grid, two_images(trained(network))
    whole = network.region(top=0, left=0, height=grid.height, width=grid.width, **images)
    assert_tells_places_apart(whole)
    any_window = (data.draw(st.integers(1, grid.rows)), data.draw(st.integers(1, grid.cols)))
    for window in {(1, 1), (grid.rows, grid.cols), any_window}:
        everywhere = torch.from_numpy(grid.window_locations(window))
        locations = data.draw(st.permutations(everywhere.repeat(2).tolist()))[:12]
        which = torch.tensor(data.draw(st.lists(st.integers(0, 1), min_size=len(locations), max_size=len(locations))))
        locations = torch.tensor(locations)
        made = network(locations=locations, window=window, **{name: of[which] for name, of in images.items()})
        assert difference(made, grid.crop(whole[which], locations, window)) <= TOLERANCE


@pytest.mark.parametrize("levels", [2, 3, 4])
@torch.no_grad()
@float64()
def test_past_64_map_cells_tiles_agree_too(trained, levels):
    """There the map is coarse, with Fourier features: at both ends of the canvas and in its midst."""
    side = 70 * 2**levels
    network = trained(build(2, 1, (side, 32), num_levels=levels, num_classes=3))
    images = two_images(network)
    whole = network.region(top=0, left=0, height=side, width=32, **images)
    assert_tells_places_apart(whole)
    for top, left, height, width in [(0, 0, 17, 32), (side // 2 - 9, 5, 21, 20), (side - 19, 3, 19, 29)]:
        tile = network.region(top=top, left=left, height=height, width=width, **images)
        assert difference(tile, whole[:, :, top : top + height, left : left + width]) <= TOLERANCE
    halves = network(locations=torch.tensor([1, 0]), **images)
    assert difference(halves[:1], whole[:1, :, side // 2 :]) <= TOLERANCE
    assert difference(halves[1:], whole[1:, :, : side // 2]) <= TOLERANCE


@given(st.sampled_from([(1, 2), (2, 1), (3, 1)]), st.integers(257, 280), st.integers(30, 39), st.data())
@settings(max_examples=8)
@torch.no_grad()
@float64()
def test_past_64_map_cells_any_tile_is_the_crop_too(trained, grid, high, wide, data):
    """One sub-region alone is past them (they are of 4 px), and the next one starts anywhere in a cell."""
    rows, cols = grid
    size = (rows * high, cols * wide)
    network = trained(build(rows, cols, size, num_levels=2, num_classes=3, channels=3))
    images = two_images(network)
    whole = network.region(top=0, left=0, height=size[0], width=size[1], **images)
    assert_tells_places_apart(whole)
    top, left = (data.draw(st.integers(0, length - 1)) for length in size)
    height, width = data.draw(st.integers(1, size[0] - top)), data.draw(st.integers(1, size[1] - left))
    tile = network.region(top=top, left=left, height=height, width=width, **images)
    assert difference(tile, whole[:, :, top : top + height, left : left + width]) <= TOLERANCE
    locations = torch.tensor([rows * cols - 1, 0])
    assert difference(network(locations=locations, **images), network.grid.crop(whole, locations)) <= TOLERANCE


@torch.no_grad()
@float64()
def test_a_tile_in_the_far_corner_of_a_huge_canvas_is_made_alone(trained):
    """65,536 px a side are 4096 cells of the map."""
    side = 65_536
    network = trained(build(1024, 1024, (side, side)))
    images = two_images(network)
    corner = network.region(top=side - 80, left=side - 80, height=80, width=80, **images)
    assert_tells_places_apart(corner)
    for down, right in [(0, 0), (0, 31), (31, 0), (31, 31)]:
        tile = network.region(top=side - 80 + down, left=side - 80 + right, height=49, width=49, **images)
        assert difference(tile, corner[:, :, down : down + 49, right : right + 49]) <= TOLERANCE
    last = network(locations=torch.full((2,), network.grid.num_locations - 1), **images)
    assert difference(last, corner[:, :, -64:, -64:]) <= TOLERANCE
    for elsewhere in (0, side // 2):
        assert (network.region(top=elsewhere, left=elsewhere, height=80, width=80, **images) - corner).std() > 0.02


@pytest.mark.parametrize("side", [64, 1040])  # with a learned map, and a coarse one
@torch.no_grad()
def test_in_bfloat16_it_draws_the_same_picture(trained, side):
    network = trained(build(2, 2, (side, side), num_levels=3))
    images, place = two_images(network), {"top": side - 50, "left": side - 50, "height": 50, "width": 50}
    exact = network.region(**place, **images)
    images["latents"] = images["latents"].bfloat16()
    rough = network.bfloat16().region(**place, **images)
    assert (rough - exact).abs().mean() < 0.1 * exact.std()


def test_a_region_outside_the_image_is_refused():
    network = build(2, 3, (32, 48))
    for rectangle in [(0, 0, 33, 48), (-1, 0, 5, 5), (0, 44, 4, 5), (32, 0, 1, 1), (0, 0, 0, 4), (0, 5, 4, -2)]:
        with pytest.raises(GridError, match="leaves the image of 32 x 48: give one inside"):
            network.region(torch.randn(1, 16), *rectangle)


def test_one_level_is_refused():
    with pytest.raises(ConfigError, match="num_levels is 1: give a whole number from 2 to 8"):
        build(2, 2, (32, 32), num_levels=1)


# -- the halo ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("levels", [2, 3, 4, 5])
@torch.no_grad()
@float64()
def test_the_halo_is_as_wide_as_what_a_tile_reads_and_no_wider(trained, levels):
    """Map cells beyond it change nothing in a tile of 3 x 3 cells; every line of its rim does."""
    network = trained(build(1, 1, (24 * 2**levels, 24 * 2**levels), num_levels=levels, noise_channels=0))
    first, last = 10, 12  # the tile's first and last cell along both axes
    start, size = first * network.cell, 3 * network.cell
    values = network.map.values.weight.view(*network.map.points, -1)
    cells = torch.arange(len(values)) - network.map.margin

    def made() -> torch.Tensor:
        return network.region(top=start, left=start, height=size, width=size, **two_images(network))

    before = made()
    assert_tells_places_apart(before)
    beyond = (cells < first - network.halo) | (cells > last + network.halo)
    assert beyond.any()
    values[beyond] = torch.nan
    values[:, beyond] = torch.nan
    assert torch.equal(made(), before)
    values.nan_to_num_()
    for rim in (cells == first - network.halo, cells == last + network.halo):
        for line in (rim.nonzero().squeeze(), slice(None)), (slice(None), rim.nonzero().squeeze()):
            values[line] += 1
            assert not torch.equal(made(), before)
            values[line] -= 1


@pytest.mark.parametrize(
    ("levels", "corner", "size"),
    [(2, (16, 36), (4, 8)), (3, (0, 8), (24, 40)), (4, (16, 16), (16, 32)), (5, (32, 64), (64, 32))],
)
@float64()
def test_a_tile_hangs_on_every_cell_of_its_halo(trained, levels, corner, size):
    """Those at the corners too, however little: in float64, of a square tile and of others, at any place."""
    network = trained(build(2, 2, (96, 96), num_levels=levels))
    images = two_images(network)
    network.region(images.pop("latents"), *corner, *size, **images).sum().backward()
    gradient = network.map.values.weight.grad
    assert gradient is not None
    read = (gradient != 0).any(1).view(*network.map.points)
    expected = torch.zeros_like(read)
    rows, cols = (
        slice(
            first // network.cell - network.halo + network.map.margin,
            (first + length) // network.cell + network.halo + network.map.margin,
        )
        for first, length in zip(corner, size, strict=True)
    )
    expected[rows, cols] = True
    assert torch.equal(read, expected)


# -- what it costs -----------------------------------------------------------------------------------------------


def parameters(network: SeamlessGenerator) -> tuple[int, int]:
    """How many the map has, and how many all else."""
    of_map, whole = (sum(p.numel() for p in part.parameters()) for part in (network.map, network))
    return of_map, whole - of_map


def test_locations_cost_nothing_and_the_map_what_its_cells_are():
    sixteen, thousand = build(4, 4, (512, 512)), build(32, 32, (512, 512))
    assert parameters(thousand) == parameters(sixteen)
    of_map, others = parameters(thousand)
    margins = 2 * (thousand.halo + 1)
    assert of_map == 16 * (512 // 16 + margins) ** 2
    assert parameters(build(4, 4, (256, 256))) == (16 * (256 // 16 + margins) ** 2, others)


def test_past_64_map_cells_a_larger_canvas_costs_no_more():
    """The coarse map keeps its points, but for the rounding of its margin; an octave of Fourier features is little."""
    learned, *coarse = (parameters(build(4, 4, (side, side))) for side in (1024, 2048, 4096, 65_536, 2**20))
    assert {others for _, others in coarse} == {learned[1]}
    assert max(of_map for of_map, _ in coarse) < learned[0]
    assert coarse[-1][0] - coarse[-2][0] == 4 * 4 * 16  # of four octaves: sines and cosines, of rows and of columns


# -- learning ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "levels"), [((64, 64), 4), ((34, 68), 3), ((48, 288), 2)])
def test_gradients_reach_all_that_a_batch_over_all_locations_can_reach(trained, size, levels):
    network = trained(build(2, 2, size, num_levels=levels, num_classes=3))
    labels, seeds = torch.tensor([0, 1, 2, 0]), torch.arange(4)
    made = network(torch.randn(4, 16), torch.arange(4), labels, seeds=seeds)
    (made * torch.randn(made.shape)).sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_of_a_learned_map_they_reach_the_canvas_and_its_halo(trained):
    network = trained(build(2, 2, (64, 96)))
    made = network(torch.randn(4, 16), torch.arange(4))
    (made * torch.randn(made.shape)).sum().backward()
    gradient = network.map.values.weight.grad
    assert gradient is not None
    reached = (gradient.abs().sum(1) > 0).view(*network.map.points)
    unreached = network.map.margin - network.halo  # for tiles that start in the midst of a cell
    expected = torch.zeros_like(reached)
    expected[unreached:-unreached, unreached:-unreached] = True
    assert torch.equal(reached, expected)


def test_past_64_map_cells_they_reach_every_feature_of_the_position(trained):
    """And not by rounding alone, as a wave would that is 0 at every cell."""
    network = trained(build(1, 4, (32, 960), num_levels=2))
    network.region(top=0, left=0, height=32, width=960, **two_images(network)).square().sum().backward()
    assert network.map.fourier is not None and network.map.fourier.weight.grad is not None
    by_feature = network.map.fourier.weight.grad.abs().sum(0)
    assert by_feature.min() > 1e-3 * by_feature.max()


# -- local noise -------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_the_map_takes_in_noise_of_the_seed(trained):
    """With the finer noise off, what is left of a seed is its noise on the map: it draws other forms, not grain."""
    network = trained(build(2, 2, (64, 64)))
    for block in network.blocks:
        block.noise.strength.zero_()
    images = two_images(network)
    one, again, other = (
        network.region(top=0, left=0, height=64, width=64, latents=images["latents"][:1], seeds=torch.tensor([seed]))
        for seed in (3, 3, 4)
    )
    assert torch.equal(one, again) and (one - other).abs().mean() > 0.01


@torch.no_grad()
@float64()
def test_without_noise_channels_the_map_takes_in_none(trained):
    network = trained(build(2, 2, (64, 64), noise_channels=0))
    for block in network.blocks:
        block.noise.strength.zero_()
    images = two_images(network)
    where = torch.tensor([3, 3])
    assert difference(network(images["latents"], where), network(locations=where, **images)) <= TOLERANCE


# -- saving ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(64, 64), (64, 288)])  # with a learned map, and a coarse one
@torch.no_grad()
def test_its_own_settings_are_saved(trained, size, tmp_path):
    network = trained(build(2, 2, size, num_levels=2, noise_channels=3, num_classes=3))
    network.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert (config["_class_name"], config["num_levels"], config["noise_channels"]) == ("SeamlessGenerator", 2, 3)
    again = SeamlessGenerator.from_pretrained(tmp_path)
    where = torch.tensor([1, 2])
    assert torch.equal(again(locations=where, **two_images(network)), network(locations=where, **two_images(network)))


@torch.no_grad()
@pytest.mark.parametrize("cells", [(4, 5), (70, 5)])
def test_half_of_the_map_is_a_class_s_own(cells):
    """Learned or coarse: two classes see two maps that share half of their variance, and one class always the same."""
    torch.manual_seed(0)
    canvas = CanvasMap(cells, 64, margin=2, num_classes=3)
    starts = torch.zeros(3).long()
    one, other, again = canvas(starts, starts, 4, 5, torch.tensor([0, 2, 0]))
    assert torch.equal(one, again)
    assert 0.2 < float(torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1]) < 0.8
    plain = CanvasMap(cells, 64, margin=2)(starts[:1], starts[:1], 4, 5)
    assert float(one.std() / plain.std()) == pytest.approx(1, abs=0.2)  # no louder than a map without classes
