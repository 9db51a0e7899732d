"""`MagicalTransform` as a transform of albumentations."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from torch.utils.data import get_worker_info

from magical_hub.augmentation.transform import MagicalTransform
from magical_hub.data.columns import read_objects
from magical_hub.errors import ConfigError
from magical_hub.extras import extra
from magical_hub.seeds import image_seed

with extra("albumentations"):
    import albumentations as A
    from albumentations.core.type_definitions import Targets

if TYPE_CHECKING:
    import datasets

    from magical_hub.defects.bank import DefectBank
    from magical_hub.pipeline import MagicalPipeline


class AlbumentationsTransform(A.DualTransform):
    """Paints defects on good images, or replaces images by synthetic ones; in an `A.Compose`, or alone.

    Targets are `image`, `mask` (of the values of the dataset's masks), `bboxes` with their labels, and the class of
    the image under the name of the dataset's label column. Boxes are added as A.Mosaic adds them: in albumentations'
    own form, their labels through the label field of `bbox_params`. Labels are the numbers (or names) that the
    dataset stores; lists of numbers come back as floats, as from every `A.Compose`.

    Random numbers come from the transform's own generators, which `A.Compose(seed=...)` and `set_random_seed` seed. In
    the workers of a DataLoader, torch's seed of the worker is mixed in: workers and epochs differ, and
    `torch.manual_seed` together with the seed of `A.Compose` gives the same again.

    Args:
        dataset, source, p, options: as of `MagicalTransform`.

    Raises:
        ConfigError, DataError, AugmentationError: as `MagicalTransform`; in a call, ConfigError where a target cannot
            be labelled right.
        MissingPackageError: without albumentations.
    """

    _targets = (Targets.IMAGE, Targets.MASK, Targets.BBOXES)

    def __init__(
        self, dataset: datasets.Dataset, source: MagicalPipeline | DefectBank, p: float = 0.5, **options: Any
    ) -> None:
        self._rows = MagicalTransform(dataset, source, p, **options)
        self._worker_seed: int | None = None  # that the generators belong to
        super().__init__(p=p)

    def set_random_seed(self, seed: int | None) -> None:
        """Seed the generators; in a worker of a DataLoader this seed alone decides."""
        super().set_random_seed(seed)
        self._worker_seed = getattr(get_worker_info(), "seed", None)

    def should_apply(self, force_apply: bool = False) -> bool:
        """Whether to change a sample. Generators that a worker has inherited are seeded first."""
        worker_seed = getattr(get_worker_info(), "seed", None)
        if worker_seed != self._worker_seed:
            seed = image_seed(int(self.random_generator.integers(2**62)), int(worker_seed or 0))
            self.set_random_state(np.random.default_rng(seed), random.Random(seed))
            self._worker_seed = worker_seed
        applies: bool = super().should_apply(force_apply)
        return applies

    @property
    def targets(self) -> dict[str, Callable[..., Any]]:
        """The function that changes each target."""
        targets: dict[str, Callable[..., Any]] = {
            "image": self.apply,
            "mask": self.apply_to_mask,
            "bboxes": self.apply_to_bboxes,
        }
        if self._rows.columns.label is not None:
            targets[self._rows.columns.label] = self.apply_to_class
        return targets

    @property
    def targets_as_params(self) -> list[str]:
        """The image must be there."""
        return ["image"]

    @classmethod
    def is_serializable(cls) -> bool:
        """False: it holds images, which YAML cannot."""
        return False

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        """The seed of the change, that of `bank.paint`, and the changed row; None where nothing changes."""
        columns = self._rows.columns
        left = [name for name in ("masks", "keypoints", "images", "volume", "volumes") if np.size(data.get(name, ()))]
        if left:
            raise ConfigError(
                f"AlbumentationsTransform cannot change {left[0]!r}: leave it out, or call another first"
            )
        row: dict[str, Any] = {columns.image: data["image"]}
        if data.get("bboxes") is not None:
            row[self._column("bboxes", columns.objects)] = [{"bbox": None, "category": None} for _ in data["bboxes"]]
        if data.get("mask") is not None:
            row[self._column("mask", columns.mask)] = data["mask"]
        if columns.label is not None and np.ndim(data.get(columns.label, ())) == 0:  # no labels of boxes
            row[columns.label] = data[columns.label]
        seed = int(self.random_generator.integers(2**62))
        changed = self._rows.change(row, seed)
        same = changed[columns.image] is row[columns.image]
        encoded = None if same or columns.objects not in row else self._encoded(changed, data)
        return {"seed": seed, "row": None if same else changed, "encoded": encoded}

    def apply(self, img: np.ndarray, *args: Any, **params: Any) -> np.ndarray:
        """The new image."""
        return img if params["row"] is None else np.asarray(params["row"][self._rows.columns.image])

    def apply_to_mask(self, mask: np.ndarray, *args: Any, **params: Any) -> np.ndarray:
        """The new mask, in the shape and type of the old one."""
        if params["row"] is None:
            return mask
        new = np.asarray(params["row"][self._rows.columns.mask])
        if new.size != mask.size:
            raise ConfigError(f"a mask has the shape {mask.shape} and the dataset's {new.shape}: give one of that")
        return new.reshape(mask.shape).astype(mask.dtype)

    def apply_to_bboxes(self, bboxes: np.ndarray, *args: Any, **params: Any) -> np.ndarray:
        """The new boxes, (N, 4 + label fields)."""
        return bboxes if params["row"] is None else params["encoded"]

    def apply_to_class(self, label: Any, *args: Any, **params: Any) -> Any:
        """The new class of the image."""
        column = self._rows.columns.label
        return label if params["row"] is None or column not in params["row"] else params["row"][column]

    def _column(self, target: str, column: str | None) -> str:
        if column is None:
            raise ConfigError(f"{target!r} is given, and the dataset has no column of such: leave it out")
        return column

    def _encoded(self, row: dict[str, Any], data: dict[str, Any]) -> np.ndarray:
        """Boxes as corners in shares of the image, each followed by its labels as `bbox_params` encode them."""
        processor = self.get_processor("bboxes")
        fields = [] if processor is None else processor.params.label_fields or []
        if processor is None or len(fields) != 1:
            raise ConfigError(
                f"bbox_params have {len(fields)} label fields: give A.Compose(..., bbox_params=A.BboxParams(...)) "
                "with one, that of the classes"
            )
        objects = read_objects(row[str(self._rows.columns.objects)]) or []
        height, width = data["image"].shape[:2]
        boxes = np.array([box for box, _ in objects], np.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        boxes /= np.array([width, height, width, height], np.float32)
        given = data.get(fields[0])
        labels: Any = [category for _, category in objects]
        if isinstance(given, np.ndarray):  # that of no boxes, which is still there
            labels = np.array(labels, given.dtype if given.dtype.kind != "f" else None)
        if not objects:
            return np.zeros((0, 4 + len(fields)), np.float32)
        return np.hstack([boxes, processor.label_manager.process_field("bboxes", fields[0], labels)]).astype(
            np.float32
        )
