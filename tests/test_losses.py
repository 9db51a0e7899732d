"""Each loss against plain NumPy, and against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from magical_hub import Grid
from magical_hub.errors import GridError
from magical_hub.losses import (
    LAMBDA_B,
    LAMBDA_GP,
    auxiliary_classifier,
    boundary,
    gradient_penalty,
    relativistic,
    wasserstein,
    zero_centred_penalty,
)


def test_the_weights_are_the_papers():
    assert (LAMBDA_GP, LAMBDA_B) == (10, 205)


def test_wasserstein_is_the_difference_of_the_means():
    assert wasserstein(torch.tensor([1.0, 3.0, 8.0]), torch.tensor([-1.0, 2.0])).item() == pytest.approx(4 - 0.5)


def batch(seed: int, count: int = 3, shape: tuple[int, ...] = (2, 4, 3)):
    rng = np.random.default_rng(seed)
    real, fake = rng.normal(size=(2, count, *shape))
    return torch.from_numpy(real), torch.from_numpy(fake), torch.from_numpy(rng.random(count))


@pytest.mark.parametrize(("entry", "pixels", "norm"), [(0.5, 16, 2.0), (0.25, 16, 1.0), (0.0, 16, 0.0)])
def test_penalty_of_a_linear_critic_by_hand(entry, pixels, norm):
    """D(x) = <w, x> has the gradient w everywhere: sixteen entries of 0.5 have the norm 2."""
    real, fake, coefficients = batch(0, shape=(1, 4, 4))
    weights = torch.full((pixels,), entry, dtype=torch.float64, requires_grad=True)
    penalty = gradient_penalty(lambda x: x.flatten(1) @ weights, real, fake, coefficients)
    assert penalty.item() == pytest.approx(10 * (norm - 1) ** 2, abs=1e-4)
    penalty.backward()  # d/dw of 10 (|w| - 1)^2 = 20 (|w| - 1) w / |w|
    expected = 20 * (norm - 1) * entry / norm if norm else 0.0
    assert weights.grad.tolist() == pytest.approx([expected] * pixels, abs=1e-4)


def test_penalty_stands_between_real_and_fake_one_coefficient_a_sample():
    """D(x) = sum(a x^2) / 2 has the gradient a x: the closed form tells where the critic was asked."""
    real, fake, coefficients = batch(1)
    scale = torch.from_numpy(np.random.default_rng(2).normal(size=real.shape[1:]))
    got = gradient_penalty(lambda x: (scale * x.square()).flatten(1).sum(1) / 2, real, fake, coefficients, weight=3.0)
    a = coefficients.numpy()[:, None, None, None]
    between = a * real.numpy() + (1 - a) * fake.numpy()
    norms = np.sqrt(((scale.numpy() * between) ** 2).sum((1, 2, 3)))
    assert got.item() == pytest.approx(3 * ((norms - 1) ** 2).mean(), rel=1e-9)


def test_penalty_can_be_differentiated_again():
    """Its gradient by the critic's weights, against finite differences."""
    real, fake, coefficients = batch(3, shape=(1, 2, 3))
    rng = np.random.default_rng(4)
    first = torch.from_numpy(rng.normal(size=(6, 4))).requires_grad_()
    second = torch.from_numpy(rng.normal(size=4)).requires_grad_()

    def penalty(first, second):
        return gradient_penalty(lambda x: torch.tanh(x.flatten(1) @ first) @ second, real, fake, coefficients)

    assert torch.autograd.gradcheck(penalty, (first, second), eps=1e-6, atol=1e-4)


def test_penalty_gives_the_generator_nothing():
    real, fake, coefficients = batch(5)
    fake.requires_grad_()
    weights = torch.ones(24, dtype=torch.float64, requires_grad=True)
    gradient_penalty(lambda x: x.flatten(1).square() @ weights, real, fake, coefficients).backward()
    assert fake.grad is None and weights.grad is not None


@given(st.integers(1, 6), st.integers(1, 9), st.integers(0, 999))
def test_auxiliary_classifier_is_the_mean_negative_log_softmax(count, classes, seed):
    rng = np.random.default_rng(seed)
    logits, labels = rng.normal(size=(count, classes)) * 5, rng.integers(0, classes, count)
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    expected = -log_p[np.arange(count), labels].mean()
    got = auxiliary_classifier(torch.from_numpy(logits), torch.from_numpy(labels))
    assert got.item() == pytest.approx(expected, rel=1e-5, abs=1e-5)


def test_auxiliary_classifier_by_hand():
    assert auxiliary_classifier(torch.zeros(3, 16), torch.tensor([0, 7, 15])).item() == pytest.approx(np.log(16))


def test_labels_other_than_0_have_the_weight():
    """Of two sub-regions the one with a defect counts four times: (log 2 + 4 log 2) / 2."""
    logits = torch.zeros(2, 2)
    assert auxiliary_classifier(logits, torch.tensor([0, 1]), weight=4.0).item() == pytest.approx(2.5 * np.log(2))
    assert auxiliary_classifier(logits, torch.tensor([0, 0]), weight=4.0).item() == pytest.approx(np.log(2))


def boundary_by_loops(images: np.ndarray, rows: int, cols: int, thickness: int, weight: float) -> float:
    count, channels, height, width = images.shape
    h, w = height // rows, width // cols
    total = 0.0
    for direction, parts in (("rows", rows), ("cols", cols)):
        squares = []
        for n in range(count):
            for c in range(channels):
                for seam in range(1, parts):
                    for line in range(thickness):
                        for along in range(width if direction == "rows" else height):
                            if direction == "rows":
                                a = images[n, c, seam * h - thickness + line, along]
                                b = images[n, c, seam * h + line, along]
                            else:
                                a = images[n, c, along, seam * w - thickness + line]
                                b = images[n, c, along, seam * w + line]
                            squares.append((a - b) ** 2)
        total += sum(squares) / len(squares) if squares else 0.0
    return weight * total


@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 3), st.integers(1, 2), st.integers(0, 999))
@settings(max_examples=40)
def test_boundary_is_what_plain_loops_say(rows, cols, thickness, channels, seed):
    rng = np.random.default_rng(seed)
    h, w = rng.integers(thickness, thickness + 3, 2)
    images = rng.normal(size=(2, channels, rows * h, cols * w))
    grid = Grid(rows, cols, rows * h, cols * w)
    expected = boundary_by_loops(images, rows, cols, thickness, 205)
    assert boundary(torch.from_numpy(images), grid, thickness).item() == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_boundary_by_hand():
    """A window of 1 x 3: steps of 0.1 and 0.3 at its two seams have a mean square of (0.01 + 0.09) / 2."""
    columns = torch.tensor([0.0, 0.0, 0.1, 0.1, 0.4, 0.4])
    window = columns.expand(2, 3, 4, 6)
    assert boundary(window, Grid(1, 3, 4, 6)).item() == pytest.approx(205 * 0.05, rel=1e-5)
    assert boundary(window, Grid(1, 3, 4, 6), weight=1.0).item() == pytest.approx(0.05, rel=1e-5)
    assert boundary(window.transpose(2, 3), Grid(3, 1, 6, 4)).item() == pytest.approx(205 * 0.05, rel=1e-5)
    # Two directions are added: rows that step by 0.2 at one seam add 0.04.
    both = columns + torch.tensor([0.0, 0.0, 0.2, 0.2])[:, None]
    assert boundary(both.expand(1, 1, 4, 6), Grid(2, 3, 4, 6)).item() == pytest.approx(205 * (0.05 + 0.04), rel=1e-5)


def test_boundary_compares_line_j_of_the_last_with_line_j_of_the_first():
    """Last lines 1, 2 and first lines 1, 2: no loss at thickness 2, a step of 1 at thickness 1."""
    window = torch.tensor([[1.0, 2.0, 1.0, 2.0]]).expand(1, 1, 1, 4).expand(1, 1, 2, 4)
    assert boundary(window, Grid(1, 2, 2, 4), thickness=2).item() == 0
    assert boundary(window, Grid(1, 2, 2, 4), thickness=1).item() == pytest.approx(205)


def test_boundary_of_a_single_sub_region_is_zero():
    loss = boundary(torch.randn(2, 1, 4, 4, requires_grad=True), Grid(1, 1, 4, 4))
    assert loss.item() == 0 and loss.shape == ()


def test_boundary_moves_only_the_lines_at_the_seams():
    window = torch.randn(1, 1, 6, 6, requires_grad=True)
    boundary(window, Grid(2, 1, 6, 6)).backward()
    moved = window.grad[0, 0].abs().sum(1) > 0
    assert moved.tolist() == [False, False, True, True, False, False]


def test_boundary_refuses_images_of_another_grid():
    with pytest.raises(GridError):
        boundary(torch.zeros(1, 1, 4, 4), Grid(2, 2, 8, 8))


def test_relativistic_against_numpy():
    better, worse = np.array([-1.5, 0.0, 30.0], np.float32), np.array([2.0, 0.0, -3.0], np.float32)
    loss = relativistic(torch.from_numpy(better), torch.from_numpy(worse))
    assert float(loss) == pytest.approx(np.logaddexp(0, worse - better).mean(), rel=1e-5)


def test_the_zero_centred_penalty_of_a_quadratic_critic_by_hand():
    """D(x) = a * sum(x^2) / 2 has the gradient a * x, so R1 = weight / 2 * a^2 * |x|^2, with a known slope in a."""
    real = torch.tensor([[[[1.0, 2.0]]], [[[0.0, -3.0]]]])  # |x|^2 of 5 and 9
    a = torch.tensor(0.5, requires_grad=True)
    penalty = zero_centred_penalty(lambda x: a * x.square().sum((1, 2, 3)) / 2, real, weight=4.0)
    assert penalty.item() == pytest.approx(4 / 2 * 0.25 * 7)
    penalty.backward()
    assert float(a.grad) == pytest.approx(4 / 2 * 2 * 0.5 * 7)
