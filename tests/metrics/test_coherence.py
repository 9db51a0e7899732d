import math

import numpy as np
import pytest

from magical_hub.errors import GridError
from magical_hub.grid import Grid
from magical_hub.metrics import coherence

GRID = Grid(4, 4, 128, 128)


def test_by_hand():
    """Two sub-regions of two pixels; their means are 1, 2, 3 and 1, 3, 2: a correlation of one half."""
    images = np.array([[0, 2, 1, 1], [2, 2, 2, 4], [3, 3, 2, 2]], float).reshape(3, 1, 1, 4)
    found = coherence(images, Grid(1, 2, 1, 4))
    assert found.brightness == pytest.approx(0.5)
    assert found.contrast == pytest.approx(np.corrcoef([1, 0, 0], [0, 1, 0])[0, 1])


def test_real_cells_are_of_one_piece_and_shuffled_sub_regions_are_not(cells):
    real = coherence(cells, GRID)
    assert real.brightness > 0.5 and real.contrast > 0.2
    parts = GRID.crop_all(cells)
    order = np.random.default_rng(0)
    mixed = np.stack([parts[order.permutation(len(parts)), location] for location in range(16)], axis=1)
    broken = coherence(GRID.stitch(mixed), GRID)  # every sub-region is real, and of an image of its own
    assert abs(broken.brightness) < 0.1 and abs(broken.contrast) < 0.1


def test_it_has_no_unit(cells):
    once, scaled = coherence(cells, GRID), coherence(3 * cells + 7, GRID)
    assert once == pytest.approx(scaled)


def test_without_two_sub_regions_that_vary_there_is_no_figure(cells):
    assert all(map(math.isnan, coherence(cells, Grid(1, 1, 128, 128))))
    assert all(map(math.isnan, coherence(cells[:2], GRID)))
    assert all(map(math.isnan, coherence(np.zeros_like(cells), GRID)))
    with pytest.raises(GridError):
        coherence(cells, Grid(4, 4, 64, 64))
