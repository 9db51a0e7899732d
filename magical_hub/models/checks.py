"""Checks of the arguments of every network."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Real
from typing import Any

import torch

from magical_hub.errors import ConfigError
from magical_hub.grid import Grid

BOUNDS = {
    "rows": (1, 1024),
    "cols": (1, 1024),
    "image_size": (1, 2**20),
    "latent_dim": (1, 2**14),
    "style_dim": (1, 2**14),
    "width": (1, 2**13),
    "base_width": (1, 2**13),
    "max_width": (1, 2**13),
    "num_levels": (2, 8),
    "noise_channels": (0, 2**10),
    "num_classes": (0, 10_000),
    "num_defects": (0, 1000),
}
"""What each number of a network may be. A configuration may come from a stranger, so all are bounded before anything
is built: far beyond what anyone trains, and far below what brings a machine down."""
LEAST_SHARE = 1e-6
"""The sum of the shares that classes are drawn by, which float32 can still draw by."""


def check_config(config: Mapping[str, Any]) -> Grid:
    """The grid of a network, once the configuration that its constructor was given is checked.

    Raises:
        ConfigError: where a number is out of its range, names or frequencies are of another shape, channels are not 1
            or 3, or sub-regions are under 16 px.
        GridError: where the grid does not divide the image.
    """
    check_sizes(**{name: value for name, value in config.items() if name in BOUNDS})
    grid = Grid(config["rows"], config["cols"], *config["image_size"])
    if min(grid.cell_height, grid.cell_width) < 16:
        raise ConfigError(
            f"sub-regions of {grid.cell_height} x {grid.cell_width} px are too small: "
            "give a larger image or fewer rows and columns, for 16 px or more"
        )
    if config["channels"] not in (1, 3):
        raise ConfigError(f"channels is {config['channels']}: give 1 (grey) or 3 (RGB)")
    classes, defects = config["num_classes"], config["num_defects"]
    check_names("class_names", config.get("class_names"), classes)
    check_range("intensity_range", config.get("intensity_range"))
    check_names("defect_names", config.get("defect_names"), defects)
    check_shares("class_frequencies", config.get("class_frequencies"), classes)
    check_shares("defect_frequencies", config.get("defect_frequencies"), max(1, classes), grid.num_locations, defects)
    return grid


def check_sizes(**sizes: Any) -> None:
    """Raise a ConfigError unless all are whole numbers within their bounds; `image_size` is a pair of them."""
    for name, value in sizes.items():
        least, most = BOUNDS[name]
        numbers = value if name == "image_size" and isinstance(value, (tuple, list)) else [value]
        right = len(numbers) == (2 if name == "image_size" else 1)
        for number in numbers:
            right &= isinstance(number, int) and not isinstance(number, bool) and least <= number <= most
        if not right:
            what = "two whole numbers" if name == "image_size" else "a whole number"
            raise ConfigError(f"{name} is {str(value)[:40]}: give {what} from {least} to {most}")


def check_truncation(truncation_psi: Any) -> None:
    """Raise a ConfigError unless it is a number from 0 (the mean style) to 2; 1 is as trained."""
    right = isinstance(truncation_psi, Real) and not isinstance(truncation_psi, bool)
    if not right or not 0 <= truncation_psi <= 2:
        raise ConfigError(f"truncation_psi is {truncation_psi!r}: give 0 (the mean) to 2 (spread), 1 is as trained")


def check_class_labels(class_labels: torch.Tensor | None, num_classes: int) -> None:
    """Raise a ConfigError unless labels are given just where the network has classes."""
    if (class_labels is None) != (num_classes == 0):
        advice = "give class_labels" if num_classes else "leave class_labels out"
        raise ConfigError(f"this network has {num_classes} classes: {advice}")


def check_names(what: str, names: Any, count: int) -> None:
    """Raise a ConfigError unless every class has a name, or none has; `what` is the name of the argument."""
    if names is None:
        return
    if not isinstance(names, (tuple, list)) or not all(isinstance(name, str) for name in names):
        raise ConfigError(f"{what} is {str(names)[:40]}: give a list of names")
    if len(names) != count:
        raise ConfigError(f"{what} has {len(names)} names for {count} classes: give one per class")
    if len({*names}) < count:
        raise ConfigError(f"{what} has a name twice: give each class one of its own")


def check_range(what: str, values: Any) -> None:
    """Raise a ConfigError unless `values` are None, or two finite numbers, the smaller first."""
    if values is None:
        return
    numbers = values if isinstance(values, (tuple, list)) and len(values) == 2 else []
    finite = [number for number in numbers if isinstance(number, (int, float)) and math.isfinite(number)]
    if len(finite) != 2 or finite[0] >= finite[1]:
        raise ConfigError(f"{what} is {str(values)[:40]}: give two numbers, the smaller first")


def check_shares(what: str, shares: Any, *shape: int) -> None:
    """Raise a ConfigError unless `shares` are None, or lists of lists of this shape of numbers from 0 to 1."""
    if shares is None:
        return
    parts = [shares]
    for size in shape:
        if not all(isinstance(part, (tuple, list)) and len(part) == size for part in parts):
            raise ConfigError(f"{what} are not of the shape {shape}: give lists of that many")
        parts = [value for part in parts for value in part]
    if not all(isinstance(share, (int, float)) and 0 <= share <= 1 for share in parts):
        raise ConfigError(f"{what} hold something that is not a share: give numbers from 0 to 1")
    if len(shape) == 1 and parts and sum(parts) < LEAST_SHARE:
        raise ConfigError(f"{what} are all 0, so nothing can be drawn by them: give the share of each class")


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
