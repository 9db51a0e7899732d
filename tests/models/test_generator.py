"""What both generators keep to, through their public face: shapes, windows, seeds, classes, saving, gradients.

What only one of them does is in test_magical.py and test_seamless.py.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from float64 import float64

from magical_hub import MagicalGenerator, SeamlessGenerator
from magical_hub.errors import CheckpointError, ConfigError, GridError
from magical_hub.models import Generator

Build = Callable[..., Generator]


@pytest.fixture(scope="module", params=[MagicalGenerator, SeamlessGenerator])
def build(request) -> Build:
    """Builds a tiny generator of either kind: 2 x 3 sub-regions of 16 px, if not told otherwise."""

    def make(rows=2, cols=3, image_size=(32, 48), **more) -> Generator:
        torch.manual_seed(0)
        sizes = {"base_width": 8, "max_width": 16, "latent_dim": 16, "style_dim": 16}
        return request.param(rows=rows, cols=cols, image_size=image_size, **{**sizes, **more}).eval()

    return make


def latents(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 16, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def generator(build, randomise) -> Generator:
    network = build()
    randomise(network)
    return network


SHAPES = [
    (2, 3, (32, 48), 1),
    (2, 2, (64, 32), 3),
    (2, 3, (34, 69), 1),  # sub-regions of 17 x 23
    (2, 2, (100, 140), 3),  # of 50 x 70
    (1, 1, (16, 96), 1),
]


@pytest.mark.parametrize(("rows", "cols", "size", "channels"), SHAPES)
@torch.no_grad()
def test_shape_range_and_windows(build, rows, cols, size, channels, randomise):
    network = build(rows, cols, size, channels=channels)
    randomise(network)
    count, seeds = rows * cols, torch.arange(rows * cols) + 5
    cells = network(latents(count), torch.arange(count), seeds=seeds)
    assert cells.shape == (count, channels, size[0] // rows, size[1] // cols)
    assert cells.dtype == torch.float32 and cells.min() >= -1 and cells.max() <= 1 and cells.std() > 0.01
    with float64():
        network.double()
        whole = network(latents(2), torch.zeros(2).long(), seeds=seeds[:1].expand(2), window=(rows, cols))
        single = network(latents(1).expand(count, -1), torch.arange(count), seeds=seeds[:1].expand(count))
    assert whole.shape == (2, channels, *size)
    assert torch.allclose(network.grid.stitch(single[None])[0], whole[0], rtol=0, atol=1e-10)


@torch.no_grad()
@float64()
def test_a_window_is_its_single_sub_regions_joined(build, randomise):
    """Windows that start anywhere, each of its own latent and seed."""
    generator = build()
    randomise(generator)
    z, starts, seeds = latents(2), torch.tensor([1, 4]), torch.tensor([7, 2**62 + 1])
    windows = generator(z, starts, seeds=seeds, window=(1, 2))
    for number, start in enumerate(starts.tolist()):
        for step in range(2):
            one = generator(z[number : number + 1], torch.tensor([start + step]), seeds=seeds[number : number + 1])
            assert torch.allclose(windows[number, :, :, 16 * step : 16 * step + 16], one[0], rtol=0, atol=1e-10)


@torch.no_grad()
def test_latent_and_location_make_a_difference(generator):
    one = generator(latents(1), torch.tensor([0]))
    assert not torch.allclose(generator(latents(1, seed=1), torch.tensor([0])), one, atol=0.01)
    for location in range(1, 6):
        assert not torch.allclose(generator(latents(1), torch.tensor([location])), one, atol=0.01)


@torch.no_grad()
@float64()
def test_noise_hangs_on_the_seed_and_nothing_else(build, randomise):
    generator = build()
    randomise(generator)
    z, locations = latents(1).expand(4, -1), torch.tensor([2, 2, 2, 2])
    seeds = torch.tensor([11, 12, 11, 11 + 2**40])
    first, other, again, high = generator(z, locations, seeds=seeds)
    alone = generator(z[:1], locations[:1], seeds=seeds[:1])[0]
    assert torch.equal(first, again)
    assert torch.allclose(first, alone, rtol=0, atol=1e-10)
    without = generator(z[:1], locations[:1])[0]
    for different in (other, high, without):
        assert (first - different).abs().mean() > 1e-3


@torch.no_grad()
def test_noise_is_another_one_at_another_place(generator):
    """Over the mean of many latents: alike at one place under two halves of them, not alike at two places."""

    def added(location: int, seed: int, z: torch.Tensor) -> torch.Tensor:
        where, seeds = torch.full((len(z),), location), torch.full((len(z),), seed)
        return (generator(z, where, seeds=seeds) - generator(z, where)).mean(0).flatten()

    def alike(a: torch.Tensor, b: torch.Tensor) -> float:
        return float(F.cosine_similarity(a - a.mean(), b - b.mean(), dim=0))

    half, other_half = latents(128).chunk(2)
    assert alike(added(1, 3, half), added(1, 3, other_half)) > 0.8
    for other in (0, 2, 4):
        assert abs(alike(added(1, 3, half), added(other, 3, half))) < 0.5


def test_classes(build, randomise):
    network = build(num_classes=2, class_names=["good", "void"])
    randomise(network)
    where = torch.zeros(2).long()
    with torch.no_grad():
        good, void = network(latents(1).expand(2, -1), where, torch.tensor([0, 1]))
    assert not torch.allclose(good, void, atol=0.01)
    with pytest.raises(ConfigError, match="2 classes: give class_labels"):
        network(latents(2), where)
    with pytest.raises(ConfigError, match="leave class_labels out"):
        build()(latents(2), where, torch.tensor([0, 1]))
    with pytest.raises(ConfigError, match="1 names for 2 classes"):
        build(num_classes=2, class_names=["good"])


def test_what_cannot_be_is_refused(build):
    with pytest.raises(ConfigError, match="8 x 16 px are too small"):
        build(rows=4)
    with pytest.raises(ConfigError, match="channels is 2"):
        build(channels=2)
    with pytest.raises(GridError, match="nearest sizes are 32 or 34"):
        build(image_size=(33, 48))
    with pytest.raises(ConfigError, match="leave defect_labels out"):
        build()(latents(1), torch.tensor([0]), defect_labels=torch.zeros(1, 2, 3).long())
    with pytest.raises(GridError, match="location 6"):
        build()(latents(1), torch.tensor([6]))
    with pytest.raises(GridError, match="location 2 does not fit a window of 1 x 2"):
        build()(latents(1), torch.tensor([2]), window=(1, 2))


@torch.no_grad()
@float64()
def test_truncation_draws_images_together(build, randomise):
    generator = build()
    randomise(generator)
    generator.mapping.update_mean_style()
    where = torch.zeros(8).long()
    spread = [float(generator(latents(8), where, truncation_psi=psi).std(0).mean()) for psi in (1.0, 0.5, 0.0)]
    assert spread[0] > spread[1] > spread[2]
    assert spread[2] < 1e-10


def test_saving_and_loading_gives_the_same_network(generator, tmp_path):
    generator.save_pretrained(tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["config.json", "diffusion_pytorch_model.safetensors"]
    again = type(generator).from_pretrained(tmp_path, use_safetensors=True)
    with torch.no_grad():
        arguments = (latents(3), torch.tensor([0, 3, 5]))
        seeds = torch.tensor([1, 2, 3])
        assert torch.equal(again(*arguments, seeds=seeds), generator(*arguments, seeds=seeds))
    assert (again.config.rows, again.config.cols, list(again.config.image_size)) == (2, 3, [32, 48])


def test_gradients_reach_every_parameter(build, randomise):
    network = build(num_classes=2)
    randomise(network)
    out = network(latents(4), torch.zeros(4).long(), torch.tensor([0, 1, 0, 1]), seeds=torch.arange(4), window=(2, 3))
    (out * torch.randn(out.shape)).sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_every_parameter_learns_from_the_first_step(build):
    """At the start weights too: none is zero in a way that shuts off itself or another."""
    network = build()
    out = network(latents(4), torch.zeros(4).long(), seeds=torch.arange(4), window=(2, 3))
    (out * torch.randn(out.shape)).sum().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def nyquist_excess(images: torch.Tensor) -> float:
    """Power at the Nyquist frequency of either axis or both, over the median of the bins within 4 of it.

    A checkerboard, an alternation of neighbouring pixels, is all in those three bins. The rest of the axes (where the
    other frequency is 0) is not a neighbour: a Hann window keeps the edges of the sub-regions out.
    """
    side = images.shape[-1]
    hann = torch.hann_window(side)
    centred = images - images.mean((2, 3), keepdim=True)
    power = torch.fft.fft2(centred * hann * hann[:, None]).abs().square().mean((0, 1))
    half = side // 2
    near = [half + step for step in (-4, -3, 3, 4)]
    corner = power[half, half] / power[near][:, near].median()
    rows = power[half, 0] / power[near, 0].median()
    cols = power[0, half] / power[0, near].median()
    return float(torch.stack([corner, rows, cols]).max())


@torch.no_grad()
def test_no_checkerboard_before_training(build):
    network = build(1, 1, (64, 64), base_width=16, max_width=32)
    made = network(latents(48), torch.zeros(48).long())
    assert nyquist_excess(made) < 2
    # The yardstick: the transposed convolution (kernel 3, stride 2) that the authors doubled with is far above that.
    torch.manual_seed(0)
    authors = torch.nn.ConvTranspose2d(1, 1, 3, stride=2, padding=1, output_padding=1)
    assert nyquist_excess(authors(F.avg_pool2d(made, 2))) > 20


def test_a_pickle_is_never_loaded(build, tmp_path):
    network = build()
    network.save_pretrained(tmp_path)
    (tmp_path / "diffusion_pytorch_model.safetensors").unlink()
    torch.save(network.state_dict(), tmp_path / "diffusion_pytorch_model.bin")
    with pytest.raises(CheckpointError, match="a pickle, which can run code"):
        type(network).from_pretrained(tmp_path)
