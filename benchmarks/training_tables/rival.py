"""A training step in the order of the authors' code, written from the description of the method."""

from __future__ import annotations

import torch
from torch import nn

from magical_hub import losses
from magical_hub.models import CriticOutput
from magical_hub.training.batch import Batch
from training_tables.players import Players


class AuthorsOrder:
    """Critic, then generator, then boundary: a pass of the generator for each, in float32, NCHW.

    Each update of the critic takes the penalty of Gulrajani et al., and three passes of the critic: on real, fake and
    interpolated sub-regions. The generator is updated twice: for sub-regions of fresh latents, then for windows of one
    latent each, generated one window at a time and joined by repeated concatenation, with the adversarial and the
    location terms of their sub-regions beside the boundary loss.

    Where the description leaves it open, the cheaper way is taken: the critic's fakes are made without a graph, and
    the generator's updates work out no gradient of the critic's weights.

    Args:
        players: the networks and their optimizers; `players.config` holds the weights of the losses.
        window: rows and columns of sub-regions in the windows of the boundary loss.
        num_windows: how many of them a step takes; one in the authors' code.
    """

    def __init__(self, players: Players, window: tuple[int, int], num_windows: int) -> None:
        self.players, self.window, self.num_windows = players, window, num_windows
        self.device = players.accelerator.device
        # The networks ask for channels-last where their convolutions begin: this undoes it.
        for first in (players.generator.blocks[0], players.critic.stem):
            first.register_forward_pre_hook(_contiguous)

    def __call__(self, batch: Batch) -> dict[str, torch.Tensor]:
        """One update of the critic and two of the generator, on the sub-regions of a batch."""
        players, config = self.players, self.players.config
        real = players.grid.window(config.window).crop_all(batch.real).flatten(0, 1)
        locations = batch.members.flatten()
        return {
            "critic": self._update_critic(real, locations, batch.interpolation.flatten()),
            "generator": self._update_generator(locations),
            "boundary": self._update_for_boundary(),
        }

    def _update_critic(self, real: torch.Tensor, locations: torch.Tensor, coefficients: torch.Tensor) -> torch.Tensor:
        config, critic = self.players.config, self.players.critic
        with torch.no_grad():
            fake = self._generate(self._latents(len(locations)), locations)
        on_real, on_fake = critic(real, locations), critic(fake, locations)
        loss = (
            -losses.wasserstein(on_real.score, on_fake.score)
            + losses.gradient_penalty(
                lambda images: critic(images, locations).score, real, fake, coefficients, config.lambda_gp
            )
            + config.lambda_c * losses.auxiliary_classifier(on_real.location_logits, locations)
        )
        return self._step("critic", loss)

    def _update_generator(self, locations: torch.Tensor) -> torch.Tensor:
        fake = self._generate(self._latents(len(locations)), locations)
        return self._step("generator", self._deceive(fake, locations))

    def _update_for_boundary(self) -> torch.Tensor:
        grid, config = self.players.grid, self.players.config
        corners = torch.from_numpy(grid.window_locations(self.window))
        chosen = corners[torch.randint(len(corners), (self.num_windows,))]
        total = torch.zeros((), device=self.device)
        for members in grid.members(chosen, self.window).to(self.device):
            cells = self._generate(self._latents(1).expand(len(members), -1), members)
            joined = _join(cells, self.window)
            boundary = losses.boundary(
                joined, grid.window(self.window), config.boundary_thickness, config.boundary_weight
            )
            total = total + (self._deceive(cells, members) + boundary) / self.num_windows
        return self._step("generator", total)

    def _deceive(self, fake: torch.Tensor, locations: torch.Tensor) -> torch.Tensor:
        self.players.critic.requires_grad_(False)
        output: CriticOutput = self.players.critic(fake, locations)
        self.players.critic.requires_grad_(True)
        location = losses.auxiliary_classifier(output.location_logits, locations)
        return -output.score.mean() + self.players.config.lambda_c * location

    def _step(self, player: str, loss: torch.Tensor) -> torch.Tensor:
        optimizer = self.players.optimizers[player]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.detach()

    def _latents(self, count: int) -> torch.Tensor:
        return torch.randn(count, self.players.config.latent_dim, device=self.device)

    def _generate(self, latents: torch.Tensor, locations: torch.Tensor) -> torch.Tensor:
        seeds = torch.randint(2**63 - 1, (len(latents),), device=self.device)
        sub_regions: torch.Tensor = self.players.generator(latents, locations, seeds=seeds)
        return sub_regions


def _contiguous(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    return (inputs[0].contiguous(), *inputs[1:])


def _join(cells: torch.Tensor, window: tuple[int, int]) -> torch.Tensor:
    """(n, C, h, w) of one window -> (1, C, H, W), a concatenation at a time."""
    bands = torch.empty(0, device=cells.device)
    for row in cells.unflatten(0, window):
        band = torch.empty(0, device=cells.device)
        for cell in row:
            band = torch.cat([band, cell], 2) if band.numel() else cell
        bands = torch.cat([bands, band], 1) if bands.numel() else band
    return bands[None]
