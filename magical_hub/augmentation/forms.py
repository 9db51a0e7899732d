"""Images, boxes and masks in the forms of Hugging Face datasets, torchvision v2 and albumentations.

torchvision is not imported: its tensors are known by what they can do.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from magical_hub.augmentation.image_spec import WIDE_TYPES, in_mode
from magical_hub.augmentation.patches import Patch
from magical_hub.data.columns import LabelledColumns, Object, read_objects
from magical_hub.data.masks import MaskValues
from magical_hub.defects.painting import Painted
from magical_hub.errors import ConfigError


def replaced(image: Any, by: Image.Image) -> Any:
    """The image `by` in the form of `image`: Pillow's, an array (H, W[, C]) or a tensor (C, H, W)."""
    if isinstance(image, Image.Image):
        _check_size(image.size, by.size)
        if {by.mode, image.mode} & WIDE_TYPES.keys():
            _check_mode(image.mode, by.mode)
        return in_mode(by, image.mode)
    pixels = _pixels(image)
    new = np.asarray(by)
    _check_size(pixels.shape[1::-1], by.size)
    scaled = new.astype(np.float64) * (_top(pixels.dtype) / _top(new.dtype))
    return _as_given(_with_channels(scaled, pixels), image)


def added(image: Any, patch: Patch, size: tuple[int, int], mode: str) -> Any:
    """An image with a patch, which is in pixels of images of that size and mode."""
    if isinstance(image, Image.Image) and not {image.mode, mode} <= {"L", "RGB"}:
        _check_mode(image.mode, mode)
    pixels = np.asarray(image) if isinstance(image, Image.Image) else _pixels(image)
    _check_size(pixels.shape[1::-1], size)
    top = _top(pixels.dtype)
    delta = np.zeros((*pixels.shape[:2], *patch.delta.shape[2:]))
    rows, cols = patch.mask.shape
    delta[patch.top : patch.top + rows, patch.left : patch.left + cols] = patch.delta
    delta *= top / (65535 if mode.startswith("I") else 255)
    # Signed pixels have no darkest value: those of the image bound them.
    low, high = (pixels.min(), max(top, pixels.max())) if pixels.dtype.kind == "i" else (0, top)
    changed = (pixels + _with_channels(delta, pixels)).clip(low, high)
    if isinstance(image, Image.Image):
        return Image.fromarray(changed.round().astype(pixels.dtype))
    return _as_given(changed, image)


def painted(image: Any, paint: Callable[[Any], Painted]) -> tuple[Any, Painted]:
    """An image in the form that was given with defects painted on it, and what was painted.

    Args:
        image: Pillow's, an array (H, W[, C]) or a tensor (C, H, W); floats from 0 to 1.
        paint: paints on an image of Pillow's or an array of 8 or 16 bits.
    """
    if isinstance(image, Image.Image):
        result = paint(image)
        return result.image, result
    pixels = _pixels(image)
    flat = pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels
    floats = np.issubdtype(flat.dtype, np.floating)
    result = paint(np.rint(flat.clip(0, 1) * 65535).astype(np.uint16) if floats else flat)
    new = pixels.copy()
    values = result.image[result.changed]
    new[result.changed] = (values / 65535 if floats else values).reshape(new[result.changed].shape)
    return _as_given(new, image), result


def to_row(named: Mapping[Any, Any], columns: LabelledColumns) -> dict[Any, Any]:
    """What albumentations calls a transform with, as a row.

    Raises:
        ConfigError: where the image is missing, or boxes are in albumentations' own form.
    """
    if "image" not in named:
        raise ConfigError(f"there is no image among {', '.join(named)}: give image=..., or one row as a dictionary")
    row: dict[Any, Any] = {columns.image: named["image"]}
    if columns.label in named:
        row[columns.label] = named[columns.label]
    if "bboxes" in named and columns.objects:
        boxes = [tuple(map(float, box[:4])) for box in named["bboxes"]]
        if boxes and max(max(box) for box in boxes) <= 1:
            raise ConfigError("the boxes are shares of the image: call it before A.Compose, with x, y, w, h in pixels")
        row[columns.objects] = [
            {"bbox": box, "category": its}
            for box, its in zip(boxes, named.get("class_labels", [None] * len(boxes)), strict=True)
        ]
    if named.get("mask") is not None and columns.mask:
        row[columns.mask] = named["mask"]
    return row


def from_row(row: Mapping[Any, Any], named: Mapping[Any, Any], columns: LabelledColumns) -> dict[Any, Any]:
    """The row as albumentations hands it on: the same names as were given."""
    changed = {**named, "image": row[columns.image]}
    if columns.label in named:
        changed[columns.label] = row[columns.label]
    if columns.objects in row:
        objects = read_objects(row[columns.objects], "a row") or []
        changed["bboxes"] = [list(box or ()) for box, _ in objects]
        if "class_labels" in named:
            changed["class_labels"] = [category for _, category in objects]
    if columns.mask in row:
        changed["mask"] = np.asarray(row[columns.mask])
    return changed


def target_to_row(image: Any, target: Any, columns: LabelledColumns) -> dict[Any, Any]:
    """An image and its target, as torchvision's transforms are called with, as a row.

    Raises:
        ConfigError: where boxes are in another form than corners or x, y, w, h.
    """
    row: dict[Any, Any] = {columns.image: image}
    if not isinstance(target, Mapping):
        if columns.label is not None:
            row[columns.label] = int(target)
        return row
    if columns.objects and "boxes" in target:
        boxes, form = torch.as_tensor(target["boxes"]).tolist(), _box_form(target["boxes"])
        row[columns.objects] = [
            {"bbox": _corner_and_size(box, form), "category": its}
            for box, its in zip(boxes, torch.as_tensor(target["labels"]).tolist(), strict=True)
        ]
    if columns.mask and "masks" in target:
        masks: np.ndarray = torch.as_tensor(target["masks"]).numpy()
        row[columns.mask] = Image.fromarray(np.any(masks > 0, axis=0)) if len(masks) else None
    return row


def row_to_target(
    row: Mapping[Any, Any], image: Any, target: Any, columns: LabelledColumns, masks: MaskValues | None
) -> tuple[Any, Any]:
    """The row as an image and a target in the form that was given."""
    new = row[columns.image]
    if not isinstance(target, Mapping):
        if columns.label is None or row[columns.label] == int(target):
            return new, target
        return new, target.new_tensor(row[columns.label]) if torch.is_tensor(target) else row[columns.label]
    if new is image:
        return image, target
    changed = dict(target)
    if columns.objects in row:
        objects, old = read_objects(row[columns.objects], "a row") or [], target["boxes"]
        form = _box_form(old)
        boxes = [box if form == "XYWH" else (*box[:2], box[0] + box[2], box[1] + box[3]) for box, _ in objects if box]
        changed["boxes"] = _like(torch.tensor(boxes, dtype=old.dtype).reshape(-1, 4), old)
        changed["labels"] = torch.tensor([its for _, its in objects], dtype=torch.as_tensor(target["labels"]).dtype)
        if "masks" in target:
            marks = row.get(columns.mask) if columns.mask else None
            whole = np.ones(target["masks"].shape[1:], bool)
            if marks is not None and masks is not None:
                whole = _marks(marks, masks) > 0
            changed["masks"] = _like(_instance_masks(objects, whole, target["masks"]), target["masks"])
    return new, changed


def _marks(image: Image.Image, masks: MaskValues) -> np.ndarray:
    """What a mask in the dataset's own mode and values means."""
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=0)
    return masks.read(file.getvalue(), "a mask")


def _instance_masks(objects: Sequence[Object], whole: np.ndarray, old: torch.Tensor) -> torch.Tensor:
    """A mask an object: its box's part of the mask of the image."""
    made = torch.zeros((len(objects), *old.shape[1:]), dtype=old.dtype)
    for number, (box, _) in enumerate(objects):
        x, y, width, height = box or (0, 0, 0, 0)
        there = slice(int(y), int(np.ceil(y + height))), slice(int(x), int(np.ceil(x + width)))
        made[number][there] = torch.from_numpy(whole[there]).to(old.dtype)
    return made


def _box_form(boxes: Any) -> str:
    form = getattr(boxes, "format", "XYXY")
    name = str(getattr(form, "value", form))
    if name not in ("XYXY", "XYWH"):
        raise ConfigError(f"boxes of the form {name} can't be updated: give XYXY or XYWH")
    return name


def _corner_and_size(box: list[float], form: str) -> tuple[float, ...]:
    first, second, third, fourth = box
    return (first, second, third, fourth) if form == "XYWH" else (first, second, third - first, fourth - second)


def _pixels(image: Any) -> np.ndarray:
    """(H, W) or (H, W, C) of an array or a tensor (C, H, W)."""
    if torch.is_tensor(image):
        return image.detach().cpu().as_subclass(torch.Tensor).movedim(0, -1).numpy()
    if not isinstance(image, np.ndarray):
        raise ConfigError(f"an image is a {type(image).__name__}: give Pillow's, an array or a tensor")
    return image


def _as_given(pixels: np.ndarray, image: Any) -> Any:
    """An array of the given one's values and type."""
    dtype = image.numpy().dtype if torch.is_tensor(image) else image.dtype
    whole = np.issubdtype(dtype, np.integer)
    typed = (pixels.round() if whole else pixels).astype(dtype)
    return _like(torch.from_numpy(typed).movedim(-1, 0).contiguous(), image) if torch.is_tensor(image) else typed


def _like(new: torch.Tensor, old: torch.Tensor) -> torch.Tensor:
    """A tensor of the old one's class, with what that says beside its values (a form of boxes, say)."""
    if type(old) is torch.Tensor:
        return new
    wrapped = new.as_subclass(type(old))
    wrapped.__dict__.update(old.__dict__)
    return wrapped


def _with_channels(values: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Values (H, W) or (H, W, 3) with as many channels as pixels have."""
    if pixels.ndim == 2:
        return values if values.ndim == 2 else values.mean(2)
    if values.ndim == 2:
        values = values[..., None]
    return values.mean(2, keepdims=True) if pixels.shape[2] == 1 else np.broadcast_to(values, pixels.shape)


def _top(dtype: np.dtype) -> float:
    """The brightest value of pixels of a type."""
    if dtype == np.uint8:
        return 255
    return 65535 if np.issubdtype(dtype, np.integer) else 1


def _check_mode(mode: str, wanted: str) -> None:
    if mode != wanted:
        raise ConfigError(f"an image has the mode {mode} and those of the pool {wanted}: give images of one mode")


def _check_size(size: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    if tuple(size) != tuple(wanted):
        raise ConfigError(
            f"an image is {size[0]} x {size[1]} and the pool {wanted[0]} x {wanted[1]} pixels: resize after this "
            "transform and not before"
        )
