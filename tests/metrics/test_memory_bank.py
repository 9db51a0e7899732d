import pytest
import torch

from magical_hub.metrics import coreset_extension, distances_to, k_centres, patches


def test_distances_are_those_to_the_nearest():
    source = torch.Generator().manual_seed(0)
    bank, rows = torch.randn(30, 7, generator=source), torch.randn(1300, 7, generator=source)
    expected = torch.cdist(rows, bank, compute_mode="donot_use_mm_for_euclid_dist").amin(1)
    assert torch.allclose(distances_to(bank, rows), expected, atol=1e-5)
    assert distances_to(bank, bank).max() < 2e-3


def test_centres_cover_every_cluster_however_small():
    source = torch.Generator().manual_seed(0)
    middles = 100 * torch.randn(6, 20, generator=source)
    sizes = [500, 300, 100, 10, 2, 1]
    rows = torch.cat([m + torch.randn(n, 20, generator=source) for m, n in zip(middles, sizes, strict=True)])
    chosen = k_centres(rows, 6, source)
    assert distances_to(chosen, middles).max() < 15
    assert all((rows == one).all(1).any() for one in chosen)


def test_a_small_set_is_its_own_coreset():
    rows = torch.arange(6.0).view(3, 2)
    assert k_centres(rows, 3, torch.Generator()) is rows


def test_patches_are_means_of_neighbours_by_hand():
    maps = torch.arange(9.0).view(1, 1, 3, 3)
    made = patches(maps)
    assert made.shape == (1, 9, 1)
    assert made[0, 4] == 4 and made[0, 0] == pytest.approx((0 + 1 + 3 + 4) / 4)


def test_only_what_is_new_is_taken_in():
    source = torch.Generator().manual_seed(0)
    rows = torch.randn(400, 5, generator=source)
    bank = k_centres(rows, 40, source)
    assert len(coreset_extension(bank, rows, rows, 40)) == 0
    elsewhere = torch.randn(400, 5, generator=source) + 20
    taken = coreset_extension(bank, rows, torch.cat([rows, elsewhere]), 100)
    assert 1 < len(taken) < 100 and (taken.mean(1) > 10).all()
    assert distances_to(torch.cat([bank, taken]), elsewhere).max() <= distances_to(bank, rows).max()
    assert len(coreset_extension(bank, rows, elsewhere, 3)) == 3
