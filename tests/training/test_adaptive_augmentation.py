"""What alters the images that the critic sees: each operation against a plain form of it, and when it comes."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from magical_hub import MagicalCritic, SeamlessGenerator, TrainingConfig, train
from magical_hub.errors import ConfigError
from magical_hub.training.adaptive import NUMBERS, OPERATIONS, STRONGEST, AdaptiveAugmentation, augment

BRIGHTNESS, CONTRAST, SATURATION, PATCH = range(OPERATIONS)
NEVER = 1.0
"""A number that is below no strength."""


def images(count: int, channels: int = 3, height: int = 8, width: int = 12) -> torch.Tensor:
    return 2 * torch.rand(count, channels, height, width, generator=torch.Generator().manual_seed(0)) - 1


def numbers(count: int, seed: int = 1) -> torch.Tensor:
    return torch.rand(count, NUMBERS, generator=torch.Generator().manual_seed(seed))


def only(operation: int, count: int) -> torch.Tensor:
    """Numbers of which no other operation comes."""
    drawn = numbers(count)
    drawn[:, [other for other in range(OPERATIONS) if other != operation]] = NEVER
    return drawn


def normal(uniform: np.ndarray) -> np.ndarray:
    """Standard normal numbers from uniform ones, (B,) -> (B, 1, 1, 1), none beyond the first and last hundredth."""
    kept = np.clip(uniform.astype(np.float64), 0.01, 0.99)
    return np.array([NormalDist().inv_cdf(number) for number in kept])[:, None, None, None]


def brightened(x: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    return x + 0.4 * normal(drawn[:, OPERATIONS + BRIGHTNESS])


def contrasted(x: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """About mid-grey, which is 0."""
    return x * 2 ** (0.5 * normal(drawn[:, OPERATIONS + CONTRAST]))


def saturated(x: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Away from, or towards, the image's own grey (ITU-R BT.601)."""
    if x.shape[1] == 1:
        return x
    grey = 0.299 * x[:, :1] + 0.587 * x[:, 1:2] + 0.114 * x[:, 2:]
    return grey + (x - grey) * 2 ** normal(drawn[:, OPERATIONS + SATURATION])


def patched(x: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Without the pixels whose middles are within a quarter of the height and of the width of the patch's middle."""
    x, (height, width) = x.copy(), x.shape[2:]
    for image, (down, right) in zip(x, drawn[:, -2:], strict=True):
        for row in range(height):
            for col in range(width):
                if abs(row + 0.5 - down * height) < height / 4 and abs(col + 0.5 - right * width) < width / 4:
                    image[:, row, col] = 0
    return x


PLAIN = {BRIGHTNESS: brightened, CONTRAST: contrasted, SATURATION: saturated, PATCH: patched}


# -- the operations ----------------------------------------------------------------------------------------------


def test_at_strength_0_nothing_changes():
    x = images(4)
    assert torch.equal(augment(x, torch.zeros(4, NUMBERS), 0.0), x)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("operation", PLAIN)
def test_each_operation_against_its_plain_form(operation, channels):
    x, drawn = images(16, channels), only(operation, 16)
    expected = PLAIN[operation](x.double().numpy(), drawn.numpy())
    assert np.abs(augment(x, drawn, 1.0).numpy() - expected).max() < 1e-5
    changes = np.abs(expected - x.numpy()).mean()
    assert changes > 0.05 or (operation == SATURATION and channels == 1 and changes == 0)  # grey has no colour to lose


@pytest.mark.parametrize("channels", [1, 3])
def test_at_strength_1_all_of_them_come_in_their_order(channels):
    x, drawn = images(16, channels), numbers(16)
    expected = x.double().numpy()
    for operation in (BRIGHTNESS, CONTRAST, SATURATION, PATCH):
        expected = PLAIN[operation](expected, drawn.numpy())
    assert np.abs(augment(x, drawn, 1.0).numpy() - expected).max() < 1e-5


def test_a_patch_hides_a_quarter_of_the_image_where_it_lies_inside():
    drawn = only(PATCH, 1)
    drawn[:, -2:] = 0.5
    hidden = augment(images(1), drawn, 1.0)[0, 0] == 0
    assert hidden[2:6, 3:9].all() and hidden.sum() == 4 * 6


@pytest.mark.parametrize("operation", PLAIN)
@pytest.mark.parametrize("strength", [0.1, 0.5, 0.8])
def test_an_operation_alters_as_many_images_as_the_strength_says(operation, strength):
    x = images(2000, height=4, width=4)
    altered = (augment(x, only(operation, len(x)), strength) != x).flatten(1).any(1)
    assert abs(float(altered.float().mean()) - strength) < 0.04  # 3.5 sigma


def test_each_operation_comes_for_itself():
    """All four come to an image as often as chance says, and none does likewise."""
    x, drawn = images(2000, height=4, width=4), numbers(2000)
    altered = (augment(x, drawn, 0.5) != x).flatten(1).any(1)
    assert abs(float(altered.float().mean()) - (1 - 0.5**OPERATIONS)) < 0.03


def test_the_same_numbers_alter_in_the_same_way_and_others_in_another():
    x = images(8)
    made = augment(x, numbers(8), 0.8)
    torch.manual_seed(9)  # whatever happened before
    assert torch.equal(augment(x, numbers(8), 0.8), made)
    assert not torch.equal(augment(x, numbers(8, seed=2), 0.8), made)
    # Each image depends on its own numbers alone.
    assert torch.equal(augment(x[3:5], numbers(8)[3:5], 0.8), made[3:5])


def test_nothing_moves():
    """A bright pixel keeps its place or is hidden by the patch, with which it has nothing to do."""
    count, row, col = 200, 2, 9
    x = torch.tensor([-0.3, -0.5, -0.4])[None, :, None, None].repeat(count, 1, 8, 12)
    x[:, :, row, col] = 0.9
    drawn = numbers(count)
    seen = 0
    for made, (down, right) in zip(augment(x, drawn, 1.0), drawn[:, -2:].tolist(), strict=True):
        hidden = (made == 0).all(0)
        assert hidden[row, col] == (abs(row + 0.5 - 8 * down) < 2 and abs(col + 0.5 - 12 * right) < 3)
        background = made[:, ~hidden].median(1).values
        elsewhere = ((made - background[:, None, None]).abs() > 1e-5).any(0) & ~hidden
        assert elsewhere.nonzero().tolist() == ([] if hidden[row, col] else [[row, col]])
        seen += not hidden[row, col]
    assert 50 < seen < 200


@pytest.mark.parametrize("channels", [1, 3])
def test_gradients_of_the_first_and_second_order_pass(channels):
    """As the gradient penalty wants them."""
    x = images(2, channels, 4, 4).double().requires_grad_()
    drawn = numbers(2).double()
    assert gradcheck(lambda y: augment(y, drawn, 1.0), x)
    assert gradgradcheck(lambda y: augment(y, drawn, 1.0).square(), x)


# -- how strong --------------------------------------------------------------------------------------------------


def adaptive_augmentation() -> AdaptiveAugmentation:
    """Of which an adjustment, one every 8 steps, is a tenth."""
    return AdaptiveAugmentation(target=0.5, windows=320, batch_size=4, device=torch.device("cpu"))


def adapt(adaptive: AdaptiveAugmentation, *scores: float) -> float:
    return float(adaptive.adapt(*map(torch.tensor, scores))["augmentation/overfitting"])


def test_the_strength_follows_how_far_held_out_scores_have_fallen():
    for real, generated, held_out, overfitting, strength in [
        (2.0, 0.0, 0.5, 0.75, 0.4),  # held-out images score most of the way down: stronger
        (1.0, -3.0, -1.5, 0.625, 0.4),
        (2.0, 0.0, 1.5, 0.25, 0.2),  # nearly as the training images: weaker
        (2.0, 0.0, -1.0, 1.5, 0.4),  # lower than the generated ones
        (2.0, 0.0, 2.5, -0.25, 0.2),  # higher than the training images
        (2.0, 0.0, 1.0, 0.5, 0.2),  # just at the target
        (0.0, 1.0, -5.0, 0.0, 0.2),  # the critic can't tell real from generated
        (1.0, 1.0, 0.0, 0.0, 0.2),
    ]:
        adaptive = adaptive_augmentation()
        assert adaptive.strength == 0
        adaptive.strength.fill_(0.3)
        assert adapt(adaptive, real, generated, held_out) == pytest.approx(overfitting)
        assert float(adaptive.strength) == pytest.approx(strength)


def test_a_single_batch_counts_for_a_tenth():
    adaptive = adaptive_augmentation()
    for _ in range(100):
        assert adapt(adaptive, 2.0, 0.0, 2.0) == 0  # no lower than 0 goes the strength
    assert adaptive.strength == 0
    assert adapt(adaptive, 2.0, 0.0, -2.0) == pytest.approx(0.2, abs=1e-4)  # 0.1 * 4 / 2
    again = adaptive_augmentation()
    again.load_state_dict(adaptive.state_dict())
    assert adapt(again, 2.0, 0.0, 2.0) == adapt(adaptive, 2.0, 0.0, 2.0) == pytest.approx(0.18, abs=1e-4)


def test_the_strength_stays_where_the_generator_cannot_take_it_for_the_data():
    adaptive = adaptive_augmentation()
    strengths = []
    for _ in range(12):
        adapt(adaptive, 1.0, 0.0, 0.0)
        strengths.append(float(adaptive.strength))
    assert strengths == pytest.approx([0.1 * n for n in range(1, 9)] + [STRONGEST] * 4) and STRONGEST == 0.8
    for _ in range(6):  # until more than half of what it remembers is of this kind
        adapt(adaptive, 1.0, 0.0, 1.0)
    assert float(adaptive.strength) == pytest.approx(0.7)


# -- in a run ----------------------------------------------------------------------------------------------------


def figures(run: Path, name: str) -> dict[int, float]:
    lines = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    return {line["step"]: line[name] for line in lines if name in line}


def test_a_run_writes_how_strong_it_is_and_why(tiny_config, tmp_path):
    train(tiny_config(tmp_path / "run", max_steps=24, augment_windows=320, augment_target=0.3))
    strength = figures(tmp_path / "run", "augmentation/strength")
    overfitting = figures(tmp_path / "run", "augmentation/overfitting")
    assert list(strength) == list(overfitting) == [8, 16, 24]
    expected = 0.0
    for step in strength:
        expected = min(max(expected + (0.1 if overfitting[step] > 0.3 else -0.1), 0.0), STRONGEST)
        assert strength[step] == pytest.approx(expected)


@pytest.fixture(scope="module")
def altered(tiny_config, tmp_path_factory):
    """A RUN whose step 9 is the first that alters, the images that the critic was given, and the generator's own."""
    seen, made = [], []
    score_images, generate = MagicalCritic.forward, SeamlessGenerator.forward

    def watched_critic(self, images, *rest, **more):
        seen.append(images.detach().clone())
        return score_images(self, images, *rest, **more)

    def watched_generator(self, *rest, **more):
        images = generate(self, *rest, **more)
        if images.requires_grad:  # and no sample
            made.append(images.detach().clone())
        return images

    run = tmp_path_factory.mktemp("altered") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MagicalCritic, "forward", watched_critic)
        patch.setattr(SeamlessGenerator, "forward", watched_generator)
        train(tiny_config(run, max_steps=9, augment_windows=64, augment_target=0.0, seed=3))
    return run, seen, made


def test_once_it_rises_the_critic_is_given_altered_images_real_and_generated(altered, tiny_config, tmp_path):
    """The step after it starts from the weights of a run without, and gives another score to both."""
    train(tiny_config(tmp_path / "without", max_steps=9, augment="off", seed=3))
    assert figures(tmp_path / "without", "augmentation/strength") == {}
    assert figures(altered[0], "augmentation/strength") == {8: 0.5}
    for name in ("critic/score_real", "critic/score_fake"):
        with_it, plain = (figures(run, name) for run in (altered[0], tmp_path / "without"))
        assert [step for step in plain if with_it[step] != plain[step]] == [9], name


def test_both_players_are_scored_by_the_same_altered_images(altered):
    """The critic is updated by step 9, and then the generator by the very same images."""
    _, seen, made = altered
    generated, real = seen[-2:]
    both = [images for images in seen if len(images) == 2 * len(real)][-1]  # the penalty's passes are of one each
    assert torch.equal(both, torch.cat([real, generated]))
    assert [i for i in range(len(generated)) if not torch.equal(generated[i], made[-1][i])]


def test_without_a_validation_part_there_is_nothing_to_adapt_by():
    with pytest.raises(ConfigError) as error:
        TrainingConfig(data="x", output_dir="y", validation_fraction=0.0)
    assert str(error.value) == ("augment 'adaptive' needs a validation part: raise validation_fraction, or give 'off'")


@pytest.mark.parametrize(("name", "value"), [("augment_windows", 0), ("augment_target", 1.0), ("augment", "on")])
def test_a_setting_out_of_range_is_refused(name, value):
    with pytest.raises(ConfigError, match=rf"^{name} is .*: it must be "):
        TrainingConfig(data="x", output_dir="y", **{name: value})
