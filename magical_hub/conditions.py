"""What a user asks of images, their classes and their defects, as the numbers that a generator takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from magical_hub.errors import ConfigError, GridError
from magical_hub.grid import Grid


class Conditional(Protocol):
    """A generator's grid, and its configuration: names and frequencies of classes and defects."""

    grid: Grid

    @property
    def config(self) -> Any:
        """As `MagicalGenerator` has it."""


Defects = Mapping[tuple[int, int], int | str] | np.ndarray | torch.Tensor
"""What an image shows: {(row, column): name or number}, or a map (R, K) of numbers; 0 is none, 1 the first class."""


@dataclass(frozen=True)
class Asked:
    """What N images are made from, on the CPU."""

    latents: torch.Tensor
    """(N, L)."""
    labels: torch.Tensor | None
    """(N,) int64 classes."""
    defects: torch.Tensor | None
    """(N, R, K) int64 fields of defects."""
    seeds: torch.Tensor
    """(N,) int64, of the noise."""

    def cut(self, which: slice | torch.Tensor) -> Asked:
        """Of some of the images."""
        labels, defects = (None if values is None else values[which] for values in (self.labels, self.defects))
        return Asked(self.latents[which], labels, defects, self.seeds[which])


def ask(generator: Conditional, seeds: torch.Tensor, class_labels: Any = None, defects: Any = None) -> Asked:
    """What each image draws from its own seed, a latent, then a class, then its defects; or what was asked for.

    Args:
        generator: whose classes, defects and frequencies count.
        seeds: (N,) int64.
        class_labels: as `class_numbers` takes them; None draws.
        defects: as `defect_fields` takes them; None draws.

    Raises:
        ConfigError, GridError: where there is nothing of the kind.
    """
    config = generator.config
    latents, labels, chances = [], [], []
    for seed in seeds.tolist():
        source = torch.Generator().manual_seed(seed)
        latents.append(torch.randn(config.latent_dim, generator=source))
        if config.num_classes:
            frequencies = config.class_frequencies or [1.0] * config.num_classes
            labels.append(torch.multinomial(torch.tensor(frequencies, dtype=torch.float32), 1, generator=source))
        if config.num_defects:
            chances.append(torch.rand(generator.grid.num_locations, generator=source))
    classes = torch.cat(labels) if labels else None
    if class_labels is not None:
        classes = class_numbers(generator, class_labels, len(seeds))
    fields = None
    if defects is not None:
        fields = defect_fields(generator, defects, len(seeds))
    elif chances:
        fields = drawn_fields(generator, classes, torch.stack(chances))
    return Asked(torch.stack(latents), classes, fields, seeds)


def class_numbers(
    generator: Conditional, class_labels: Sequence[int | str] | int | str | np.ndarray | torch.Tensor, count: int
) -> torch.Tensor:
    """Classes by name or number, for all or one an image: (count,) int64.

    Raises:
        ConfigError: where there is no such class.
    """
    config = generator.config
    if not config.num_classes:
        raise ConfigError("this checkpoint has no classes: leave class_labels out")
    if isinstance(class_labels, (np.integer, np.ndarray, torch.Tensor)):
        class_labels = class_labels.tolist()
    many: list[int | str] = [class_labels] * count if isinstance(class_labels, (int, str)) else list(class_labels)
    names = config.class_names or [str(number) for number in range(config.num_classes)]
    return torch.tensor([_number(label, names, "class") for label in many])


def defect_fields(generator: Conditional, defects: Defects | Sequence[Defects | None], count: int) -> torch.Tensor:
    """Fields of defects, one for all or one an image: (count, R, K) int64.

    Raises:
        ConfigError: where there is no such defect, or too few or too many fields.
        GridError: where a place lies outside the grid.
    """
    if not generator.config.num_defects:
        raise ConfigError("this checkpoint was trained without defects: leave defects out")
    if isinstance(defects, (Mapping, np.ndarray, torch.Tensor)):
        one = isinstance(defects, Mapping) or defects.ndim == 2
        many: list[Any] = [defects] * count if one else list(defects)
    else:
        many = list(defects)
    if len(many) != count:
        raise ConfigError(f"defects are for {len(many)} images, and {count} are to be made: give one field an image")
    return torch.stack([_field(generator, {} if defect is None else defect) for defect in many])


def drawn_fields(generator: Conditional, labels: torch.Tensor | None, chances: torch.Tensor) -> torch.Tensor:
    """Fields by how often each defect stood at each location of the training images of a class: (N, R, K) int64.

    Args:
        generator: whose config has the frequencies.
        labels: (N,) classes, or None without classes.
        chances: (N, R*K) uniform in [0, 1).
    """
    grid, config = generator.grid, generator.config
    frequencies = torch.tensor(config.defect_frequencies or 0.0, dtype=torch.float64)
    frequencies = frequencies.expand(max(1, config.num_classes), grid.num_locations, config.num_defects)
    upper = frequencies[torch.zeros(len(chances), dtype=torch.long) if labels is None else labels].cumsum(2)
    number = (chances[:, :, None] >= upper).sum(2)
    return torch.where(number < config.num_defects, number + 1, 0).unflatten(1, (grid.rows, grid.cols))


def defect_name(generator: Conditional, number: int) -> str:
    """The name of a defect, 1 the first."""
    names = generator.config.defect_names
    return names[number - 1] if names else str(number)


def _field(generator: Conditional, defects: Defects) -> torch.Tensor:
    grid, config = generator.grid, generator.config
    names = config.defect_names or [str(number + 1) for number in range(config.num_defects)]
    if not isinstance(defects, Mapping):
        field = torch.as_tensor(defects).long()
        if tuple(field.shape) != (grid.rows, grid.cols):
            raise ConfigError(f"a map of defects has the shape {tuple(field.shape)}: give ({grid.rows}, {grid.cols})")
        if field.min() < 0 or field.max() > config.num_defects:
            raise ConfigError(f"a map of defects holds {int(field.min())} to {int(field.max())}: {_known(names)}")
        return field
    field = torch.zeros(grid.rows, grid.cols, dtype=torch.long)
    for (row, col), defect in defects.items():
        if not (0 <= row < grid.rows and 0 <= col < grid.cols):
            raise GridError(
                f"there is no sub-region ({row}, {col}) for a defect in a grid of {grid.rows} x {grid.cols}: "
                "give (row, column), from 0"
            )
        field[row, col] = _number(defect, ["none", *names], "defect")
    return field


def _number(label: int | str, names: Sequence[str], kind: str) -> int:
    if label in names:
        return names.index(str(label))
    if str(label).isdigit() and int(label) < len(names):
        return int(label)
    raise ConfigError(f"there is no {kind} {label!r}: give one of {', '.join(names)}, or its number")


def _known(names: Sequence[str]) -> str:
    return "give 0 (none) to " + ", ".join(f"{number} ({name})" for number, name in enumerate(names, 1))
