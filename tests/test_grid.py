"""The geometry, against plain slicing."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from magical_hub import Grid
from magical_hub.errors import GridError, MagicalError
from magical_hub.export.raster import file_tile, rectangles

sizes = st.integers(1, 5)


@st.composite
def cases(draw):
    """A grid, images that fit it (torch or NumPy, every pixel another number), and a window that fits it."""
    rows, cols, height, width = (draw(sizes) for _ in range(4))
    grid = Grid(rows, cols, rows * height, cols * width)
    shape = (draw(st.integers(1, 3)), draw(st.integers(1, 4)), grid.height, grid.width)
    images = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    window = (draw(st.integers(1, rows)), draw(st.integers(1, cols)))
    return grid, torch.from_numpy(images) if draw(st.booleans()) else images, window


def same(a, b) -> bool:
    return type(a) is type(b) and a.dtype == b.dtype and a.shape == b.shape and bool((a == b).all())


@given(cases())
def test_stitch_undoes_crop_all(case):
    grid, images, _ = case
    cells = grid.crop_all(images)
    assert cells.shape == (len(images), grid.num_locations, images.shape[1], grid.cell_height, grid.cell_width)
    assert same(grid.stitch(cells), images)


@given(cases())
def test_crop_all_crop_span_and_boxes_are_the_same_slices(case):
    grid, images, _ = case
    cells, boxes = grid.crop_all(images), grid.boxes()
    assert boxes.shape == (grid.num_locations, 4) and boxes.dtype == np.int64
    for location, (left, top, right, bottom) in enumerate(boxes.tolist()):
        row, col = location // grid.cols, location % grid.cols
        assert (left, top) == (col * grid.cell_width, row * grid.cell_height)
        assert grid.span(location) == (slice(top, bottom), slice(left, right))
        assert same(grid.crop(images, location), images[:, :, top:bottom, left:right])
        assert same(cells[:, location], images[:, :, top:bottom, left:right])


@given(cases(), st.data())
def test_a_window_is_its_members_joined(case, data):
    grid, images, window = case
    choice = st.sampled_from(grid.window_locations(window).tolist())
    locations = np.array(data.draw(st.lists(choice, min_size=len(images), max_size=len(images))))
    if isinstance(images, torch.Tensor):
        locations = torch.from_numpy(locations)
    crops, members = grid.crop(images, locations, window), grid.members(locations, window)
    assert type(members) is type(locations)
    assert crops.shape[2:] == (window[0] * grid.cell_height, window[1] * grid.cell_width)
    for number, location in enumerate(locations.tolist()):
        rows, cols = grid.span(location, window)
        assert same(crops[number], images[number, :, rows, cols])
        row, col = divmod(location, grid.cols)
        expected = [(row + r) * grid.cols + col + c for r in range(window[0]) for c in range(window[1])]
        assert members[number].tolist() == expected
        cells = grid.crop_all(images[number : number + 1])[:, expected]
        assert same(grid.window(window).stitch(cells)[0], crops[number])


@given(cases())
def test_windows_slide_by_one_over_the_whole_image(case):
    grid, _, (rows, cols) = case
    locations = grid.window_locations((rows, cols))
    inside = [
        row * grid.cols + col
        for row in range(grid.rows)
        for col in range(grid.cols)
        if row + rows <= grid.rows and col + cols <= grid.cols
    ]
    assert locations.dtype == np.int64 and locations.tolist() == inside
    assert len(inside) == (grid.rows - rows + 1) * (grid.cols - cols + 1)
    grid.check_locations(locations, (rows, cols))
    for outside in sorted({*range(grid.num_locations)} - {*inside}):
        with pytest.raises(GridError, match=f"location {outside} "):
            grid.check_locations(locations * 0 + outside, (rows, cols))


@given(cases(), st.data())
def test_seam_lines_are_the_pixel_lines_beside_the_seams(case, data):
    grid, images, _ = case
    thickness = data.draw(st.integers(1, min(grid.cell_height, grid.cell_width)))
    (above, below), (left, right) = grid.seam_lines(images, thickness)
    batch, channels = images.shape[:2]
    assert above.shape == below.shape == (batch, channels, grid.rows - 1, thickness, grid.width)
    assert left.shape == right.shape == (batch, channels, grid.height, grid.cols - 1, thickness)
    for seam in range(grid.rows - 1):
        y = (seam + 1) * grid.cell_height
        assert same(above[:, :, seam], images[:, :, y - thickness : y])
        assert same(below[:, :, seam], images[:, :, y : y + thickness])
    for seam in range(grid.cols - 1):
        x = (seam + 1) * grid.cell_width
        assert same(left[:, :, :, seam], images[..., x - thickness : x])
        assert same(right[:, :, :, seam], images[..., x : x + thickness])


def test_a_crop_is_a_copy():
    images = np.zeros((1, 1, 4, 4))
    Grid(2, 2, 4, 4).crop(images, 0)[:] = 1
    assert images.sum() == 0


@given(st.integers(2, 9), st.integers(1, 60))
@settings(max_examples=50)
def test_a_size_that_does_not_divide_names_the_nearest_ones(parts, size):
    if size % parts == 0:
        assert Grid(parts, 1, size, 1).cell_height == size // parts
        return
    nearest = [s for s in (size - size % parts, size - size % parts + parts) if s > 0]
    for make, name in ((lambda: Grid(parts, 1, size, 1), "height"), (lambda: Grid(1, parts, 1, size), "width")):
        with pytest.raises(GridError) as error:
            make()
        assert re.findall(r"\d+", str(error.value).split("nearest sizes")[1]) == [str(s) for s in nearest]
        assert str(error.value).startswith(f"{name} {size} ")


@pytest.mark.parametrize("wrong", [0, -1, 2.0, True, "2", None])
@pytest.mark.parametrize("name", ["rows", "cols", "height", "width"])
def test_sizes_are_whole_numbers_from_one(name, wrong):
    with pytest.raises(GridError, match=f"{name} is "):
        Grid(**{"rows": 1, "cols": 1, "height": 8, "width": 8, name: wrong})


@pytest.mark.parametrize("location", [-1, 6, 99])
def test_a_location_outside_is_refused_everywhere(location):
    grid, images = Grid(2, 3, 4, 6), np.zeros((2, 1, 4, 6))
    for attempt in (
        lambda: grid.crop(images, location),
        lambda: grid.span(location),
        lambda: grid.members(torch.tensor([0, location]), (1, 1)),
        lambda: grid.check_locations(np.array([location])),
    ):
        with pytest.raises(GridError, match=f"location {location} .*0 to 5"):
            attempt()


def test_a_window_that_leaves_the_image_is_refused():
    grid, images = Grid(2, 3, 4, 6), np.zeros((1, 1, 4, 6))
    for location in (2, 3, 5):  # the last column, the last row, both
        with pytest.raises(GridError, match=f"location {location} does not fit a window of 2 x 2"):
            grid.crop(images, location, (2, 2))
    for window in ((3, 1), (1, 4), (0, 1), (1, -1)):
        with pytest.raises(GridError, match="does not fit a grid of 2 x 3"):
            grid.window(window)
        with pytest.raises(GridError, match="does not fit a grid of 2 x 3"):
            grid.window_locations(window)


def test_arrays_of_another_shape_are_refused():
    grid = Grid(2, 3, 4, 6)
    for shape in ((1, 1, 6, 4), (1, 4, 6), (1, 1, 4, 12)):
        with pytest.raises(GridError, match=re.escape("(B, C, 4, 6)")):
            grid.crop_all(np.zeros(shape))
        with pytest.raises(GridError, match=re.escape("(B, C, 4, 6)")):
            grid.seam_lines(torch.zeros(shape))
    for shape in ((1, 5, 1, 2, 2), (1, 6, 1, 2, 3), (6, 1, 2, 2)):
        with pytest.raises(GridError, match=re.escape("(B, 6, C, 2, 2)")):
            grid.stitch(np.zeros(shape))
    for thickness in (0, 3):
        with pytest.raises(GridError, match="give 1 to 2"):
            grid.seam_lines(np.zeros((1, 1, 4, 6)), thickness)


def test_a_grid_error_is_a_value_error():
    assert issubclass(GridError, MagicalError) and issubclass(MagicalError, ValueError)


@pytest.mark.parametrize(
    ("grid", "tile"),
    [
        (Grid(64, 64, 16384, 16384), (256, 256)),  # a sub-region
        (Grid(4, 3, 604, 453), (160, 160)),  # to a multiple of 16
        (Grid(64, 64, 2048, 2048), (128, 128)),  # four by four small ones
        (Grid(8, 8, 192, 240), (144, 160)),
        (Grid(2, 2, 32, 32), (32, 32)),  # no larger than the image
        (Grid(1, 2, 2048, 2048), (512, 1024)),  # a part of one
    ],
)
def test_the_tiles_of_a_file(grid, tile):
    assert file_tile(grid) == tile


def test_rectangles_cover_the_pixels_once():
    covered = np.zeros((10, 7), int)
    for top, left, height, width in rectangles(10, 7, (4, 3)):
        covered[top : top + height, left : left + width] += 1
    assert (covered == 1).all()
    assert list(rectangles(4, 5, (3, 4))) == [(0, 0, 3, 4), (0, 4, 3, 1), (3, 0, 1, 4), (3, 4, 1, 1)]
