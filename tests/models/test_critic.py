"""The critic through its public face."""

from __future__ import annotations

import pytest
import torch
from float64 import float64

from magical_hub import MagicalCritic
from magical_hub.errors import ConfigError, GridError
from magical_hub.losses import gradient_penalty


def build(rows=2, cols=3, image_size=(32, 48), **more) -> MagicalCritic:
    torch.manual_seed(0)
    return MagicalCritic(rows=rows, cols=cols, image_size=image_size, **{"base_width": 8, "max_width": 16, **more})


def noise(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize(
    ("rows", "cols", "size", "channels"),
    [(2, 3, (32, 48), 1), (2, 2, (64, 32), 3), (2, 3, (34, 69), 1), (2, 2, (100, 140), 3), (1, 1, (16, 96), 1)],
)
@torch.no_grad()
def test_shapes(rows, cols, size, channels):
    critic, count = build(rows, cols, size, channels=channels), rows * cols
    whole = noise(2, channels, *size)
    for output in (
        critic(whole, torch.zeros(2).long(), window=(rows, cols)),
        critic(critic.grid.crop_all(whole).flatten(0, 1), torch.arange(count).repeat(2)),
    ):
        assert output.score.shape == (2 * count,) and output.location_logits.shape == (2 * count, count)
        assert output.score.dtype == torch.float32 and output.score.std() > 0
        assert output.class_logits is None and output.defect_logits is None


@torch.no_grad()
@float64()
def test_a_window_is_judged_image_by_image_in_the_order_of_its_locations():
    """A change in the last sub-region of the second image moves its score, and those of its neighbourhood at most."""
    critic, images = build(1, 8, (16, 128)), noise(2, 1, 16, 128)
    before = critic(images, torch.zeros(2).long(), window=(1, 8)).score.clone()
    images[1, :, :, 112:] *= -1
    moved = (critic(images, torch.zeros(2).long(), window=(1, 8)).score - before).abs() > 1e-6
    assert moved[15] and not moved[:12].any()


@torch.no_grad()
def test_what_lies_beyond_a_seam_counts_in_a_window():
    """The same sub-region beside another neighbour gets another score; alone, it has no neighbour."""
    critic, images = build(), noise(1, 1, 16, 32)
    before = critic(images, torch.tensor([0]), window=(1, 2)).score[0]
    images[:, :, :, 16:] *= -1
    assert (critic(images, torch.tensor([0]), window=(1, 2)).score[0] - before).abs() > 1e-6


@torch.no_grad()
@float64()
def test_the_location_is_a_row_and_a_column():
    """log P(location) = log P(row) + log P(column), so 1,024 locations are no more to learn than 64."""
    critic = build(3, 4, (48, 64))
    logits = critic(noise(5, 1, 16, 16), torch.arange(5)).location_logits
    log_p = logits.log_softmax(1).unflatten(1, (3, 4))
    by_row, by_col = log_p.logsumexp(2, keepdim=True), log_p.logsumexp(1, keepdim=True)
    assert torch.allclose(log_p, by_row + by_col, rtol=0, atol=1e-10)
    assert by_row.std() > 1e-3 and by_col.std() > 1e-3


@torch.no_grad()
@float64()
def test_the_score_depends_on_the_place_and_the_logits_do_not():
    critic, image = build(), noise(1, 1, 16, 16)
    output = critic(image.expand(6, -1, -1, -1), torch.arange(6))
    assert len({round(score, 4) for score in output.score.tolist()}) == 6
    assert torch.allclose(output.location_logits, output.location_logits[:1].expand(6, -1), rtol=0, atol=1e-10)


@torch.no_grad()
@float64()
def test_a_sub_region_is_judged_alone():
    """Nothing of the batch enters a score, as the gradient penalty needs."""
    critic, images = build(), noise(4, 1, 16, 16)
    together = critic(images, torch.arange(4)).score
    images[1:] *= -1
    assert torch.allclose(critic(images, torch.arange(4)).score[0], together[0], rtol=0, atol=1e-10)


@float64()
def test_classes():
    critic, images, where = build(num_classes=3), noise(2, 1, 16, 48), torch.tensor([0, 3])
    with torch.no_grad():
        output = critic(images, where, torch.tensor([0, 2]), window=(1, 3))
        others = critic(images, where, torch.tensor([1, 2]), window=(1, 3))
    assert output.class_logits.shape == (6, 3) and output.score.shape == (6,)
    assert torch.allclose(output.class_logits, others.class_logits, rtol=0, atol=1e-10)
    assert (output.score != others.score).tolist() == [True, True, True, False, False, False]
    with pytest.raises(ConfigError, match="class_labels"):
        critic(images, where, window=(1, 3))


def test_what_cannot_be_is_refused():
    with pytest.raises(ConfigError, match="8 x 16 px are too small"):
        build(rows=4)
    with pytest.raises(ConfigError, match="channels is 4"):
        build(channels=4)
    with pytest.raises(GridError, match="location 6"):
        build()(noise(1, 1, 16, 16), torch.tensor([6]))
    with pytest.raises(GridError, match="do not fit"):
        build()(noise(1, 1, 16, 24), torch.tensor([0]))


def test_saving_and_loading_gives_the_same_network(tmp_path):
    critic = build()
    critic.save_pretrained(tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["config.json", "diffusion_pytorch_model.safetensors"]
    again = MagicalCritic.from_pretrained(tmp_path, use_safetensors=True)
    arguments = (noise(2, 1, 16, 16), torch.tensor([0, 5]))
    assert torch.equal(again(*arguments).score, critic(*arguments).score)


def test_a_thousand_locations_cost_little_more_than_sixteen():
    networks = [MagicalCritic(rows=n, cols=n, image_size=(32 * n, 32 * n)) for n in (4, 32)]
    few, many = (sum(p.numel() for p in network.parameters()) for network in networks)
    assert few < many < 1.05 * few


def test_gradients_reach_every_parameter():
    critic = build(num_classes=2)
    output = critic(noise(2, 1, 32, 48), torch.zeros(2).long(), torch.tensor([0, 1]), window=(2, 3))
    answers = (output.score, output.location_logits, output.class_logits)
    sum((answer * torch.randn(answer.shape)).sum() for answer in answers).backward()
    for name, parameter in critic.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


@float64()
def test_the_score_has_a_second_derivative():
    """The gradient penalty through the critic moves its weights, and down that gradient it falls."""
    critic, real, fake = build(), noise(6, 1, 16, 16), -noise(6, 1, 16, 16) / 2

    def penalty() -> torch.Tensor:
        return gradient_penalty(lambda x: critic(x, torch.arange(6)).score, real, fake, torch.linspace(0, 1, 6))

    penalty_before = penalty()
    penalty_before.backward()
    before = penalty_before.item()
    grown = [p for p in critic.parameters() if p.grad is not None]
    squared = sum(float(p.grad.square().sum()) for p in grown)
    assert squared > 0
    with torch.no_grad():
        for parameter in grown:
            parameter -= 1e-4 * before / squared * parameter.grad
    assert penalty().item() < before


@float64()
def test_the_difference_within_a_pair_is_a_feature():
    """Else the critic can't see that a generator makes one picture of a place."""
    torch.manual_seed(0)
    critic = build(2, 2, (32, 32), same_location_pairs=True)
    one, other = noise(2, 1, 16, 16).split(1)
    place = torch.zeros(2).long()
    alike = critic(torch.cat([one, one]), place, in_pairs=True).score
    apart = critic(torch.cat([one, other]), place, in_pairs=True).score
    assert torch.allclose(alike[0], alike[1], rtol=0, atol=1e-10) and not torch.allclose(alike[0], apart[0], atol=1e-3)
    # Without pairs an image is paired with itself; and the order within a pair makes no difference.
    assert torch.allclose(critic(one, place[:1]).score[0], alike[0], rtol=0, atol=1e-10)
    swapped = critic(torch.cat([other, one]), place, in_pairs=True).score
    assert torch.allclose(swapped.flip(0), apart, rtol=0, atol=1e-10)
    others = critic(torch.cat([one, other, noise(2, 1, 16, 16)]), torch.zeros(4).long(), in_pairs=True).score
    assert torch.allclose(others[:2], apart, rtol=0, atol=1e-10)
