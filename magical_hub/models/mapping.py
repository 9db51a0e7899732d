"""What is the same for the whole image, its latent and its class, mapped to the style that modulates every layer."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from magical_hub.models.checks import check_class_labels, check_truncation
from magical_hub.models.layers import GAIN, Linear, activate


class LatentMapping(nn.Module):
    """Two layers from a latent (and a class) to a style, and the mean style of each class for the truncation trick.

    Args:
        latent_dim: L, length of a latent.
        style_dim: length of a style.
        num_classes: image classes; 0 for none.
    """

    mean_style: torch.Tensor
    """(classes, or 1; style_dim)"""

    def __init__(self, latent_dim: int, style_dim: int, num_classes: int) -> None:
        super().__init__()
        self.latent_dim, self.num_classes = latent_dim, num_classes
        self.layers = nn.ModuleList(
            [Linear(latent_dim + num_classes, style_dim, GAIN, rate=0.1), Linear(style_dim, style_dim, GAIN, rate=0.1)]
        )
        self.register_buffer("mean_style", torch.zeros(max(1, num_classes), style_dim))

    def forward(
        self, latents: torch.Tensor, class_labels: torch.Tensor | None = None, truncation_psi: float = 1.0
    ) -> torch.Tensor:
        """The style of each image: (B, L) and (B,) -> (B, style_dim).

        Args:
            latents: (B, L), standard normal.
            class_labels: (B,) int64, or None where there are no classes.
            truncation_psi: 1 is as trained, towards 0 draws the style to the mean of its class, and up to 2 away from
                it.

        Raises:
            ConfigError: where it is out of that range.
        """
        check_truncation(truncation_psi)
        check_class_labels(class_labels, self.num_classes)
        x = latents * torch.rsqrt(latents.square().mean(1, keepdim=True) + 1e-8)
        if class_labels is not None:
            # As long as a latent of one, so that the class weighs as much as the rest of the input together.
            one_hot = F.one_hot(class_labels, self.num_classes).to(x.dtype)
            x = torch.cat([x, one_hot * x.shape[1] ** 0.5], 1)
        for layer in self.layers:
            x = activate(layer(x))
        if truncation_psi != 1.0:
            mean = self.mean_style[0 if class_labels is None else class_labels]
            x = mean + truncation_psi * (x - mean)
        return x

    @torch.no_grad()
    def update_mean_style(self, num_latents: int = 4096) -> None:
        """Set the mean style of each class, from fixed latents."""
        latents = torch.randn(num_latents, self.latent_dim, generator=torch.Generator().manual_seed(0))
        latents = latents.to(self.mean_style.device)
        for number in range(len(self.mean_style)):
            labels = torch.full((num_latents,), number, device=latents.device) if self.num_classes else None
            self.mean_style[number] = self(latents, labels).float().mean(0)
