"""What adapts during a run: the augmentation of the critics' images, and the weight of the critic's penalty.

Both follow running means of losses and scores, and keep their numbers on the device of the networks, so that a step
never waits for the host.
"""

from __future__ import annotations

import torch

OPERATIONS = 4
NUMBERS = 2 * OPERATIONS + 1
"""Random numbers an image: for each operation whether it is applied, and how strongly (of the cut-out, where: two)."""

ADAPT_EVERY = 8
"""Steps between two adjustments."""

MEMORY = 0.9
"""Decay of the running means at an adjustment: the scores of a single batch are too noisy."""

STRONGEST = 0.8
"""Above this the augmentation may leak into the generated images (Karras et al. 2020, section 2.3)."""

HALVING = 50
"""Adjustments that halve or double the penalty."""

SMALLEST_FACTOR = 0.1
"""The smallest factor of the penalty."""


def augment(images: torch.Tensor, numbers: torch.Tensor, strength: torch.Tensor | float) -> torch.Tensor:
    """Differentiable augmentation (Karras et al. 2020; Zhao et al. 2020): brightness, contrast, saturation, cut-out.

    Nothing moves or is mirrored, since a sub-region of an aligned image would then contradict its location label.

    Args:
        images: (B, C, H, W) in [-1, 1].
        numbers: (B, NUMBERS), uniform in [0, 1): the same numbers augment in the same way.
        strength: 0 to 1, the probability of each operation; 0 changes nothing.

    Returns:
        (B, C, H, W), which may leave [-1, 1]: a clamp would have no gradient there.
    """
    applied = numbers[:, :OPERATIONS] < strength
    # From uniform to standard normal numbers, without their far tails.
    normal = torch.special.ndtri(numbers[:, OPERATIONS : 2 * OPERATIONS - 1].clamp(0.01, 0.99))
    brightness = torch.where(applied[:, 0], 0.4 * normal[:, 0], 0.0)[:, None, None, None]
    contrast = torch.where(applied[:, 1], 2 ** (0.5 * normal[:, 1]), 1.0)[:, None, None, None]
    images = (images + brightness) * contrast
    if images.shape[1] == 3:
        saturation = torch.where(applied[:, 2], 2 ** normal[:, 2], 1.0)[:, None, None, None]
        red, green, blue = images.split(1, 1)
        grey = 0.299 * red + 0.587 * green + 0.114 * blue  # ITU-R BT.601
        images = torch.lerp(grey.expand_as(images), images, saturation)
    return images * ~_cut_out(images, numbers[:, -2:], applied[:, 3])


def _cut_out(images: torch.Tensor, centres: torch.Tensor, applied: torch.Tensor) -> torch.Tensor:
    """Rectangles of half the height and half the width around `centres` (B, 2): (B, 1, H, W) bool."""
    height, width = images.shape[2:]
    rows = torch.arange(height, device=images.device) + 0.5
    cols = torch.arange(width, device=images.device) + 0.5
    down = (rows - centres[:, :1] * height).abs() < height / 4
    across = (cols - centres[:, 1:] * width).abs() < width / 4
    return (down[:, :, None] & across[:, None, :] & applied[:, None, None])[:, None]


class AdaptiveAugmentation:
    """Raises the strength of the augmentation while the critic overfits, and lowers it while it does not.

    The measure of overfitting is r_v of Karras et al. (2020, equation 1): how far the mean score of held-out images
    has fallen from that of the training images towards that of the generated ones. (Their other measure, the sign of
    the score, means nothing where only differences of scores count.)

    Args:
        target: the r_v to hold.
        windows: how many windows of training take the strength from 0 to 1.
        batch_size: windows a step.
        device: where the numbers are kept.

    Attributes:
        strength: scalar tensor, 0 to STRONGEST.
    """

    def __init__(self, target: float, windows: int, batch_size: int, device: torch.device) -> None:
        self.target, self.step = target, ADAPT_EVERY * batch_size / windows
        self.strength, self.held_out_gap, self.fake_gap = (_zero(device) for _ in range(3))

    def adapt(self, real: torch.Tensor, fake: torch.Tensor, held_out: torch.Tensor) -> dict[str, torch.Tensor]:
        """Adjust by mean scores of each kind.

        Returns:
            r_v, which is 0 where the critic does not separate real from generated images, and the strength, by name.
        """
        real, fake, held_out = (score.to(self.strength) for score in (real, fake, held_out))
        # Both means start at zero with the same decay, so that their ratio is unbiased from the first time on.
        self.held_out_gap.mul_(MEMORY).add_((1 - MEMORY) * (real - held_out))
        self.fake_gap.mul_(MEMORY).add_((1 - MEMORY) * (real - fake))
        overfitting = torch.where(self.fake_gap > 0, self.held_out_gap / self.fake_gap, 0.0)
        changed = torch.where(overfitting > self.target, self.strength + self.step, self.strength - self.step)
        self.strength.copy_(changed.clamp(0.0, STRONGEST))
        return {"augmentation/overfitting": overfitting, "augmentation/strength": self.strength.clone()}

    def state_dict(self) -> dict[str, float]:
        """What changes from one adjustment to the next."""
        return {name: float(getattr(self, name)) for name in ("strength", "held_out_gap", "fake_gap")}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Continue from where `state_dict` was taken."""
        for name, value in state.items():
            getattr(self, name).fill_(value)


class AdaptivePenalty:
    """Lowers the critic's zero-centred penalty while the critic has no advantage over the generator.

    At first the critic separates every generated window from a real one, and the layout is learned fastest from this
    critic alone, without heads on frozen features. Once the critic's loss is that of guessing, the penalty has made it
    too smooth for fine texture: then the feature critic is enabled, and the penalty falls. (R3GAN, Huang et al. 2024,
    has a fixed schedule of that kind; docs/quality.md has the figures of both.)

    Args:
        balanced_loss: running mean of the relativistic loss from which on the critic has no advantage; guessing has
            log 2, 0.69.
        device: where the numbers are kept.

    Attributes:
        factor: scalar tensor, SMALLEST_FACTOR to 1, by which lambda_r is multiplied.
        balanced: whether the critic was ever without an advantage.
    """

    def __init__(self, balanced_loss: float, device: torch.device) -> None:
        self.balanced_loss, self.balanced = balanced_loss, balanced_loss <= 0
        self.loss, self.factor = _zero(device), _zero(device) + 1

    def adapt(self, loss: torch.Tensor) -> torch.Tensor:
        """Adjust by the loss of a step's pairs, the mean of softplus(D(fake) - D(real)); returns the factor."""
        self.loss.mul_(MEMORY).add_((1 - MEMORY) * loss.to(self.loss))
        balanced = self.loss >= self.balanced_loss
        # The one value that leaves the device here, until it is true: it decides which networks take part in a step.
        self.balanced = self.balanced or bool(balanced)
        changed = torch.where(balanced, self.factor * 2 ** (-1 / HALVING), self.factor * 2 ** (1 / HALVING))
        self.factor.copy_(changed.clamp(SMALLEST_FACTOR, 1.0))
        return self.factor.clone()

    def state_dict(self) -> dict[str, float | bool]:
        """What changes from one adjustment to the next."""
        return {"loss": float(self.loss), "factor": float(self.factor), "balanced": self.balanced}

    def load_state_dict(self, state: dict[str, float | bool]) -> None:
        """Continue from where `state_dict` was taken."""
        self.loss.fill_(state["loss"])
        self.factor.fill_(state["factor"])
        self.balanced = bool(state["balanced"])


def _zero(device: torch.device) -> torch.Tensor:
    """In float64, as Python's numbers, but on Apple's GPUs, which have none."""
    return torch.zeros((), dtype=torch.float32 if device.type == "mps" else torch.float64, device=device)
