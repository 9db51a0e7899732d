"""Noise that depends on seed, layer and absolute position alone: what lets a tile be made again alone."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from magical_hub.models.layers import SLOPE, activate, halve, position_noise


def noise(seed: int, layer: int, top: int, left: int, height: int, width: int) -> torch.Tensor:
    return position_noise(*(torch.tensor([value]) for value in (seed, layer, top, left)), height, width)[0, 0]


places, sizes = st.integers(-100, 2**20), st.integers(1, 12)


@given(st.integers(0, 2**63 - 1), st.integers(0, 2000), places, places, sizes, sizes, st.integers(0, 20))
@settings(max_examples=50)
def test_a_tile_is_the_crop_of_a_larger_one(seed, layer, top, left, height, width, margin):
    larger = noise(seed, layer, top - margin, left - margin, height + 2 * margin, width + 2 * margin)
    tile = noise(seed, layer, top, left, height, width)
    assert torch.equal(tile, larger[margin : margin + height, margin : margin + width])


def test_images_and_layers_of_a_batch_are_those_made_alone():
    seeds, layers = torch.tensor([3, 2**62 + 1]), torch.tensor([0, 7, 1024])
    tops, lefts = torch.tensor([-4, 70]), torch.tensor([12, -1])
    together = position_noise(seeds, layers, tops, lefts, 5, 6)
    assert together.shape == (2, 3, 5, 6) and together.dtype == torch.float32
    for image in range(2):
        for number, layer in enumerate(layers.tolist()):
            place = int(tops[image]), int(lefts[image])
            assert torch.equal(together[image, number], noise(int(seeds[image]), layer, *place, 5, 6))


def correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1])


def test_another_seed_layer_or_place_has_noise_of_its_own():
    """Of mean 0 and variance 1; 16,384 values that have nothing in common correlate by less than 0.04 (5 sigma)."""
    one = noise(5, 3, 0, 0, 128, 128)
    assert abs(float(one.mean())) < 0.04 and abs(float(one.std()) - 1) < 0.04
    assert abs(correlation(one[1:], one[:-1])) < 0.04 and abs(correlation(one[:, 1:], one[:, :-1])) < 0.04
    assert abs(correlation(one, one.T)) < 0.04
    for other in [(6, 3, 0, 0), (5 + 2**40, 3, 0, 0), (5, 4, 0, 0), (5, 1027, 0, 0), (5, 3, 128, 0), (5, 3, 0, -128)]:
        assert abs(correlation(one, noise(*other, 128, 128))) < 0.04, other


def test_a_penalty_on_gradients_is_that_of_torchs_own_layers_and_stops_at_the_slopes():
    """Weights, images and their gradients in float64; the images themselves get no gradient, where torch gives 0."""
    torch.manual_seed(0)
    images = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    first, second = torch.randn(4, 3, 3, 3, dtype=torch.float64), torch.randn(1, 4, 3, 3, dtype=torch.float64)

    def penalised(activation, pooling):
        x, *weights = (value.clone().requires_grad_() for value in (images, first, second))
        y = pooling(activation(F.conv2d(x, weights[0], padding=1)))
        y = activation(F.conv2d(y, weights[1]))
        (gradient,) = torch.autograd.grad(y.sum(), x, create_graph=True)
        return gradient, torch.autograd.grad(gradient.square().sum(), [*weights, x], allow_unused=True)

    gradient, (*ours, to_images) = penalised(activate, halve)
    expected_gradient, (*theirs, zeros) = penalised(lambda x: F.leaky_relu(x, SLOPE), lambda x: F.avg_pool2d(x, 2))
    assert torch.equal(gradient, expected_gradient)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    assert to_images is None and not zeros.any()
