"""The arguments of `augment_dataset`, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from magical_hub.augmentation.keeping import Keep
from magical_hub.errors import ConfigError, check_number
from magical_hub.seeds import whole_number

Engine = Literal["local", "ray"]


@dataclass(frozen=True)
class Settings:
    """The arguments of `augment_dataset`, checked.

    Raises:
        ConfigError: where one is out of range.
    """

    num_images: int
    image_column: str = "image"
    label_column: str | None = "label"
    objects_column: str | None = "auto"
    mask_column: str | None = "auto"
    mask_values: Mapping[int, str] | None = None
    balance: bool = True
    seed: int = 0
    batch_size: int = 8
    num_proc: int | None = None
    keep: Keep = "verified"
    provenance: bool = False
    probability: float = 0.5
    engine: Engine = "local"
    ray_address: str | None = None

    def __post_init__(self) -> None:
        for name in ("num_images", "batch_size", "num_proc"):
            if getattr(self, name) is not None:
                check_number(name, getattr(self, name), at_least=1)
        whole_number(self.seed)
        check_number("probability", self.probability, above=0, below=1)
        if self.keep not in ("verified", "all") and not callable(self.keep):
            raise ConfigError(f"keep is {self.keep!r}: give 'verified', 'all' or a filter")
        if self.engine not in get_args(Engine):
            raise ConfigError(f"engine is {self.engine!r}: give 'local' or 'ray'")
        if self.ray_address is not None and self.engine != "ray":
            raise ConfigError("ray_address is for the engine 'ray': give that, or leave the address out")
