"""Defects in the networks: a field over the canvas, of limited reach, the same in whatever tiles it is made."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from float64 import float64
from hypothesis import given, settings
from hypothesis import strategies as st

from magical_hub import LabelVerifier, MagicalCritic, MagicalGenerator, SeamlessGenerator
from magical_hub.errors import ConfigError
from magical_hub.models import FrozenFeatures
from magical_hub.models.defect_field import DefectField
from magical_hub.models.feature_critic import feature_widths, shared_features

SHAPE = {"rows": 3, "cols": 4, "image_size": (96, 128), "channels": 1, "num_defects": 2}
SEEDS = torch.tensor([5, 6])


@pytest.fixture(scope="module", params=[MagicalGenerator, SeamlessGenerator])
def generator(request, randomise):
    torch.manual_seed(0)
    network = request.param(**SHAPE, latent_dim=8, style_dim=8, base_width=4, max_width=8, num_classes=2).eval()
    randomise(network)
    return network


def make(generator, field: torch.Tensor | None, location: int = 0, window=(3, 4)) -> torch.Tensor:
    latents = torch.randn(2, 8, generator=torch.Generator().manual_seed(0))
    locations, classes = torch.full((2,), location), torch.tensor([0, 1])
    with torch.inference_mode():
        return generator(latents, locations, classes, field, SEEDS, window)


def fields(*places: tuple[int, int, int]) -> torch.Tensor:
    field = torch.zeros(2, 3, 4, dtype=torch.long)
    for row, col, number in places:
        field[:, row, col] = number
    return field


def test_a_defect_changes_its_place_and_nothing_beyond_one_sub_region(generator):
    bare = make(generator, None)
    assert torch.equal(make(generator, fields()), bare)
    for row in range(3):
        for col in range(4):
            changed = (make(generator, fields((row, col, 2))) != bare).any(1).any(0)
            cells = changed.reshape(3, 32, 4, 32).any(3).any(1)
            assert cells[row, col]
            reached = torch.zeros(3, 4, dtype=torch.bool)
            reached[max(0, row - 1) : row + 2, max(0, col - 1) : col + 2] = True
            assert not (cells & ~reached).any()
            if isinstance(generator, SeamlessGenerator):  # and what it promises to the pixel
                rows, cols = torch.nonzero(changed, as_tuple=True)
                far = max(
                    row * 32 - int(rows.min()), int(rows.max()) - row * 32 - 31,
                    col * 32 - int(cols.min()), int(cols.max()) - col * 32 - 31,
                )  # fmt: skip
                assert 0 < far <= generator.defect_reach <= 32


def test_two_classes_and_two_seeds_make_different_defects(generator):
    field = fields((1, 1, 1))
    assert not torch.equal(make(generator, field), make(generator, fields((1, 1, 2))))
    if isinstance(generator, SeamlessGenerator):
        latents = torch.zeros(2, 8)
        args = (torch.zeros(2, dtype=torch.long), torch.zeros(2, dtype=torch.long))
        with torch.inference_mode():
            change = generator(latents, *args, field, SEEDS, (3, 4)) - generator(latents, *args, None, SEEDS, (3, 4))
        assert (change[0] - change[1]).abs().max() > 1e-3


@settings(max_examples=15)
@given(st.data())
@float64()
def test_a_tile_with_defects_equals_the_crop_of_the_whole(generator, data):
    generator = copy.deepcopy(generator).double()
    field = torch.tensor(data.draw(st.lists(st.integers(0, 2), min_size=24, max_size=24))).reshape(2, 3, 4)
    whole = make(generator, field)
    top, left = data.draw(st.integers(0, 95)), data.draw(st.integers(0, 127))
    height, width = data.draw(st.integers(1, 96 - top)), data.draw(st.integers(1, 128 - left))
    latents = torch.randn(2, 8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        part = generator.region(latents, top, left, height, width, torch.tensor([0, 1]), field, SEEDS)
    assert (part - whole[:, :, top : top + height, left : left + width]).abs().max() <= 1e-10


def test_noise_of_the_field_runs_on_from_one_sub_region_to_the_next():
    """The lattice is shared: what differs at a border is no more than what differs between any two neighbours."""
    field = DefectField(SeamlessGenerator(**SHAPE).grid, 8, 2, cell=1, number=0)
    down, across = (torch.arange(count)[None] + 0.5 for count in (96, 128))
    noise = torch.cat(field._noise(torch.tensor([3]), down / 32, across / 32), 1)
    steps = (noise[:, :, :, 1:] - noise[:, :, :, :-1]).abs().amax((0, 1, 2))
    assert steps[31::32].max() <= steps.max() and noise.std() > 0.3
    # At the lattice's points it is the hash itself: it has all of the noise's range there.
    assert noise.abs().max() > 1.2


def test_critic_and_verifier_answer_for_every_sub_region():
    critic = MagicalCritic(**SHAPE, base_width=4, max_width=8)
    windows, locations = torch.randn(2, 1, 64, 64), torch.tensor([0, 5])
    field = fields((1, 2, 1))
    output = critic(windows, locations, None, (2, 2), field)
    assert output.defect_logits.shape == (8, 3)
    with torch.no_grad():
        critic.defect_projection.weight[1] += 1.0
    moved = (critic(windows, locations, None, (2, 2), field).score != output.score).nonzero()[:, 0].tolist()
    assert moved == [5]  # of the second window (rows 1 and 2, columns 1 and 2) the sub-region (1, 2)

    verifier = LabelVerifier(**SHAPE, num_classes=3, width=8)
    said = verifier(torch.zeros(5, 1, 32, 32), torch.tensor([0, 1, 2, 3, 11]))
    assert said.class_logits.shape == (5, 3) and said.defect_logits.shape == (5, 3)


def test_a_verifier_learns_and_saves_its_own_weights_alone(tmp_path):
    """What it looks through is a package's, whose weights neither count, nor change, nor depend on who asked first."""
    verifier = LabelVerifier(**SHAPE, width=8)
    sub_regions, locations = torch.randn(4, 1, 32, 32), torch.arange(4)
    shared_features.cache_clear()
    with torch.inference_mode():
        before = verifier(sub_regions, locations).defect_logits.clone()
    verifier(sub_regions, locations).defect_logits.square().sum().backward()
    assert all(parameter.grad is not None for parameter in verifier.parameters())
    frozen = shared_features("efficientnet-lite0", 32, 32, torch.device("cpu"))
    assert not [parameter for parameter in frozen.parameters() if parameter.requires_grad]
    verifier.save_pretrained(tmp_path)
    assert (tmp_path / "diffusion_pytorch_model.safetensors").stat().st_size < 100_000
    again = LabelVerifier.from_pretrained(tmp_path)(sub_regions, locations).defect_logits
    torch.testing.assert_close(again.detach(), before, rtol=0, atol=0)


@pytest.mark.parametrize("network", ["efficientnet-lite0", "efficientnet-lite1"])
@pytest.mark.parametrize("side", [16, 32, 64, 96])
def test_the_widths_of_the_features_are_known_without_their_weights(side, network):
    features = FrozenFeatures(side, side + 8, network)
    made = features(torch.zeros(1, 3, side, side + 8))
    assert [x.shape[1] for x in made] == feature_widths(side, side + 8) == features.widths


def test_what_does_not_fit_is_refused(generator):
    with pytest.raises(ConfigError, match=r"shape \(2, 4, 3\): give \(B, 3, 4\)"):
        make(generator, torch.zeros(2, 4, 3, dtype=torch.long))
    bare = type(generator)(rows=3, cols=4, image_size=(96, 128))
    with pytest.raises(ConfigError, match="without defects"):
        bare(torch.zeros(2, 128), torch.zeros(2, dtype=torch.long), None, fields())
    with pytest.raises(ConfigError, match="defect_names has 1 names for 2"):
        type(generator)(**SHAPE, defect_names=["pit"])
    with pytest.raises(ConfigError, match="needs classes or defects"):
        LabelVerifier()


def test_the_field_is_worked_out_in_float32_places():
    """Far out on a large canvas a cell still differs by where it is."""
    large = SeamlessGenerator(rows=64, cols=64, image_size=(4096, 4096), num_defects=1)
    field = large.defect_fields[next(iter(large.defect_fields))]
    places = field._along(torch.tensor([0, 500]), 12, 64)
    np.testing.assert_array_equal(places[1] - places[0], 500 * field.cell / 64)
