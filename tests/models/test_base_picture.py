"""The picture that a seamless generator draws on: bilinear between its points, and the same whatever the tile."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from float64 import float64
from hypothesis import given, settings
from hypothesis import strategies as st

from magical_hub import SeamlessGenerator
from magical_hub.models.base_picture import MOST_POINTS, BasePicture

ORIGIN = torch.zeros(1, dtype=torch.long)


def filled(size: tuple[int, int], channels: int = 3, num_classes: int = 0) -> BasePicture:
    picture = BasePicture(size, channels, num_classes)
    torch.manual_seed(0)
    torch.nn.init.uniform_(picture.values, -1, 1)
    return picture


@pytest.mark.parametrize("size", [(64, 96), (128, 128), (512, 256)])
@float64()
def test_it_is_bilinear_between_its_points(size):
    picture = filled(size)
    with torch.no_grad():
        whole = picture(ORIGIN, ORIGIN, *size, None)
        assert torch.allclose(whole, F.interpolate(picture.values, size=size, mode="bilinear"), rtol=0, atol=1e-10)


def test_it_does_not_grow_with_the_canvas():
    counts = {side: BasePicture((side, side), 1).values.numel() for side in (1024, 4096, 16384)}
    assert {*counts.values()} == {MOST_POINTS**2}


@given(st.integers(0, 90), st.integers(0, 50), st.integers(1, 40), st.integers(1, 40))
@settings(max_examples=25)
@float64()
def test_a_tile_is_the_crop_of_the_whole(top, left, height, width):
    picture = filled((130, 90), num_classes=2)
    labels = torch.tensor([1])
    with torch.no_grad():
        whole = picture(ORIGIN, ORIGIN, 130, 90, labels)
        tile = picture(ORIGIN + top, ORIGIN + left, height, width, labels)
    assert torch.allclose(tile, whole[:, :, top : top + height, left : left + width], rtol=0, atol=1e-10)


@float64()
def test_every_image_has_the_picture_of_its_class():
    picture = filled((32, 32), num_classes=3)
    with torch.no_grad():
        both = picture(torch.tensor([0, 4]), torch.tensor([0, 8]), 8, 8, torch.tensor([2, 0]))
        one = picture(ORIGIN + 4, ORIGIN + 8, 8, 8, torch.tensor([0]))
        assert torch.equal(both[1:], one) and not torch.allclose(both[0], both[1])


@float64()
def test_a_fresh_generator_shows_its_picture_and_tiles_still_agree():
    torch.manual_seed(0)
    sizes = {"base_width": 8, "max_width": 16, "latent_dim": 16, "style_dim": 16, "noise_channels": 4}
    network = SeamlessGenerator(rows=3, cols=3, image_size=(96, 96), **sizes, base_picture=True).eval()
    with torch.no_grad():
        network.base.values.copy_(F.interpolate(torch.rand(1, 1, 6, 6) - 0.5, size=(48, 48), mode="bilinear"))
        given = {"latents": torch.randn(2, 16), "seeds": torch.tensor([1, 2])}
        whole = network.region(top=0, left=0, height=96, width=96, **given)
        tile = network.region(top=37, left=11, height=24, width=40, **given)
        picture = network.base(ORIGIN, ORIGIN, 96, 96, None)
    assert (tile - whole[:, :, 37:61, 11:51]).abs().max() < 1e-10
    likeness = [float(torch.corrcoef(torch.stack([image.flatten(), picture.flatten()]))[0, 1]) for image in whole]
    assert min(likeness) > 0.5 and not torch.allclose(whole[0], whole[1], atol=0.01)
