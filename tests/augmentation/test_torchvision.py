"""The transform of torchvision v2, beside torchvision's own: images, boxes and masks agree with what was painted."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import numpy as np
import pytest
import torch

from magical_hub.errors import ConfigError, MissingPackageError

FOLDER = Path(sys.prefix) / "torchvision"
"""Where `make test` puts torchvision: outside the environment, for its compiled part may want another torch."""
OPERATORS = ("nms", "qnms")
"""Those that its import describes; no transform uses them."""


@pytest.fixture(scope="module", autouse=True)
def tv() -> Iterator[Any]:
    """torchvision's `v2` and `tv_tensors`; without its compiled operators, where these do not go with this torch."""
    before = {*sys.modules}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [*sys.path, str(FOLDER)])
        library = torch.library.Library("torchvision", "FRAGMENT")
        try:
            import torchvision  # noqa: F401
        except ModuleNotFoundError:
            pytest.skip("torchvision is not here: `make test` puts it into .venv/torchvision")
        except RuntimeError as error:
            if "torchvision::nms" not in str(error):
                raise
            for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
                del sys.modules[name]
            for name in OPERATORS:
                library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        from torchvision import tv_tensors
        from torchvision.transforms import v2

        yield SimpleNamespace(v2=v2, tv_tensors=tv_tensors)
        for name in {*sys.modules} - before:
            if name.partition(".")[0] == "torchvision" or name == "magical_hub.augmentation.torchvision":
                del sys.modules[name]


@pytest.fixture(scope="module")
def paints(tv, packages, bank) -> Any:
    from magical_hub.augmentation import TorchvisionTransform

    return TorchvisionTransform(packages, bank, p=1.0)


@pytest.fixture(scope="module")
def replaces(tv, packages, defect_pipe, tmp_path_factory) -> Any:
    from magical_hub.augmentation import TorchvisionTransform

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("pool"))
        return TorchvisionTransform(packages, defect_pipe, p=1.0, defect_share=0.0, pool_size=12)


def tensor(image) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).movedim(-1, 0)


def target(tv, form: str = "XYXY", dtype: torch.dtype = torch.float32, **more: Any) -> dict[str, Any]:
    """Of an image without defects."""
    sides = {"XYXYXYXY": 8}.get(form, 5 if form.endswith("R") else 4)
    boxes = tv.tv_tensors.BoundingBoxes(torch.zeros(0, sides, dtype=dtype), format=form, canvas_size=(96, 96))
    return {"boxes": boxes, "labels": torch.zeros(0, dtype=torch.int64), "image_id": 7, **more}


def masks(tv) -> Any:
    return tv.tv_tensors.Mask(torch.zeros(0, 96, 96, dtype=torch.bool))


def seed_of(transform, number: int) -> int:
    """The seed that a call would use now; the call after this uses it too."""
    torch.manual_seed(number)
    seed = transform.make_params([])["seed"]
    torch.manual_seed(number)
    return seed


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_what_is_painted_is_what_the_bank_paints_and_what_the_target_says(tv, good, paints, bank, dtype):
    original = tensor(good[0]["image"])
    image = tv.tv_tensors.Image(tv.v2.functional.to_dtype(original, dtype, scale=True))
    seed = seed_of(paints, 3)
    new, new_target = tv.v2.Compose([paints, tv.v2.RandomHorizontalFlip(0)])(
        image, target(tv, masks=masks(tv), area=torch.zeros(0), iscrowd=torch.zeros(0, dtype=torch.int64))
    )
    assert type(new) is tv.tv_tensors.Image and new.dtype == dtype and new.shape == image.shape
    changed = (new.as_subclass(torch.Tensor) != image).any(0)
    if dtype == torch.uint8:
        expected = bank.paint(np.array(good[0]["image"]), seed=seed)
        assert np.array_equal(new.movedim(0, -1), expected.image)
        assert np.array_equal(changed, expected.changed)
        corners = [[x, y, x + w, y + h] for x, y, w, h in (item["bbox"] for item in expected.objects)]
        assert new_target["boxes"].tolist() == corners
        names = [good.features["label"].int2str(label) for label in new_target["labels"].tolist()]
        assert names == [item["category"] for item in expected.objects]
        assert np.array_equal(new_target["masks"].any(0), expected.mask > 0)
    assert changed.any() and not (changed & ~new_target["masks"].any(0).as_subclass(torch.Tensor)).any()
    assert len(new_target["boxes"]) == len(new_target["labels"]) == len(new_target["masks"]) > 0
    for (left, top, right, bottom), mask, area in zip(
        new_target["boxes"].tolist(), new_target["masks"], new_target["area"].tolist(), strict=True
    ):
        rows, cols = np.nonzero(mask.numpy())
        assert left <= cols.min() and cols.max() < right and top <= rows.min() and rows.max() < bottom
        assert area == (right - left) * (bottom - top)
    assert new_target["iscrowd"].tolist() == [0] * len(new_target["boxes"]) and new_target["image_id"] == 7


@pytest.mark.parametrize("form", ["XYXY", "XYWH", "CXCYWH", "XYWHR", "CXCYWHR", "XYXYXYXY"])
def test_every_format_of_boxes(tv, good, paints, form):
    image = tv.tv_tensors.Image(tensor(good[1]["image"]))
    seed_of(paints, 5)
    _, plain = paints(image, target(tv))
    seed_of(paints, 5)
    _, formed = paints(image, target(tv, form))
    boxes = formed["boxes"]
    assert type(boxes) is tv.tv_tensors.BoundingBoxes and boxes.format.value == form and boxes.canvas_size == (96, 96)
    corners = plain["boxes"].as_subclass(torch.Tensor)
    if form == "XYXYXYXY":
        points = boxes.as_subclass(torch.Tensor).reshape(-1, 4, 2)
        again = torch.cat([points.amin(1), points.amax(1)], 1)
    else:
        unrotated = boxes.as_subclass(torch.Tensor)[:, :4]
        again = tv.v2.functional.convert_bounding_box_format(unrotated, form.removesuffix("R"), "XYXY")
    assert len(corners) and torch.equal(corners, again)


def test_boxes_of_whole_numbers_hold_the_defect(tv, good, paints):
    image = tv.tv_tensors.Image(tensor(good[1]["image"]))
    seed_of(paints, 5)
    _, whole = paints(image, target(tv, dtype=torch.int64, masks=masks(tv)))
    assert whole["boxes"].dtype == torch.int64
    for (left, top, right, bottom), mask in zip(whole["boxes"].tolist(), whole["masks"], strict=True):
        assert mask.sum() == mask[top:bottom, left:right].sum() > 0


def test_a_picture_of_pillows_a_mask_of_values_and_a_dictionary(tv, good, paints, bank):
    image = good[2]["image"]
    seed = seed_of(paints, 1)
    plain = tv.tv_tensors.Mask(torch.zeros(96, 96, dtype=torch.uint8))
    made = paints({"image": image, "mask": plain, "label": 0, "name": "x"})
    expected = bank.paint(image, seed=seed)
    assert made["image"].mode == "RGB" and np.array_equal(np.asarray(made["image"]), np.asarray(expected.image))
    assert type(made["mask"]) is tv.tv_tensors.Mask and made["mask"].dtype == torch.uint8 and made["name"] == "x"
    assert np.array_equal(made["mask"].numpy(), np.where(expected.mask > 0, 255, 0))
    assert made["label"] in {good.features["label"].str2int(item["category"]) for item in expected.objects}
    seed_of(paints, 1)
    assert paints({"image": image, "mask": plain[None], "label": 0})["mask"].shape == (1, 96, 96)


@pytest.mark.parametrize("label", [0, torch.tensor(0)])
def test_an_image_and_its_class(good, paints, label):
    seed_of(paints, 2)
    image, new = paints(good[0]["image"], label)
    assert type(new) is type(label) and int(new) != 0
    assert not np.array_equal(np.asarray(image), np.asarray(good[0]["image"]))
    alone = tensor(good[0]["image"])
    assert paints(alone) is alone  # nothing says that it is good


def test_defective_images_stay_as_they_are(tv, packages, paints):
    row = next(row for row in packages if row["label"])
    image = tv.tv_tensors.Image(tensor(row["image"]))
    boxes = tv.tv_tensors.BoundingBoxes([row["objects"][0]["bbox"]], format="XYWH", canvas_size=(96, 96))
    sample = image, {"boxes": boxes, "labels": torch.tensor([row["label"]])}
    assert paints(*sample)[0] is image and paints(*sample)[1]["boxes"] is boxes


def test_an_image_is_replaced_by_one_of_the_pool(tv, packages, replaces):
    torch.manual_seed(0)
    row = next(row for row in packages if row["label"])
    boxes = tv.tv_tensors.BoundingBoxes([row["objects"][0]["bbox"]], format="XYWH", canvas_size=(96, 96))
    mask = tv.tv_tensors.Mask(tensor(np.asarray(row["mask"])[..., None]) > 0)
    image = tv.tv_tensors.Image(tensor(row["image"]))
    new, made = replaces(image, {"boxes": boxes, "labels": torch.tensor([row["label"]]), "masks": mask})
    assert (new.float() - image.float()).abs().mean() > 10 and len(made["boxes"]) == 1
    x, y, width, height = made["boxes"][0].tolist()
    assert made["masks"].sum() == made["masks"][0, int(y) : int(y + height), int(x) : int(x + width)].sum() > 0


def test_the_seed_of_torch_decides_in_workers_too(tv, good, packages, bank, paints):
    images = [tv.tv_tensors.Image(tensor(row["image"])) for row in good.select(range(6))]

    class Samples(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(images)

        def __getitem__(self, number: int) -> np.ndarray:
            return again(images[number], target(tv))[0].numpy()

    again = pickle.loads(pickle.dumps(paints))
    loader = torch.utils.data.DataLoader(Samples(), batch_size=None, num_workers=2)
    torch.manual_seed(4)
    first = np.stack([*loader])
    torch.manual_seed(4)
    assert np.array_equal(np.stack([*loader]), first)
    assert not np.array_equal(np.stack([*loader]), first)
    again.p = 0.25
    changed = [again(images[0], target(tv))[0] is not images[0] for _ in range(200)]
    assert 25 < sum(changed) < 75


def test_what_cannot_be_labelled_right_is_refused(tv, good, paints, packages, bank):
    from magical_hub.augmentation import TorchvisionTransform

    image = tv.tv_tensors.Image(tensor(good[0]["image"]))
    for words, sample in (
        ("'boxes' is a plain tensor, which torchvision leaves alone", (image, {"boxes": torch.zeros(0, 4)})),
        ("more than one image", (image, image)),
        ("holds no image", ({"name": "x"},)),
        ("one image \\(C, H, W\\) at a time", (tv.tv_tensors.Image(torch.zeros(2, 3, 96, 96)), target(tv))),
        ("boxes and no 'labels'", (image, {"boxes": target(tv)["boxes"]})),
        ("holds 'angle' of each box", (image, target(tv, angle=torch.zeros(0)))),
        ("holds Video, which cannot be changed", (tv.tv_tensors.Video(torch.zeros(2, 3, 96, 96)),)),
        ("a mask of shape \\(3, 96, 96\\)", (image, target(tv, masks=tv.tv_tensors.Mask(torch.zeros(3, 96, 96))))),
    ):
        with pytest.raises(ConfigError, match=words):
            paints(*sample)
    without = TorchvisionTransform(packages, bank, mask_column=None, p=1.0)
    with pytest.raises(ConfigError, match="a sample has mask, and the dataset no column of such"):
        without(image, target(tv, masks=masks(tv)))
    with pytest.raises(ConfigError, match="p is 1"):
        TorchvisionTransform(packages, bank, p=1.5)


def test_without_torchvision_the_line_says_how_to_get_it(monkeypatch):
    import magical_hub.augmentation

    monkeypatch.delitem(sys.modules, "magical_hub.augmentation.torchvision", raising=False)
    monkeypatch.delattr(magical_hub.augmentation, "TorchvisionTransform", raising=False)
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(MissingPackageError, match=r"^torchvision is not installed: pip install 'magical-hub\[torch"):
        magical_hub.augmentation.TorchvisionTransform  # noqa: B018
