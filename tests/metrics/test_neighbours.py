import numpy as np
import pytest
from scipy.spatial import KDTree

from magical_hub.errors import DataError
from magical_hub.metrics import nearest, nearest_aligned


def test_nearest_is_that_of_scipys_tree_whatever_the_chunk():
    draw = np.random.default_rng(0)
    queries, references = draw.normal(size=(30, 5)).astype(np.float32), draw.normal(size=(70, 5)).astype(np.float32)
    distances, indices = KDTree(references).query(queries, k=4)
    for chunk in (7, 1024):
        found = nearest(queries, references, 4, chunk)
        np.testing.assert_array_equal(found.indices, indices)
        np.testing.assert_allclose(found.distances, distances, rtol=1e-5)


def test_equal_rows_are_at_exactly_no_distance(cell_features):
    found = nearest(cell_features[10:20], cell_features, 2)
    np.testing.assert_array_equal(found.indices[:, 0], np.arange(10, 20))
    assert (found.distances[:, 0] == 0).all() and (found.distances[:, 1] > 0).all()


def grey(cells):
    return np.round((cells[:, 0] + 1) * 127.5).astype(np.uint8)


@pytest.mark.parametrize(
    "change",
    [
        lambda images: np.pad(images, ((0, 0), (3, 0), (0, 2)), mode="edge")[:, : images.shape[1], 2:],
        lambda images: np.round(images * 0.7 + 20).astype(np.uint8),
    ],
    ids=["shifted", "darker"],
)
def test_shift_and_light_do_not_count(cells, change):
    images = grey(cells)
    found = nearest_aligned(change(images)[20:40], images, 3)
    assert (found.indices[:, 0] == np.arange(20, 40)).mean() >= 0.95  # the shortlist may miss one
    assert np.median(found.distances[:, 0]) < 0.05 < np.median(found.distances[:, 1])


def test_the_aligned_distance_is_that_of_numpys_correlation(cells):
    images = grey(cells)[:12]
    found = nearest_aligned(images[:2, ::4, ::4], images[2:, ::4, ::4], 10, max_shift=1)
    for query, distances, indices in zip(images[:2, ::4, ::4], found.distances, found.indices, strict=True):
        inner = query[1:-1, 1:-1].ravel()
        for distance, index in zip(distances, indices, strict=True):
            other = images[2 + index, ::4, ::4]
            windows = [other[top : top + 30, left : left + 30].ravel() for top in range(3) for left in range(3)]
            best = max(np.corrcoef(inner, window)[0, 1] for window in windows)
            assert distance == pytest.approx(np.sqrt(2 - 2 * best), abs=1e-3)


def test_even_surfaces_are_like_nothing():
    even, other = np.full((2, 16, 16), 90, np.uint8), np.full((3, 16, 16), 20, np.uint8)
    assert nearest_aligned(even, other, 2).distances == pytest.approx(np.sqrt(2))


def test_what_cannot_be_searched_is_refused():
    with pytest.raises(DataError, match="no 4 nearest"):
        nearest(np.zeros((2, 3)), np.zeros((3, 3)), 4)
    with pytest.raises(DataError, match="too small to be shifted by 3"):
        nearest_aligned(np.zeros((2, 6, 9), np.uint8), np.zeros((3, 6, 9), np.uint8), 1)
