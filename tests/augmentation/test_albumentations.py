"""The transform of albumentations, in its own Compose: image, mask, boxes and labels agree with what was painted."""

from __future__ import annotations

import os
import pickle
import sys

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # it would ask a server for its latest release

import albumentations as A
import datasets
import numpy as np
import pytest
import torch

from magical_hub.augmentation import AlbumentationsTransform
from magical_hub.errors import ConfigError, MissingPackageError


@pytest.fixture
def paints(packages, bank) -> AlbumentationsTransform:
    return AlbumentationsTransform(packages, bank, p=1.0)


def composed(transform, form: str = "coco", *more, seed: int = 0) -> A.Compose:
    boxes = A.BboxParams(format=form, label_fields=["labels"])
    return A.Compose([transform, *more], bbox_params=boxes, seed=seed)


def given(row, **more):
    empty = {"bboxes": [], "labels": [], "mask": np.zeros((96, 96), np.uint8)}
    return {"image": np.asarray(row["image"]), **empty, **more}


@pytest.mark.parametrize("form", ["coco", "pascal_voc", "yolo", "albumentations"])
def test_what_is_painted_is_what_the_bank_paints_and_what_the_labels_say(good, paints, bank, form):
    row = good[0]
    made = composed(paints, form)(**given(row, label=0))
    expected = bank.paint(np.asarray(row["image"]), seed=paints.get_applied_params()["seed"])
    assert np.array_equal(made["image"], expected.image)
    assert np.array_equal(made["mask"], np.where(expected.mask > 0, 255, 0)) and made["mask"].dtype == np.uint8
    changed = (made["image"] != row["image"]).any(axis=2)
    assert changed.any() and not (changed & (made["mask"] == 0)).any()
    names = [good.features["label"].int2str(int(label)) for label in made["labels"]]
    assert names == [item["category"] for item in expected.objects]
    assert made["label"] in [int(label) for label in made["labels"]]
    for box, item in zip(made["bboxes"], expected.objects, strict=True):
        x, y, w, h = item["bbox"]
        shares = np.array([x, y, x + w, y + h]) / 96
        wanted = {
            "coco": (x, y, w, h),
            "pascal_voc": (x, y, x + w, y + h),
            "yolo": ((x + w / 2) / 96, (y + h / 2) / 96, w / 96, h / 96),
            "albumentations": shares,
        }[form]
        assert box == pytest.approx(wanted, abs=1e-4)


def test_what_comes_after_it_moves_the_new_boxes(good, paints):
    plain = composed(paints, "coco", seed=5)(**given(good[1]))
    flipped = composed(paints, "coco", A.HorizontalFlip(p=1), seed=5)(**given(good[1]))
    assert np.array_equal(flipped["image"], plain["image"][:, ::-1])
    for box, mirrored in zip(plain["bboxes"], flipped["bboxes"], strict=True):
        assert mirrored == pytest.approx([96 - box[0] - box[2], *box[1:]], abs=1e-4)


def test_the_seed_of_compose_decides(good, paints):
    def images(seed: int) -> np.ndarray:
        compose = composed(pickle.loads(pickle.dumps(paints)), seed=seed)
        return np.stack([compose(**given(row))["image"] for row in good.select(range(4))])

    assert np.array_equal(images(1), images(1)) and not np.array_equal(images(1), images(2))


class Samples(torch.utils.data.Dataset):
    """One good image again and again, as the seed that it is painted by; 0 where it stays."""

    def __init__(self, row, transform, seed: int | None, own_seeds: bool = False) -> None:
        self.image, self.transform, self.own_seeds = np.asarray(row["image"]), transform, own_seeds
        self.compose = A.Compose([transform], seed=seed)

    def __len__(self) -> int:
        return 24

    def __getitem__(self, number: int) -> int:
        if self.own_seeds:
            self.compose.set_random_seed(number)
        made = self.compose(image=self.image, label=0)["image"]
        seed = self.transform.get_applied_params().get("seed", 0)
        assert seed or np.array_equal(made, self.image)
        return seed


@pytest.mark.parametrize("seed", [None, 0])
def test_every_worker_and_every_epoch_of_a_loader_has_other_defects(good, packages, bank, seed):
    samples = Samples(good[0], AlbumentationsTransform(packages, bank, p=0.5), seed)
    loader = torch.utils.data.DataLoader(samples, batch_size=3, num_workers=2, multiprocessing_context="fork")
    torch.manual_seed(0)
    first, second = np.concatenate([*loader]), np.concatenate([*loader])
    painted = np.concatenate([first, second])
    painted = painted[painted > 0]
    assert 4 < len(painted) < 44 and len({*painted}) == len(painted)
    if seed is not None:  # other images are chosen, too
        assert not np.array_equal(first > 0, second > 0)
        workers = first.reshape(4, 2, 3).swapaxes(0, 1)
        assert not np.array_equal(workers[0] > 0, workers[1] > 0)
        torch.manual_seed(0)
        assert np.array_equal(np.concatenate([*loader]), first)
        torch.manual_seed(1)
        assert not np.array_equal(np.concatenate([*loader]), first)


def test_a_seed_that_is_set_in_a_worker_decides_alone(good, paints):
    samples = Samples(good[0], paints, None, own_seeds=True)
    loader = torch.utils.data.DataLoader(samples, batch_size=4, num_workers=2, multiprocessing_context="fork")
    assert np.concatenate([*loader]).tolist() == [samples[number] for number in range(len(samples))]


@pytest.mark.parametrize("labels", [np.zeros(0, np.int64), [], ()])
def test_labels_keep_their_type(good, paints, labels):
    made = composed(paints)(**given(good[0], bboxes=np.zeros((0, 4), np.float32), labels=labels))
    assert type(made["bboxes"]) is np.ndarray and len(made["bboxes"]) == len(made["labels"]) > 0
    if isinstance(labels, np.ndarray):
        assert made["labels"].dtype == np.int64


def test_names_of_classes_as_labels(packages, bank):
    names = packages.features["label"].names

    def renamed(row):
        return {"objects": [{**item, "category": names[item["category"]]} for item in row["objects"]]}

    record = {"bbox": datasets.List(datasets.Value("float32")), "category": datasets.Value("string")}
    features = datasets.Features({**packages.features, "objects": datasets.List(record)})
    named = packages.map(renamed, features=features, keep_in_memory=True)
    transform = AlbumentationsTransform(named, bank, p=1.0)
    compose = composed(transform, "coco", A.HorizontalFlip(p=1))
    for number, row in enumerate(named):
        if row["label"] == 0:
            made = compose(**given(row))
            assert made["labels"] and {*made["labels"]} <= {"scratch", "void"}
        elif number < 20:  # in between, one with labels of its own
            boxes = [item["bbox"] for item in row["objects"]]
            labels = [item["category"] for item in row["objects"]]
            made = compose(**given(row, bboxes=boxes, labels=labels))
            assert made["labels"] == labels


def test_without_boxes_the_class_or_the_mask_says_what_is_good(good, paints):
    compose = A.Compose([paints], seed=0)
    image = np.asarray(good[0]["image"])
    made = compose(image=image, label=0)
    assert made["label"] != 0 and not np.array_equal(made["image"], image)
    made = compose(image=image, mask=np.zeros((96, 96, 1), np.float32))
    assert made["mask"].shape == (96, 96, 1) and made["mask"].dtype == np.float32 and made["mask"].any()
    assert np.array_equal(compose(image=image)["image"], image)  # nothing says that it is good
    floats = compose(image=(image / 255).astype(np.float32), label=0)["image"]
    assert floats.dtype == np.float32 and np.abs(floats - image / 255).max() > 0.01 and floats.max() <= 1


def test_defective_images_stay_and_a_pool_replaces(packages, paints, defect_pipe):
    row = next(row for row in packages if row["label"])
    boxes, labels = [row["objects"][0]["bbox"]], [row["label"]]
    sample = given(row, bboxes=boxes, labels=labels, mask=np.asarray(row["mask"]), label=row["label"])
    made = composed(paints)(**sample)
    assert np.array_equal(made["image"], row["image"]) and made["bboxes"][0] == pytest.approx(boxes[0], abs=1e-4)
    replaces = AlbumentationsTransform(packages, defect_pipe, p=1.0, defect_share=0.0, pool_size=12)
    made = composed(replaces)(**sample)
    assert np.abs(made["image"].astype(int) - np.asarray(row["image"])).mean() > 10
    assert made["labels"] == labels and made["label"] == row["label"] and made["mask"].any()
    x, y, w, h = (round(side) for side in made["bboxes"][0])
    assert made["mask"][y : y + h, x : x + w].astype(bool).sum() == made["mask"].astype(bool).sum()


def test_what_cannot_be_labelled_right_is_refused(packages, bank, good, paints):
    with pytest.raises(ConfigError, match="bbox_params have 0 label fields"):
        A.Compose([paints], bbox_params=A.BboxParams(format="coco"), seed=0)(**given(good[0], labels=None))
    two = A.BboxParams(format="coco", label_fields=["labels", "tracks"])
    with pytest.raises(ConfigError, match="bbox_params have 2 label fields"):
        A.Compose([paints], bbox_params=two, seed=0)(**given(good[0], tracks=[]))
    with pytest.raises(ConfigError, match="cannot change 'masks'"):
        A.Compose([paints], seed=0)(image=np.asarray(good[0]["image"]), masks=[np.ones((96, 96), np.uint8)])
    with pytest.raises(ConfigError, match="a mask has the shape \\(96, 96, 3\\)"):
        A.Compose([paints], seed=0)(image=np.asarray(good[0]["image"]), mask=np.zeros((96, 96, 3), np.uint8))
    without = AlbumentationsTransform(packages, bank, mask_column=None, p=1.0)
    with pytest.raises(ConfigError, match="'mask' is given, and the dataset has no column of such"):
        A.Compose([without], seed=0)(**{name: given(good[0])[name] for name in ("image", "mask")})
    with pytest.raises(ConfigError, match="p is 1"):
        AlbumentationsTransform(packages, bank, p=1.5)


def test_without_albumentations_the_line_says_how_to_get_it(monkeypatch):
    import magical_hub.augmentation

    monkeypatch.delitem(sys.modules, "magical_hub.augmentation.albumentations")
    monkeypatch.delattr(magical_hub.augmentation, "AlbumentationsTransform", raising=False)
    monkeypatch.setitem(sys.modules, "albumentations", None)
    with pytest.raises(MissingPackageError, match=r"^albumentations is not installed: pip install 'magical-hub\[alb"):
        magical_hub.augmentation.AlbumentationsTransform  # noqa: B018
