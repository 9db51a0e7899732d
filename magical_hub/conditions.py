"""Classes and defects as users name them, to the numbers that a generator takes; what is not given is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any, Protocol

import numpy as np
import torch

from magical_hub.errors import ConfigError, GridError
from magical_hub.grid import Grid

Defects = Mapping[tuple[int, int], int | str] | np.ndarray | torch.Tensor
"""Defects of an image: {(row, column): name or number}, or a map (R, K) of numbers; 0 is none, 1 the first class."""


class Conditional(Protocol):
    """A generator's grid, and its configuration: names and training frequencies of classes and defects."""

    grid: Grid

    @property
    def config(self) -> Any:
        """The configuration, as `MagicalGenerator` has it."""


@dataclass(frozen=True)
class LabelNames:
    """The names of a generator's image classes and of its defects; numbers where the training data had no names."""

    classes: tuple[str, ...]
    defects: tuple[str, ...]
    """The names of defect 1, 2 ...; 0, no defect, is not among them."""

    @classmethod
    def of(cls, config: Any) -> LabelNames:
        """The names in a generator's configuration."""
        classes = config.class_names or [str(number) for number in range(config.num_classes)]
        defects = config.defect_names or [str(number + 1) for number in range(config.num_defects)]
        return cls(tuple(classes), tuple(defects))

    def __str__(self) -> str:
        kinds = {"classes": self.classes, "defects": self.defects}
        return " and ".join(f"the {kind} {', '.join(names)}" for kind, names in kinds.items() if names) or "no classes"


@dataclass(frozen=True)
class Conditioning:
    """The inputs that N images are generated from, on the CPU."""

    latents: torch.Tensor
    """(N, L)."""
    class_labels: torch.Tensor | None
    """(N,) int64."""
    defect_labels: torch.Tensor | None
    """(N, R, K) int64 defect maps."""
    seeds: torch.Tensor
    """(N,) int64, of the pixel noise."""

    def __getitem__(self, which: slice | torch.Tensor) -> Conditioning:
        """The conditioning of some of the images."""
        labels, maps = (None if x is None else x[which] for x in (self.class_labels, self.defect_labels))
        return Conditioning(self.latents[which], labels, maps, self.seeds[which])


def draw_conditioning(
    generator: Conditional, seeds: torch.Tensor, class_labels: Any = None, defects: Any = None
) -> Conditioning:
    """From each image's own seed a latent, then a class, then a defect map; classes and defects may be given instead.

    Args:
        generator: whose classes, defects and frequencies count.
        seeds: (N,) int64.
        class_labels: as `class_numbers` takes them; None draws by the training frequencies.
        defects: as `defect_maps` takes them; None draws by the training frequencies.

    Raises:
        ConfigError, GridError: where the generator has no such class, defect or sub-region.
    """
    config = generator.config
    latents, labels, chances = [], [], []
    for seed in seeds.tolist():
        source = torch.Generator().manual_seed(seed)
        latents.append(torch.randn(config.latent_dim, generator=source))
        if config.num_classes:
            frequencies = torch.tensor(_class_frequencies(config), dtype=torch.float32)
            labels.append(torch.multinomial(frequencies, 1, generator=source))
        if config.num_defects:
            chances.append(torch.rand(generator.grid.num_locations, generator=source))
    classes = torch.cat(labels) if labels else None
    if class_labels is not None:
        classes = class_numbers(generator, class_labels, len(seeds))
    maps = None
    if defects is not None:
        maps = defect_maps(generator, defects, len(seeds))
    elif chances:
        maps = _draw_defect_maps(generator, classes, torch.stack(chances))
    return Conditioning(torch.stack(latents), classes, maps, seeds)


def class_numbers(
    generator: Conditional, class_labels: Sequence[int | str] | int | str | np.ndarray | torch.Tensor, count: int
) -> torch.Tensor:
    """Classes by name or number, for all or one per image: (count,) int64.

    Raises:
        ConfigError: where there is no such class.
    """
    names = LabelNames.of(generator.config).classes
    if not names:
        raise ConfigError("this checkpoint has no classes: leave class_labels out")
    if isinstance(class_labels, (np.generic, np.ndarray, torch.Tensor)):
        class_labels = class_labels.tolist()
    labels: Any = class_labels
    many = list(labels) if is_one_each(labels) else [labels] * count
    if len(many) != count:
        raise ConfigError(f"class_labels are for {len(many)} images, and there are {count}: give one per image")
    return torch.tensor([_number(label, names, "class") for label in many])


def defect_maps(generator: Conditional, defects: Defects | Sequence[Defects | None], count: int) -> torch.Tensor:
    """Defect maps, one for all or one per image: (count, R, K) int64.

    Raises:
        ConfigError: where there is no such defect, or too few or too many maps.
        GridError: where a location is outside the grid.
    """
    if not generator.config.num_defects:
        raise ConfigError("this checkpoint was trained without defects: leave defects out")
    one = isinstance(defects, Mapping) or getattr(defects, "ndim", 0) == 2
    if not one and not is_one_each(defects):
        raise ConfigError(f"defects is {defects!r}: give {{(row, column): name or number}}, or a map of the grid")
    many: list[Any] = [defects] * count if one else list(defects)
    if len(many) != count:
        raise ConfigError(f"defects are for {len(many)} images, and num_images is {count}: give one map per image")
    return torch.stack([_defect_map(generator, {} if defect is None else defect) for defect in many])


def draw_location(config: Any, defect: str | None, seed: int) -> tuple[int, dict[tuple[int, int], str]]:
    """A class, and a sub-region for a defect, by how often the training images of that class had it there.

    Args:
        config: the generator's.
        defect: its name; None for an image without defects.
        seed: of the image.

    Returns:
        The number of the class (0 without classes), and the defects as a call of the pipeline takes them.
    """
    rng = np.random.default_rng(seed)
    shares = np.array(_class_frequencies(config))
    classes, locations = len(shares), config.rows * config.cols
    if defect is None:
        return int(rng.choice(classes, p=shares / shares.sum())), {}
    frequencies = np.ones((classes, locations))
    if config.defect_frequencies is not None:
        number = LabelNames.of(config).defects.index(defect)
        frequencies = np.array(config.defect_frequencies)[..., number].reshape(-1, locations)
    weights = (shares[:, None] * frequencies).reshape(-1)
    weights = weights if weights.any() else np.ones(classes * locations)  # never in the training images: anywhere
    label, location = divmod(int(rng.choice(len(weights), p=weights / weights.sum())), locations)
    return label, {divmod(location, config.cols): defect}


def _class_frequencies(config: Any) -> Sequence[float]:
    """How often each class occurs in the training set; all alike where that is not known; one for no classes."""
    frequencies: Sequence[float] = config.class_frequencies or [1.0] * max(1, config.num_classes)
    return frequencies


def _draw_defect_maps(
    generator: Conditional, class_labels: torch.Tensor | None, chances: torch.Tensor
) -> torch.Tensor:
    """Defect maps by how often the training images of a class had each defect at each location: (N, R, K) int64.

    Args:
        generator: whose configuration has the frequencies.
        class_labels: (N,), or None without classes.
        chances: (N, R*K) uniform in [0, 1).
    """
    grid, config = generator.grid, generator.config
    frequencies = torch.tensor(config.defect_frequencies or 0.0, dtype=torch.float64)
    frequencies = frequencies.expand(max(1, config.num_classes), grid.num_locations, config.num_defects)
    labels = torch.zeros(len(chances), dtype=torch.long) if class_labels is None else class_labels
    number = (chances[:, :, None] >= frequencies[labels].cumsum(2)).sum(2)
    return torch.where(number < config.num_defects, number + 1, 0).unflatten(1, (grid.rows, grid.cols))


def _defect_map(generator: Conditional, defects: Defects) -> torch.Tensor:
    grid, names = generator.grid, ["none", *LabelNames.of(generator.config).defects]
    if not isinstance(defects, Mapping):
        labels = _whole_numbers(defects)
        if tuple(labels.shape) != (grid.rows, grid.cols):
            raise ConfigError(f"a defect map has the shape {tuple(labels.shape)}: give ({grid.rows}, {grid.cols})")
        if labels.min() < 0 or labels.max() >= len(names):
            known = ", ".join(f"{number} ({name})" for number, name in enumerate(names))
            raise ConfigError(f"a defect map holds {int(labels.min())} to {int(labels.max())}: give {known}")
        return labels
    labels = torch.zeros(grid.rows, grid.cols, dtype=torch.long)
    for place, defect in defects.items():
        pair = isinstance(place, tuple) and len(place) == 2 and all(map(is_int64, place))
        if not pair or not (0 <= place[0] < grid.rows and 0 <= place[1] < grid.cols):
            raise GridError(
                f"there is no sub-region {place} for a defect in a grid of {grid.rows} x {grid.cols}: "
                "give (row, column), from 0"
            )
        labels[place] = _number(defect, names, "defect")
    return labels


def _whole_numbers(defects: Any) -> torch.Tensor:
    """A defect map as int64; one of floats (as `numpy.zeros` makes) must hold whole numbers."""
    try:
        numbers = np.asarray(defects.cpu() if isinstance(defects, torch.Tensor) else defects)
        if numbers.dtype.kind not in "iuf" or not (numbers == np.floor(numbers)).all():
            raise ValueError
    except ValueError as error:  # NumPy's for rows of different lengths
        raise ConfigError(
            "a defect map holds something else than whole numbers: 0 is none, 1 the first defect"
        ) from error
    return torch.from_numpy(numbers.astype(np.float64).clip(-(2**31), 2**31).astype(np.int64))


def is_one_each(values: Any) -> bool:
    """Whether an argument gives a value per image, in an order of its own, and not one for all."""
    dimensions = getattr(values, "ndim", None)  # of arrays, tensors and series
    if dimensions is not None:
        return bool(dimensions > 0)
    return isinstance(values, Sequence) and not isinstance(values, (str, bytes))


def is_int64(value: Any) -> bool:
    """Whether a value is a whole number that fits into 64 bits; a bool is none."""
    return isinstance(value, Integral) and not isinstance(value, bool) and -(2**63) <= int(value) < 2**63


def _number(label: int | str, names: Sequence[str], kind: str) -> int:
    if isinstance(label, str) and label in names:
        return names.index(label)
    number = str(label)
    if number.isascii() and number.isdigit() and int(number) < len(names):
        return int(number)
    raise ConfigError(f"there is no {kind} {label!r}: give one of {', '.join(names)}, or its number")
