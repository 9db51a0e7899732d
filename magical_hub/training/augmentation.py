"""What keeps the critic from learning few images by heart: differentiable augmentation, as strong as it must be.

Every image that the critic sees, real or generated, may be altered in brightness, contrast and saturation, and lose a
patch. Nothing moves or is mirrored: aligned images would then belie their location. (Karras et al. 2020, "Training
generative adversarial networks with limited data"; Zhao et al. 2020.)
"""

from __future__ import annotations

import torch
from kornia.color import rgb_to_grayscale
from kornia.enhance import adjust_brightness, adjust_contrast

OPERATIONS = 4
NUMBERS = 2 * OPERATIONS + 1
"""Random numbers an image: of each operation whether it comes, and how strong it is (of the patch, where: two)."""

ADAPT_EVERY = 8
"""Steps between two adjustments."""

MEMORY = 0.9
"""Share that is kept of the running means of the scores' differences at an adjustment: a batch alone says little."""

STRONGEST = 0.8
"""Above this the generator may take the augmented images for the real ones (Karras et al. 2020, section 2.3)."""


def augment(images: torch.Tensor, numbers: torch.Tensor, strength: float) -> torch.Tensor:
    """Each operation alters an image with the probability `strength`.

    Args:
        images: (B, C, H, W) in [-1, 1].
        numbers: (B, NUMBERS), uniform in [0, 1): the same numbers alter in the same way.
        strength: 0 to 1; 0 gives the images back untouched.

    Returns:
        (B, C, H, W), which may leave [-1, 1]: a clamp would have no gradient there.
    """
    if strength == 0:
        return images
    come = numbers[:, :OPERATIONS] < strength
    # From uniform to standard normal numbers, kept from their far ends.
    normal = torch.special.ndtri(numbers[:, OPERATIONS : 2 * OPERATIONS - 1].clamp(0.01, 0.99))
    images = adjust_brightness(images, torch.where(come[:, 0], 0.4 * normal[:, 0], 0.0), clip_output=False)
    images = adjust_contrast(images, torch.where(come[:, 1], 2 ** (0.5 * normal[:, 1]), 1.0), clip_output=False)
    if images.shape[1] == 3:
        share = torch.where(come[:, 2], 2 ** normal[:, 2], 1.0)[:, None, None, None]
        images = torch.lerp(rgb_to_grayscale(images).expand_as(images), images, share)
    return images * ~_patches(images, numbers[:, -2:], come[:, 3])


def _patches(images: torch.Tensor, places: torch.Tensor, come: torch.Tensor) -> torch.Tensor:
    """Where a patch of half the height and width lies, its middle at `places` (B, 2): (B, 1, H, W) bool."""
    height, width = images.shape[2:]
    rows = torch.arange(height, device=images.device) + 0.5
    cols = torch.arange(width, device=images.device) + 0.5
    down = (rows - places[:, :1] * height).abs() < height / 4
    across = (cols - places[:, 1:] * width).abs() < width / 4
    return (down[:, :, None] & across[:, None, :] & come[:, None, None])[:, None]


class AdaptiveStrength:
    """Raises the strength while the critic tells training images from held-out ones, and lowers it while it doesn't.

    The heuristic is r_v of Karras et al. (2020, equation 1): how far the held-out images' mean score has fallen from
    the training images' towards the generated ones'. (Their other one, the sign of the score, means nothing where
    only differences of scores count.)

    Args:
        target: the r_v to keep to.
        windows: how many windows of training take the strength from 0 to 1.
        batch_size: windows a step.
    """

    def __init__(self, target: float, windows: int, batch_size: int) -> None:
        self.target = target
        self.step = ADAPT_EVERY * batch_size / windows
        self.strength = self.fallen = self.apart = 0.0

    def adapt(self, real: float, generated: float, held_out: float) -> float:
        """Adjust by mean scores of one kind each; returns r_v, 0 where the critic can't tell real from generated."""
        # Both start at zero and forget alike, so that their ratio is unbiased from the first time on.
        self.fallen = MEMORY * self.fallen + (1 - MEMORY) * (real - held_out)
        self.apart = MEMORY * self.apart + (1 - MEMORY) * (real - generated)
        overfitting = self.fallen / self.apart if self.apart > 0 else 0.0
        self.strength += self.step if overfitting > self.target else -self.step
        self.strength = min(max(self.strength, 0.0), STRONGEST)
        return overfitting

    def state_dict(self) -> dict[str, float]:
        """What changes from one adjustment to the next."""
        return {"strength": self.strength, "fallen": self.fallen, "apart": self.apart}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Go on from where `state_dict` was taken."""
        self.strength, self.fallen, self.apart = state["strength"], state["fallen"], state["apart"]
