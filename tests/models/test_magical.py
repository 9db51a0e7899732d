"""What the paper's generator alone does: a location is embedded by its row and its column."""

from __future__ import annotations

import torch

from magical_hub import MagicalGenerator


def test_a_thousand_locations_cost_little_more_than_sixteen():
    networks = [MagicalGenerator(rows=n, cols=n, image_size=(32 * n, 32 * n)) for n in (4, 32)]
    few, many = (sum(p.numel() for p in network.parameters()) for network in networks)
    assert few < many < 1.05 * few


def test_each_location_learns_from_its_own_sub_region():
    network = MagicalGenerator(rows=3, cols=4, image_size=(48, 64), base_width=8, max_width=16, latent_dim=16)
    network(torch.randn(2, 16), torch.tensor([6, 6])).square().sum().backward()
    for embedding, reached in ((network.row_embedding, [1]), (network.col_embedding, [2])):
        assert embedding.weight.grad is not None
        assert embedding.weight.grad.abs().sum(1).nonzero().flatten().tolist() == reached
