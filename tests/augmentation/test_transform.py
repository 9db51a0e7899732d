"""The transform of datasets: what comes out is synthetic, or has a defect, and says so."""

from __future__ import annotations

import pickle

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from magical_hub import MagicalTransform
from magical_hub.errors import ConfigError, DataError


@pytest.fixture(scope="module")
def transforms(packages, defect_pipe, tmp_path_factory):
    """One that always replaces, and one that always adds a defect to what has none."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("pool"))
        replaces = MagicalTransform(packages, defect_pipe, p=1.0, defect_share=0.0, pool_size=12)
        blends = MagicalTransform(packages, defect_pipe, p=1.0, defect_share=1.0, pool_size=12)
    return replaces, blends


def array(image) -> np.ndarray:
    return np.asarray(image).astype(int)


def test_a_row_is_replaced_by_one_of_its_class(packages, transforms):
    torch.manual_seed(0)
    changed = packages.with_transform(transforms[0])
    for old, new in zip(packages, changed, strict=True):
        assert new["label"] == old["label"] and new["image"].size == (96, 96) and new["image"].mode == "RGB"
        assert np.abs(array(new["image"]) - array(old["image"])).mean() > 10
        assert len(new["objects"]) == (old["label"] != 0) == np.asarray(new["mask"]).any()
        assert all(item["category"] == old["label"] for item in new["objects"])


def test_a_sound_row_gets_a_defect(good, transforms):
    torch.manual_seed(0)
    for old, new in zip(good, good.with_transform(transforms[1]), strict=True):
        if np.array_equal(array(old["image"]), array(new["image"])):
            continue
        ((x, y, width, height),) = [item["bbox"] for item in new["objects"]]
        assert new["label"] == new["objects"][0]["category"] != 0 and new["package"] == old["package"]
        mask = np.asarray(new["mask"]) > 0
        assert mask[int(y) : int(y + height), int(x) : int(x + width)].sum() == mask.sum() > 0
        change = np.abs(array(new["image"]) - array(old["image"])).max(2)
        assert change[mask].mean() > 5
        far = np.ones_like(mask)
        far[max(0, int(y) - 6) : int(y + height) + 6, max(0, int(x) - 6) : int(x + width) + 6] = False
        assert not change[far].any()


def test_defects_go_into_images_of_their_class_that_have_none(packages, transforms):
    torch.manual_seed(0)
    allowed = {"QFN": "scratch", "BGA": "scratch", "SOIC": "void"}
    label, package = packages.features["label"], packages.features["package"]
    for old, new in zip(packages, packages.with_transform(transforms[1]), strict=True):
        if old["label"]:  # it has one: it is replaced
            assert new["label"] == old["label"] and len(new["objects"]) == 1
        else:
            assert label.int2str(new["label"]) == allowed[package.int2str(new["package"])]


def test_p_is_the_share_that_changes(packages, defect_pipe):
    transform = MagicalTransform(packages, defect_pipe, p=0.25, pool_size=6)
    torch.manual_seed(0)
    row = packages[0]
    changed = [transform(row)["image"] is not row["image"] for _ in range(400)]
    assert 60 < sum(changed) < 140
    assert MagicalTransform(packages, defect_pipe, p=0.0, pool_size=6)(row) == row


def test_pickled_and_in_the_workers_of_a_loader(packages, transforms):
    again = pickle.loads(pickle.dumps(transforms[0]))
    loader = torch.utils.data.DataLoader(
        packages.with_transform(again),
        batch_size=4,
        num_workers=2,
        collate_fn=lambda rows: np.stack([array(row["image"]) for row in rows]),
    )
    real = [array(image) for image in packages["image"]]
    torch.manual_seed(3)
    first = np.concatenate([*loader])
    assert len(first) == len(packages) and not any(np.array_equal(a, b) for a, b in zip(first, real, strict=True))
    torch.manual_seed(3)
    assert np.array_equal(np.concatenate([*loader]), first)  # the loader's seed decides
    assert not np.array_equal(np.concatenate([*loader]), first)


@pytest.mark.parametrize(
    "values",
    [
        lambda x: x / 127.5 - 1,
        lambda x: x,  # 0 to 255
        lambda x: np.where(x > 200, np.nan, x / 255),
        lambda x: x / 255 + np.where(x > 200, np.inf, 0),
    ],
)
def test_floats_of_another_range_are_refused(packages, good, bank, transforms, values):
    image = values(np.asarray(good[0]["image"]).astype(np.float32)).astype(np.float32)
    for transform in (*transforms, MagicalTransform(packages, bank)):
        with pytest.raises(ConfigError, match=r"floats from .* to .*, and must hold them from 0 to 1: call this"):
            transform.change({**good[0], "image": image}, 0)


def test_arrays_of_any_form_get_what_pillows_images_get(packages, good, bank, transforms):
    levels = np.asarray(good[0]["image"])
    forms = {"floats": np.float64(levels / 255), "16 bits": levels.astype(np.uint16) * 257}
    for transform in (*transforms, MagicalTransform(packages, bank)):
        expected = array(transform.change(good[0], 3)["image"])
        assert (expected != levels).any()
        same = transform.change({**good[0], "image": levels}, 3)["image"]
        assert same.dtype == np.uint8 and np.array_equal(same, expected)
        for name, image in forms.items():
            made = transform.change({**good[0], "image": image}, 3)["image"]
            assert made.dtype == image.dtype
            assert np.abs(made * {"floats": 255, "16 bits": 1 / 257}[name] - expected).max() <= 1
        with pytest.raises((ConfigError, DataError), match="8 or 16 bits"):
            transform.change({**good[0], "image": levels.astype(np.int64)}, 3)


def test_mistakes(packages, labelled, class_pipe, defect_pipe, transforms):
    with pytest.raises(ConfigError, match="p is 1"):
        MagicalTransform(labelled, class_pipe, p=1.5)
    with pytest.raises(ConfigError, match=r"pool_size is 4.5: it must be a whole number, at least 1"):
        MagicalTransform(labelled, class_pipe, pool_size=4.5)
    with pytest.raises(ConfigError, match="pool_size is 2 for 3 classes: give at least one per class"):
        MagicalTransform(labelled, class_pipe, pool_size=2)
    with pytest.raises(
        ConfigError, match="was trained without defects, so it can't say what 'objects' of a synthetic image is"
    ):
        MagicalTransform(packages, class_pipe, label_column=None)
    replaces, _ = transforms
    with pytest.raises(ConfigError, match="an image is 20 x 30 and the pool 96 x 96 pixels: resize after"):
        replaces({"image": Image.new("RGB", (20, 30))})
    with pytest.raises(ConfigError, match="there is no 'image' among label"):
        replaces({"label": 0})
    with pytest.raises(ConfigError, match="got a Image, and takes rows of a dataset: torchvision's"):
        replaces(Image.new("RGB", (96, 96)))
    with pytest.raises(ConfigError, match="an image is a str"):
        replaces({"image": "image.png"})
