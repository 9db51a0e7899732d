"""`MagicalTransform` as a transform of torchvision v2."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch.utils._pytree import MappingKey, SequenceKey, tree_flatten_with_path, tree_unflatten

from magical_hub.augmentation.transform import MagicalTransform, drawn_seed
from magical_hub.data.columns import Object, read_objects
from magical_hub.data.masks import MaskValues
from magical_hub.errors import ConfigError
from magical_hub.extras import extra

with extra("torchvision"):
    from torchvision import tv_tensors
    from torchvision.transforms import v2

if TYPE_CHECKING:
    import datasets

    from magical_hub.defects.bank import DefectBank
    from magical_hub.pipeline import MagicalPipeline

FILLED = ("area", "iscrowd")
"""The fields of COCO's targets for each box, beside its label."""


class TorchvisionTransform(v2.Transform):
    """Paints defects on good images, or replaces images by synthetic ones; alone or in a `v2.Compose`.

    It takes samples as torchvision's transforms do: an image; `(image, class)`; `(image, target)`, or one dictionary,
    with `tv_tensors.Image` (or an image of Pillow's), `BoundingBoxes` of every format, and `Mask`. Boxes and their
    labels become those of the defects in the new image; canvas size and format stay. A mask (N, H, W) beside N boxes
    holds one mask per box; any other, (H, W) or (1, H, W), has the values of the dataset's masks. `area` and `iscrowd`
    beside the labels are filled. Labels are the numbers that the dataset stores.

    Random numbers come from torch's global generator, which `torch.manual_seed` and a DataLoader's workers seed.

    Args:
        dataset, source, p, options: as of `MagicalTransform`.
        labels_key: of the labels of the boxes in a target. None: boxes have no labels.

    Raises:
        ConfigError, DataError, AugmentationError: as `MagicalTransform`; in a call, ConfigError where a sample holds
            what cannot be labelled right.
        MissingPackageError: without torchvision.
    """

    def __init__(
        self,
        dataset: datasets.Dataset,
        source: MagicalPipeline | DefectBank,
        p: float = 0.5,
        labels_key: str | None = "labels",
        **options: Any,
    ) -> None:
        super().__init__()
        self.p, self.labels_key = p, labels_key
        self._rows = MagicalTransform(dataset, source, p, **options)

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """The seed of the change, that of `bank.paint`; None where the sample stays as it is."""
        return {"seed": drawn_seed(self.p)}

    def forward(self, *inputs: Any) -> Any:
        """A sample, changed. Overridden, as torchvision's own transforms do that change labels too."""
        sample = inputs if len(inputs) > 1 else inputs[0]
        entries, structure = tree_flatten_with_path(sample)
        paths = [path for path, _ in entries]
        values = [value for _, value in entries]
        self.check_inputs(values)
        parts = self._find(paths, values)
        seed = self.make_params([values[parts["image"]]])["seed"]
        if seed is None:
            return sample
        row = self._row({name: values[number] for name, number in parts.items()})
        changed = self._rows.change(row, seed)
        image = self._rows.columns.image
        if changed[image] is row[image]:
            return sample
        for name, value in self._labelled(changed, {name: values[number] for name, number in parts.items()}).items():
            values[parts[name]] = value
        return tree_unflatten(values, structure)

    def _find(self, paths: list[tuple[Any, ...]], values: list[Any]) -> dict[str, int]:
        """The numbers of the entries of a sample that are to change, by what they are."""
        parts: dict[str, int] = {}
        for number, transformed in enumerate(self._needs_transform_list(values)):
            if transformed:
                kind = _kind(values[number])
                if kind in parts:
                    raise ConfigError(f"a sample holds more than one {kind}: give one of each")
                parts[kind] = number
        if "image" not in parts:
            raise ConfigError("a sample holds no image: give a tv_tensors.Image, a tensor or an image of Pillow's")
        label, empty = self._rows.columns.label, "boxes" in parts and not len(values[parts["boxes"]])
        for number, (path, value) in enumerate(zip(paths, values, strict=True)):
            name = path[-1].key if path and isinstance(path[-1], MappingKey) else None
            if name in ("boxes", "masks") and type(value) is torch.Tensor:
                kind = {"boxes": "BoundingBoxes", "masks": "Mask"}[name]
                raise ConfigError(f"{name!r} is a plain tensor, which torchvision leaves alone: make it a {kind}")
            if "boxes" in parts and name is not None and name in (self.labels_key, *FILLED):
                parts["labels" if name == self.labels_key else name] = number
            elif label is not None and _is_class(value) and (name == label or path == (SequenceKey(1),)):
                parts["class"] = number
            elif empty and type(value) is torch.Tensor and value.shape[:1] == (0,):
                raise ConfigError(f"a sample holds {name!r} of each box, which is not known of defects: leave it out")
        if "boxes" in parts and self.labels_key is not None and "labels" not in parts:
            raise ConfigError(f"a sample has boxes and no {self.labels_key!r}: give labels_key, None for no labels")
        return parts

    def _row(self, parts: dict[str, Any]) -> dict[str, Any]:
        """A sample as a row of the dataset; of boxes and masks, as far as they say whether there are any defects."""
        columns = self._rows.columns
        row: dict[str, Any] = {columns.image: _pixels(parts["image"])}
        for name, column in (("boxes", columns.objects), ("mask", columns.mask)):
            if name in parts and column is None:
                raise ConfigError(f"a sample has {name}, and the dataset no column of such that says what they hold")
        if columns.label is not None and "class" in parts:
            row[columns.label] = parts["class"].item() if torch.is_tensor(parts["class"]) else parts["class"]
        if columns.objects is not None and "boxes" in parts:
            row[columns.objects] = [{"bbox": None, "category": None} for _ in parts["boxes"]]
        if columns.mask is not None and "mask" in parts:
            mask = parts["mask"]
            if mask.ndim > 2 and len(mask) != 1 and not _is_mask_a_box(parts):
                raise ConfigError(
                    f"a sample has a mask of shape {tuple(mask.shape)}: give (H, W), or (N, H, W) beside N boxes"
                )
            values = mask.as_subclass(torch.Tensor).cpu().numpy()
            row[columns.mask] = (
                values.astype(bool).any(0) if _is_mask_a_box(parts) else values.reshape(mask.shape[-2:])
            )
        return row

    def _labelled(self, row: dict[Any, Any], parts: dict[str, Any]) -> dict[str, Any]:
        """A changed row as the parts of a sample, in the form that these had."""
        columns, masks = self._rows.columns, self._rows.masks
        new: dict[str, Any] = {"image": _as_image(row[columns.image], parts["image"])}
        objects = (read_objects(row[columns.objects]) or []) if "boxes" in parts else []
        if "class" in parts:
            old, value = parts["class"], row[columns.label]
            new["class"] = old.new_tensor(value) if torch.is_tensor(old) else value
        if "boxes" in parts:
            new["boxes"] = _as_boxes(objects, parts["boxes"])
        if "labels" in parts:
            new["labels"] = parts["labels"].new_tensor([category for _, category in objects])
        if "area" in parts:
            new["area"] = parts["area"].new_tensor([box[2] * box[3] for box, _ in objects])
        if "iscrowd" in parts:
            new["iscrowd"] = parts["iscrowd"].new_zeros(len(objects))
        if "mask" in parts:
            assert masks is not None
            old, mask = parts["mask"], row[columns.mask]
            pixels = _instances(objects, mask, masks) if _is_mask_a_box(parts) else np.array(mask)
            like = pixels if old.ndim == pixels.ndim else pixels[None]
            new["mask"] = tv_tensors.wrap(torch.from_numpy(like).to(old.device, old.dtype), like=old)
        return new


def _kind(value: Any) -> str:
    for kind, types in (("boxes", tv_tensors.BoundingBoxes), ("mask", tv_tensors.Mask)):
        if isinstance(value, types):
            return kind
    if isinstance(value, tv_tensors.TVTensor) and not isinstance(value, tv_tensors.Image):
        raise ConfigError(f"a sample holds {type(value).__name__}, which cannot be changed: leave it out")
    return "image"


def _is_class(value: Any) -> bool:
    return isinstance(value, (int, str)) or (type(value) is torch.Tensor and value.ndim == 0)


def _is_mask_a_box(parts: dict[str, Any]) -> bool:
    return "boxes" in parts and parts["mask"].ndim == 3 and len(parts["mask"]) == len(parts["boxes"])


def _pixels(image: Any) -> Any:
    """An image of Pillow's, or an array (H, W, C)."""
    if isinstance(image, Image.Image):
        return image
    if image.ndim != 3:
        raise ConfigError(f"an image has the shape {tuple(image.shape)}: give one image (C, H, W) at a time")
    return image.as_subclass(torch.Tensor).detach().cpu().movedim(0, -1).numpy()


def _as_image(pixels: Any, image: Any) -> Any:
    """Changed pixels in the form of the image that they come from."""
    if isinstance(image, Image.Image):
        return pixels
    tensor = torch.from_numpy(pixels).movedim(-1, 0).contiguous().to(image.device)
    return tv_tensors.wrap(tensor, like=image) if isinstance(image, tv_tensors.Image) else tensor


def _as_boxes(objects: list[Object], old: Any) -> Any:
    """The boxes of objects in the format of the old ones; of whole numbers, the smallest that hold the defects."""
    sides = torch.tensor([box for box, _ in objects], dtype=torch.float64).reshape(-1, 4)
    corners = torch.cat([sides[:, :2], sides[:, :2] + sides[:, 2:]], 1)
    if not old.is_floating_point():
        corners = torch.cat([corners[:, :2].floor(), corners[:, 2:].ceil()], 1)
    start = "XYXY"
    if tv_tensors.is_rotated_bounding_format(old.format):
        centre, size = (corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]
        corners, start = torch.cat([centre, size, torch.zeros(len(sides), 1)], 1), "CXCYWHR"
    boxes = v2.functional.convert_bounding_box_format(corners, start, old.format)
    return tv_tensors.wrap(boxes.to(old.device, old.dtype), like=old)


def _instances(objects: list[Object], mask: Image.Image, masks: MaskValues) -> np.ndarray:
    """One mask per object (N, H, W) bool: what the dataset's mask marks inside the box."""
    marked = masks.read(mask, "a mask")
    inside = [masks.inside(marked, (x, y, width, height)) for (x, y, width, height), _ in objects]
    return np.array(inside, bool).reshape(len(objects), *marked.shape)
