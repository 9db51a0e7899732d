"""Tiny networks, for the fixtures of conftest.py."""

from __future__ import annotations

from typing import Any

import torch

from magical_hub import MagicalCritic, MagicalGenerator, MagicalPipeline


class SmallNetwork(torch.nn.Module):
    """Means over 8 x 8 places of an image and of its steps: features of any nn.Module will do."""

    name = "means"
    image_size = 64

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(1))
        self.seen = 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.seen += len(images)
        grey = self.scale * images.mean(1, keepdim=True)
        steps = grey.diff(dim=2).abs()
        return torch.cat(
            [torch.nn.functional.adaptive_avg_pool2d(maps, 8).flatten(1) for maps in (grey, steps)], dim=1
        )


CLASSES: dict[str, Any] = {
    "channels": 3,
    "class_names": ["crack", "good", "void"],
    "class_frequencies": [0.2, 0.7, 0.1],
}


def make_pipeline(
    kind: type = MagicalGenerator, channels: int = 1, class_names: list[str] | None = None, **more: Any
) -> MagicalPipeline:
    torch.manual_seed(0)
    shape: dict[str, Any] = {
        "rows": 2,
        "cols": 3,
        "image_size": (32, 48),
        "channels": channels,
        "base_width": 8,
        "max_width": 16,
        "num_classes": len(class_names or []),
    }
    generator = kind(**shape, latent_dim=16, style_dim=16, class_names=class_names, **more)
    randomise_weights(generator)
    generator.mapping.update_mean_style()
    pipe = MagicalPipeline(generator.eval(), MagicalCritic(**shape).eval())
    pipe.set_progress_bar_config(disable=True)
    return pipe


@torch.no_grad()
def randomise_weights(network: torch.nn.Module) -> None:
    """Move every weight off its start, so that what starts at zero (the strength of the noise) counts too."""
    source = torch.Generator().manual_seed(1)
    for parameter in network.parameters():
        parameter += 0.1 * torch.randn(parameter.shape, generator=source)
