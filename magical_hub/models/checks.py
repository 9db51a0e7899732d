"""What every network asks of its arguments."""

from __future__ import annotations

import torch

from magical_hub.errors import ConfigError
from magical_hub.grid import Grid


def check_sub_region(grid: Grid, channels: int) -> tuple[int, int]:
    """The size of a sub-region, where a network can be built for it.

    Raises:
        ConfigError: for sub-regions under 16 px, or channels other than 1 and 3.
    """
    if min(grid.cell_height, grid.cell_width) < 16:
        raise ConfigError(
            f"sub-regions of {grid.cell_height} x {grid.cell_width} px are too small: "
            "give a larger image or fewer rows and columns, for 16 px or more"
        )
    if channels not in (1, 3):
        raise ConfigError(f"channels is {channels}: give 1 (grey) or 3 (RGB)")
    return grid.cell_height, grid.cell_width


def check_class_labels(class_labels: torch.Tensor | None, num_classes: int) -> None:
    """Raise a ConfigError unless labels are given just where the network has classes."""
    if (class_labels is None) != (num_classes == 0):
        mend = "give class_labels" if num_classes else "leave class_labels out"
        raise ConfigError(f"this network has {num_classes} classes: {mend}")


def check_names(what: str, names: list[str] | None, count: int) -> None:
    """Raise a ConfigError unless every class has a name, or none has; `what` is the name of the argument."""
    if names is not None and len(names) != count:
        raise ConfigError(f"{what} has {len(names)} names for {count} classes: give one a class")


def check_defect_labels(defect_labels: torch.Tensor | None, num_defects: int, grid: Grid) -> None:
    """Raise a ConfigError where a field of defects is given to a network without any, or has another grid's shape."""
    if defect_labels is None:
        return
    if not num_defects:
        raise ConfigError("this network was trained without defects: leave defect_labels out")
    if tuple(defect_labels.shape[1:]) != (grid.rows, grid.cols):
        raise ConfigError(
            f"defect_labels have the shape {tuple(defect_labels.shape)}: give (B, {grid.rows}, {grid.cols})"
        )
