"""How far the critic is ahead of the generator, and what hangs on that.

At first the critic tells every generated window from a real one, and a generator that hears it alone finds the layout
soonest; heads on frozen features would lead it astray there. Once the critic does no better than a coin it has become
too smooth to see fine texture: then the feature critic joins in, and the penalties that keep the critic smooth are
lightened (a fixed schedule of the kind has Huang et al. 2024, "R3GAN"; docs/quality.md has the figures of both).
"""

from __future__ import annotations

HALVING = 50
"""Adjustments that halve or double the weight of the penalties."""

LIGHTEST = 0.1
"""The least share of the penalties' weight."""

MEMORY = 0.9
"""Share that is kept of the running mean of the loss at an adjustment."""


class Balance:
    """Follows the critic's relativistic loss.

    Args:
        even: running mean of it above which the critic counts as no longer ahead; guessing has log 2, 0.69.

    Attributes:
        penalty_share: by how much lambda_r is multiplied now, LIGHTEST to 1.
        reached: whether the critic was ever even with the generator.
    """

    def __init__(self, even: float) -> None:
        self.even = even
        self.loss, self.penalty_share, self.reached = 0.0, 1.0, even <= 0

    def adapt(self, loss: float) -> None:
        """Adjust by the loss of a step's pairs, (E over pairs of) softplus(D(fake) - D(real))."""
        self.loss = MEMORY * self.loss + (1 - MEMORY) * loss
        even = self.loss >= self.even
        self.reached |= even
        self.penalty_share *= 2 ** ((-1 if even else 1) / HALVING)
        self.penalty_share = min(max(self.penalty_share, LIGHTEST), 1.0)

    def state_dict(self) -> dict[str, float | bool]:
        """What changes from one adjustment to the next."""
        return {"loss": self.loss, "penalty_share": self.penalty_share, "reached": self.reached}

    def load_state_dict(self, state: dict[str, float | bool]) -> None:
        """Go on from where `state_dict` was taken."""
        self.loss, self.penalty_share = float(state["loss"]), float(state["penalty_share"])
        self.reached = bool(state["reached"])
