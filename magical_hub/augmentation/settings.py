"""The arguments of `augment_dataset`, checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from magical_hub.errors import ConfigError, check_number
from magical_hub.seeds import whole_number

if TYPE_CHECKING:
    from magical_hub.data.columns import Columns

Engine = Literal["local", "ray"]
Filter = Callable[[np.ndarray, Sequence[dict[str, Any]]], Any]
"""From images (N, H, W) or (N, H, W, C) uint8 of one size, as they were generated or painted, and their annotations to
N bools, true where one is kept; or to N strings, why it is dropped, and "" where it is kept."""
Keep = Literal["verified", "all"] | Filter


@dataclass(frozen=True)
class Settings:
    """The arguments of `augment_dataset`, checked.

    Attributes:
        num_images: synthetic rows in the result.
        image_column: column of the images.
        label_column: column of the classes to generate, matched by name: the checkpoint's image classes, or its
            defects and one more name, which stands for none. Only classes that occur are generated. None leaves the
            classes to the checkpoint.
        objects_column: column of boxes x, y, width, height in pixels; auto finds it, None leaves it null.
        mask_column: column of masks; auto finds it, None leaves it null.
        mask_values: names of the classes that values of the masks stand for, as {1: "dark", 2: "crack"}; None finds
            out what they mean (see data/masks.py). Synthetic masks have the same values.
        balance: make most of what is rare, so that the classes come as near to each other as they can; of a stream,
            whose counts are not known, as many of each. Otherwise as the dataset has them (of a stream: the
            checkpoint).
        seed: image i depends only on the seed and i.
        batch_size: images at a time.
        num_proc: processes, this one alone unless given; a script with more needs `if __name__ == "__main__":`. With
            the engine ray, actors of a core (or a GPU) each, all that there are unless given.
        keep: verified drops images that do not show their class or defect (without a verifier in the checkpoint all
            count as verified), all drops none; in Python also a filter (see `augmentation.QualityFilter`).
        provenance: three more columns: synthetic (bool), source (checkpoint and a hash of its weights), seed. Of a
            DatasetDict only the split "train" has them.
        probability: of a stream alone: the share of synthetic rows, as long as there are rows of both.
        engine: ray makes the same rows on a Ray cluster (extra ray); not for a stream.
        ray_address: HOST:PORT of the cluster that this machine is in, or auto. Unless given, the cluster that this
            process is connected to or that RAY_ADDRESS names, else a new one on this machine.

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

    def columns(self, features: Any, painted: bool = False, reference: str | None = None) -> Columns:
        """The columns of a dataset with these features, found and checked.

        Args:
            features: the dataset's.
            painted: whether defects are painted, which needs no class of the image: the default may be missing.
            reference: the column of references.

        Raises:
            DataError: where one is missing or holds something else.
        """
        from magical_hub.data.columns import find_columns  # here, since the command starts without Pillow

        label = self.label_column
        if painted and label == "label" and label not in features:
            label = None
        return find_columns(features, self.image_column, label, self.objects_column, self.mask_column, reference)

    def __post_init__(self) -> None:
        for name in ("num_images", "batch_size", "num_proc"):
            if getattr(self, name) is not None:
                check_number(name, getattr(self, name), at_least=1, whole=True)
        whole_number(self.seed)
        check_number("probability", self.probability, above=0, below=1)
        if self.keep not in ("verified", "all") and not callable(self.keep):
            raise ConfigError(f"keep is {self.keep!r}: give 'verified', 'all' or a filter")
        if self.engine not in get_args(Engine):
            raise ConfigError(f"engine is {self.engine!r}: give 'local' or 'ray'")
        if self.ray_address is not None and self.engine != "ray":
            raise ConfigError("ray_address is for the engine 'ray': give that, or leave the address out")
