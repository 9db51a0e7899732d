"""The geometry of sub-regions: every crop, stitch, window, seam and box of the program comes from here.

An image of H x W pixels is cut into R rows and K columns of equal sub-regions of h x w pixels. A location is the
row-major number of a sub-region, 0 .. R*K-1. A window is a block of neighbouring sub-regions and is named by the
location of its top-left one. Arrays may be torch tensors or NumPy arrays: what goes in comes out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from magical_hub.errors import GridError

if TYPE_CHECKING:
    import torch

    Array = TypeVar("Array", np.ndarray, torch.Tensor)
else:
    Array = TypeVar("Array")

Window = tuple[int, int]


@dataclass(frozen=True)
class Grid:
    """A grid of `rows` x `cols` sub-regions over an image of `height` x `width` pixels.

    Raises:
        GridError: where a number is below 1, or the grid does not divide the image; it names the nearest sizes
            that work.
    """

    rows: int
    cols: int
    height: int
    width: int

    def __post_init__(self) -> None:
        for name in ("rows", "cols", "height", "width"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
                raise GridError(f"{name} is {value!r}: give a whole number of at least 1")
        for size, parts, name, along in (
            (self.height, self.rows, "height", "rows"),
            (self.width, self.cols, "width", "columns"),
        ):
            if size % parts:
                below, above = size // parts * parts, (size // parts + 1) * parts
                nearest = " or ".join(str(s) for s in (below, above) if s)
                raise GridError(f"{name} {size} cannot be cut into {parts} {along}: the nearest sizes are {nearest}")

    @property
    def cell_height(self) -> int:
        """Height of a sub-region in pixels."""
        return self.height // self.rows

    @property
    def cell_width(self) -> int:
        """Width of a sub-region in pixels."""
        return self.width // self.cols

    @property
    def num_locations(self) -> int:
        """How many sub-regions the image has."""
        return self.rows * self.cols

    def window(self, window: Window) -> Grid:
        """The grid of a window alone: `window` sub-regions of this grid's size."""
        rows, cols = self._checked_window(window)
        return Grid(rows, cols, rows * self.cell_height, cols * self.cell_width)

    def window_locations(self, window: Window) -> np.ndarray:
        """Locations (int64, one per window) of all windows of `window` sub-regions that slide by one, row-major."""
        rows, cols = self._checked_window(window)
        tops, lefts = np.arange(self.rows - rows + 1), np.arange(self.cols - cols + 1)
        return (tops[:, None] * self.cols + lefts[None, :]).reshape(-1)

    def members(self, locations: Array, window: Window) -> Array:
        """Locations of the sub-regions in each window: (B,) -> (B, window rows * window cols), row-major.

        Raises:
            GridError: where a window would leave the image (see `check_locations`).
        """
        rows, cols = self._checked_window(window)
        self.check_locations(locations, window)
        numbers: Any = np.arange(rows * cols)
        if not isinstance(locations, np.ndarray):
            import torch  # not before there is a tensor: it takes a second

            numbers = torch.arange(rows * cols, device=locations.device)
        return locations[:, None] + (numbers // cols * self.cols + numbers % cols)

    def check_locations(self, locations: Array, window: Window = (1, 1)) -> None:
        """Raise a GridError unless every location (and the window that starts there) lies in the image.

        Those on another device than the CPU are not read, since the host would have to wait for the device.
        """
        rows, cols = self._checked_window(window)
        if not isinstance(locations, np.ndarray) and locations.device.type != "cpu":
            return
        wrong = (
            (locations < 0) | (locations // self.cols > self.rows - rows) | (locations % self.cols > self.cols - cols)
        )
        if bool(wrong.any()):
            first = int(locations[wrong][0])
            raise GridError(
                f"location {first} does not fit a window of {rows} x {cols} in a grid of {self.rows} x {self.cols}: "
                f"give locations from 0 to {self.num_locations - 1} whose window stays inside"
            )

    def crop(self, images: Array, locations: Array | int, window: Window = (1, 1)) -> Array:
        """psi(x, c'): the sub-region (or window) at a location of each image.

        Args:
            images: (B, C, H, W).
            locations: (B,), one per image, or one int for all.
            window: rows and columns of sub-regions to take from that location on.

        Returns:
            (B, C, h * window rows, w * window cols), a copy.
        """
        parts = self._split(images)
        many: Any = locations
        if isinstance(locations, (int, np.integer)):
            many = np.full(images.shape[0], locations)
        members = self.members(many, window)
        which = np.arange(images.shape[0])[:, None]
        cells = parts[which, :, members // self.cols, :, members % self.cols]  # (B, n, C, h, w): indices come first
        return self.window(window).stitch(cells)

    def span(self, location: int, window: Window = (1, 1)) -> tuple[slice, slice]:
        """The pixel rows and columns that a sub-region (or window) covers, as slices."""
        rows, cols = self._checked_window(window)
        self.check_locations(np.asarray([location]), window)
        row, col = divmod(location, self.cols)
        return (
            slice(row * self.cell_height, (row + rows) * self.cell_height),
            slice(col * self.cell_width, (col + cols) * self.cell_width),
        )

    def check_rectangle(self, top: int, left: int, height: int, width: int) -> None:
        """Raise a GridError unless a rectangle of pixels lies in the image."""
        if not all(isinstance(number, (int, np.integer)) for number in (top, left, height, width)):
            raise GridError(f"a rectangle is {(top, left, height, width)}: give whole numbers of pixels")
        if not (0 <= top < top + height <= self.height and 0 <= left < left + width <= self.width):
            raise GridError(
                f"a rectangle of {height} x {width} px from row {top} and column {left} on leaves the image of "
                f"{self.height} x {self.width}: give one inside"
            )

    def cover(self, top: int, left: int, height: int, width: int) -> tuple[int, Window]:
        """The smallest window of sub-regions that covers a rectangle of pixels: its location, and its size."""
        self.check_rectangle(top, left, height, width)
        first_row, first_col = top // self.cell_height, left // self.cell_width
        last_row, last_col = (top + height - 1) // self.cell_height, (left + width - 1) // self.cell_width
        return first_row * self.cols + first_col, (last_row - first_row + 1, last_col - first_col + 1)

    def largest_window(self, most: int) -> Window:
        """The largest window that tiles the image and has at most so many sub-regions; of equals the squarest."""
        windows = [
            (rows, cols)
            for rows in range(1, self.rows + 1)
            for cols in range(1, self.cols + 1)
            if self.rows % rows == 0 and self.cols % cols == 0 and rows * cols <= most
        ]
        return max(windows, key=lambda window: (window[0] * window[1], -abs(window[0] - window[1])))

    def tiles(self, window: Window) -> tuple[Grid, np.ndarray]:
        """The windows that tile the image: the grid that they are the sub-regions of, and their locations (int64).

        Raises:
            GridError: where the windows do not tile the image.
        """
        rows, cols = self._checked_window(window)
        if self.rows % rows or self.cols % cols:
            raise GridError(f"windows of {rows} x {cols} do not tile a grid of {self.rows} x {self.cols}")
        coarse = Grid(self.rows // rows, self.cols // cols, self.height, self.width)
        tops, lefts = np.arange(0, self.rows, rows), np.arange(0, self.cols, cols)
        return coarse, (tops[:, None] * self.cols + lefts[None, :]).reshape(-1)

    def crop_all(self, images: Array) -> Array:
        """Every sub-region of every image: (B, C, H, W) -> (B, R*K, C, h, w). Undone by `stitch`."""
        parts = self._split(images)  # (B, C, R, h, K, w)
        cells = parts.swapaxes(1, 2).swapaxes(2, 4)  # (B, R, K, h, C, w)
        return cells.swapaxes(3, 4).reshape(-1, self.num_locations, images.shape[1], self.cell_height, self.cell_width)

    def stitch(self, sub_regions: Array) -> Array:
        """Join sub-regions in the order of their locations: (B, R*K, C, h, w) -> (B, C, H, W)."""
        expected = (self.num_locations, self.cell_height, self.cell_width)
        if len(sub_regions.shape) != 5 or (sub_regions.shape[1], *sub_regions.shape[3:]) != expected:
            raise GridError(
                f"sub-regions of shape {tuple(sub_regions.shape)} cannot be stitched: "
                f"give (B, {expected[0]}, C, {expected[1]}, {expected[2]})"
            )
        batch, _, channels, height, width = sub_regions.shape
        cells = sub_regions.reshape(batch, self.rows, self.cols, channels, height, width)
        cells = cells.swapaxes(3, 4).swapaxes(2, 4)  # (B, R, C, h, K, w)
        return cells.swapaxes(1, 2).reshape(batch, channels, self.height, self.width)

    def seam_lines(self, images: Array, thickness: int = 1) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        """The pixel lines that meet at the inner seams of images (B, C, H, W).

        Returns:
            ((above, below), (left, right)): the last `thickness` lines of each band of sub-regions and the first
            `thickness` lines of the next: (B, C, R-1, thickness, W) at the seams between rows, and
            (B, C, H, K-1, thickness) at the seams between columns. Views, not copies, where the layout allows.
        """
        if not 1 <= thickness <= min(self.cell_height, self.cell_width):
            raise GridError(
                f"thickness {thickness} does not fit sub-regions of {self.cell_height} x {self.cell_width}: "
                f"give 1 to {min(self.cell_height, self.cell_width)}"
            )
        self.check_images(images)
        batch, channels = images.shape[:2]
        bands = images.reshape(batch, channels, self.rows, self.cell_height, self.width)
        strips = images.reshape(batch, channels, self.height, self.cols, self.cell_width)
        return (
            (bands[:, :, :-1, -thickness:], bands[:, :, 1:, :thickness]),
            (strips[:, :, :, :-1, -thickness:], strips[:, :, :, 1:, :thickness]),
        )

    def boxes(self) -> np.ndarray:
        """The box of each sub-region in pixels: (R*K, 4) int64 of left, top, right, bottom (Pillow's order)."""
        rows, cols = np.divmod(np.arange(self.num_locations), self.cols)
        left, top = cols * self.cell_width, rows * self.cell_height
        return np.stack([left, top, left + self.cell_width, top + self.cell_height], axis=1)

    def _split(self, images: Array) -> Array:
        self.check_images(images)
        batch, channels = images.shape[:2]
        return images.reshape(batch, channels, self.rows, self.cell_height, self.cols, self.cell_width)

    def check_images(self, images: Array) -> None:
        """Raise a GridError unless images are (B, C, H, W) of this grid's size."""
        if len(images.shape) != 4 or tuple(images.shape[2:]) != (self.height, self.width):
            raise GridError(
                f"images of shape {tuple(images.shape)} do not fit this grid: give (B, C, {self.height}, {self.width})"
            )

    def _checked_window(self, window: Window) -> Window:
        rows, cols = window
        if not (1 <= rows <= self.rows and 1 <= cols <= self.cols):
            raise GridError(
                f"a window of {rows} x {cols} does not fit a grid of {self.rows} x {self.cols}: "
                f"give 1 x 1 to {self.rows} x {self.cols}"
            )
        return rows, cols
