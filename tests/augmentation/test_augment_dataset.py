"""Synthetic rows in a training set: the same features, the classes wanted, and never stale."""

from __future__ import annotations

import logging
import re
import shutil
from collections import Counter

import datasets
import numpy as np
import pytest
from PIL import Image

from magical_hub import MagicalPipeline, augment_dataset
from magical_hub.augmentation.rows import PROVENANCE
from magical_hub.data import package_dataset
from magical_hub.errors import AugmentationError, ConfigError, DataError
from magical_hub.seeds import image_seed


def files(cache) -> dict[str, int]:
    """The Arrow files in the cache, and when each was written."""
    return {str(path): path.stat().st_mtime_ns for path in cache.rglob("*.arrow")}


def synthetic(augmented, real) -> datasets.Dataset:
    return augmented.select(range(len(real), len(augmented)))


def test_the_rows_of_the_dataset_and_then_synthetic_ones_of_the_same_features(labelled, class_pipe, pixels):
    augmented = augment_dataset(labelled, class_pipe, 8)
    assert augmented.features == labelled.features and len(augmented) == 18
    assert np.array_equal(pixels(augmented.select(range(10))), pixels(labelled))
    assert augmented["board"][:] == [*labelled["board"], *[None] * 8]  # null, for nobody knows
    made = synthetic(augmented, labelled)
    assert all(image.mode == "RGB" and image.size == (40, 30) for image in made["image"])
    names = labelled.features["label"].int2str(made["label"][:])
    alone = class_pipe(seeds=[image_seed(0, number) for number in range(8)], class_labels=names).images
    resized = np.stack([np.asarray(image.resize((40, 30), Image.Resampling.LANCZOS)).astype(int) for image in alone])
    assert np.abs(pixels(made) - resized).max() <= 1


def test_rare_classes_are_filled_first(labelled, class_pipe):
    def counts(num_images: int, **more) -> dict[str, int]:
        names = labelled.features["label"].int2str(
            augment_dataset(labelled, class_pipe, num_images, **more)["label"][:]
        )
        return Counter(names)

    assert counts(4) == {"good": 7, "void": 4, "crack": 3}
    assert counts(14) == {"good": 8, "void": 8, "crack": 8}
    assert counts(40, balance=False)["good"] > 25


def test_only_classes_that_occur_are_made(make_labelled, class_pipe):
    normals = make_labelled(["good"] * 3, names=("good", "something else"))
    assert augment_dataset(normals, class_pipe, 5)["label"][:] == [0] * 8


@pytest.mark.parametrize(("mode", "top"), [("L", 255), ("RGB", 255), ("I;16", 65535)])
def test_images_look_as_those_of_the_dataset(make_labelled, class_pipe, mode, top):
    real = make_labelled(["good", "void"], size=(31, 22), mode=mode)
    made = synthetic(augment_dataset(real, class_pipe, 2), real)["image"][:]
    assert all(image.mode == mode and image.size == (31, 22) for image in made)
    assert all(top / 4 < np.asarray(image).max() <= top for image in made)


def test_most_images_decide_how_all_look(make_labelled, class_pipe):
    mixed = datasets.concatenate_datasets(
        [make_labelled(["good"] * 2, size=(16, 16), mode="L"), make_labelled(["void"] * 3, size=(24, 20))]
    )
    assert synthetic(augment_dataset(mixed, class_pipe, 1), mixed)[0]["image"].size == (24, 20)


def test_saved_and_loaded(labelled, class_pipe, pixels, tmp_path):
    augmented = augment_dataset(labelled, class_pipe, 3, provenance=True)
    augmented.save_to_disk(tmp_path / "saved")
    augmented.to_parquet(tmp_path / "hub.parquet")  # the form that push_to_hub uploads
    parquet = {"data_files": str(tmp_path / "hub.parquet"), "cache_dir": str(tmp_path / "parquet")}
    for again in (
        datasets.load_from_disk(tmp_path / "saved"),
        datasets.load_dataset("parquet", split="train", **parquet),
    ):
        assert again.features == augmented.features
        assert np.array_equal(pixels(again), pixels(augmented))
        assert again.remove_columns("image")[:] == augmented.remove_columns("image")[:]


@pytest.mark.parametrize(
    ("folder", "source"),
    [("runs/qfn", "qfn@[0-9a-f]{12}"), ("hub/models--acme--qfn/snapshots/0123abcd", "acme/qfn@0123abcd")],
)
def test_the_source_is_a_run_or_a_revision_and_no_path(labelled, pipe_folder, tmp_path, folder, source):
    shutil.copytree(pipe_folder, tmp_path / folder)
    pipe = MagicalPipeline.from_pretrained(tmp_path / folder)
    made = augment_dataset(labelled, pipe, 1, label_column=None, provenance=True)
    assert re.fullmatch(source, made[10]["source"])


def test_provenance(labelled, class_pipe):
    augmented = augment_dataset(labelled, class_pipe, 4, seed=5, provenance=True)
    assert list(augmented.features)[-3:] == ["synthetic", "source", "seed"]
    assert augmented["synthetic"][:] == [False] * 10 + [True] * 4
    assert augmented["seed"][:] == [None] * 10 + [image_seed(5, number) for number in range(4)]
    assert augmented["source"][:10] == [None] * 10 and len({*augmented["source"][10:]}) == 1
    name, _, weights = augmented["source"][10].partition("@")
    assert name == "unsaved" and len(weights) == 12
    with pytest.raises(DataError, match="has a column 'synthetic' already"):
        augment_dataset(augmented, class_pipe, 1, provenance=True)


def test_the_same_rows_whatever_the_batch_size(labelled, class_pipe, pixels):
    eight, three = (augment_dataset(labelled, class_pipe, 10, batch_size=size) for size in (8, 3))
    assert np.abs(pixels(eight) - pixels(three)).max() <= 1 and eight["label"][:] == three["label"][:]


@pytest.mark.slow
def test_the_same_bits_whatever_the_number_of_processes(labelled, class_pipe, pixels, cache):
    one = augment_dataset(labelled, class_pipe, 150)
    before = pixels(one)
    for path in cache.rglob("*.arrow"):
        path.unlink()
    two = augment_dataset(labelled, class_pipe, 150, num_proc=2)
    assert np.array_equal(pixels(two), before) and two["label"][:] == one["label"][:]


def test_a_second_call_makes_nothing_and_a_changed_one_everything(labelled, class_pipe, make_pipeline, cache):
    first = augment_dataset(labelled, class_pipe, 3)
    made = files(cache)
    assert len(made) == 1
    again = augment_dataset(labelled, class_pipe, 3, num_proc=2)
    assert files(cache) == made and again._fingerprint == first._fingerprint

    other_weights = make_pipeline(channels=3, class_names=["crack", "good", "void"])
    fewer = labelled.select(range(9))
    changed = [
        (labelled, class_pipe, {"seed": 1}),
        (labelled, class_pipe, {"batch_size": 2}),
        (labelled, class_pipe, {"balance": False}),
        (labelled, class_pipe, {"provenance": True}),
        (labelled, class_pipe, {"keep": "all"}),
        (labelled, other_weights, {}),
        (fewer, class_pipe, {}),
        (labelled.cast_column("label", datasets.ClassLabel(names=["crack", "good", "void"])), class_pipe, {}),
    ]
    for number, (dataset, its_pipe, more) in enumerate(changed, 2):
        augment_dataset(dataset, its_pipe, 3, **more)
        assert len(files(cache)) == number, more
    assert {path: when for path, when in files(cache).items() if path in made} == made


def test_a_dictionary_of_splits_is_augmented_in_train_alone(labelled, class_pipe):
    splits = datasets.DatasetDict(train=labelled, test=labelled)
    augmented = augment_dataset(splits, class_pipe, 2)
    assert isinstance(augmented, datasets.DatasetDict) and {name: len(rows) for name, rows in augmented.items()} == {
        "train": 12,
        "test": 10,
    }
    assert augmented["test"] is labelled
    with pytest.raises(DataError, match="no split 'train' among test"):
        augment_dataset(datasets.DatasetDict(test=labelled), class_pipe, 2)


def test_a_stream_is_interleaved(labelled, class_pipe, pixels):
    stream = labelled.to_iterable_dataset(num_shards=2)
    augmented = augment_dataset(stream, class_pipe, 6, provenance=True, probability=0.5)
    assert isinstance(augmented, datasets.IterableDataset)
    rows = list(augmented)
    assert len(rows) == 16 and augmented.features["label"] == labelled.features["label"]
    told = [row["synthetic"] for row in rows]
    assert sum(told) == 6 and told != sorted(told)
    assert sorted(row["board"] for row in rows if not row["synthetic"]) == sorted(labelled["board"])
    made = [row for row in rows if row["synthetic"]]
    assert sorted(row["seed"] for row in made) == sorted(image_seed(0, number) for number in range(6))
    assert Counter(row["label"] for row in made) == {0: 2, 1: 2, 2: 2}  # nobody has counted the stream's
    assert [row["seed"] for row in rows] == [row["seed"] for row in augmented]  # and again


def test_a_format_is_kept(labelled, class_pipe):
    augmented = augment_dataset(labelled.with_format("numpy"), class_pipe, 2)
    assert augmented.format["type"] == "numpy" and augmented[11]["image"].shape == (30, 40, 3)
    for form in ("numpy", None):  # of some columns, and with those that are added
        some = labelled.with_format(form, columns=["image", "label"])
        augmented = augment_dataset(some, class_pipe, 2, provenance=True)
        assert augmented.format["type"] == form and augmented.column_names == [*labelled.column_names, *PROVENANCE]
        assert [*augmented[11]] == ["image", "label", *PROVENANCE] == [*augmented[1]]


def test_text_and_numbers_can_be_classes_too(labelled, class_pipe):
    names = labelled.features["label"].names
    text = labelled.map(lambda row: {"kind": names[row["label"]]}).remove_columns("label")
    augmented = augment_dataset(text, class_pipe, 14, label_column="kind")
    assert augmented.features == text.features and Counter(augmented["kind"]) == dict.fromkeys(names, 8)


def test_without_a_label_column_no_class_is_asked_for(labelled, class_pipe, pipe):
    unlabelled = labelled.remove_columns("label")
    assert len(augment_dataset(unlabelled, pipe, 2, label_column=None)) == 12
    augmented = augment_dataset(labelled, class_pipe, 30, label_column=None)  # as the checkpoint draws, and told
    assert {0, 1, 2} == {*augmented["label"][10:]}


def test_a_filter_is_asked_until_enough_are_there(labelled, class_pipe, caplog):
    def bright(images, annotations):
        assert images.dtype == np.uint8 and images.shape[1:] == (32, 48, 3)
        assert {annotation["class_name"] for annotation in annotations} <= {"void", "good", "crack"}
        return images.mean(axis=(1, 2, 3)) > 118

    with caplog.at_level(logging.INFO):
        kept = synthetic(augment_dataset(labelled, class_pipe, 12, keep=bright, provenance=True), labelled)
    every = synthetic(augment_dataset(labelled, class_pipe, 12, keep="all", provenance=True), labelled)
    assert len(kept) == 12 and kept["label"][:] == every["label"][:]
    same = [a == b for a, b in zip(kept["seed"], every["seed"], strict=True)]
    assert 0 < sum(same) < 12  # what was bright at once is the same image
    first = next(record.message for record in caplog.records if "kept of" in record.message)
    assert first.startswith("12 images kept of ") and "dropped by the filter" in first


def test_where_the_tries_run_out_nothing_is_left(labelled, class_pipe, cache):
    def never(images, annotations):
        return ["too dull"] * len(images)

    with pytest.raises(AugmentationError, match=r"100 images gave 0 of the 4 wanted \(100 too dull\): train"):
        augment_dataset(labelled, class_pipe, 4, keep=never)
    assert files(cache) == {}
    with pytest.raises(ConfigError, match="let it give one bool or one string per image"):
        augment_dataset(labelled, class_pipe, 4, keep=lambda images, annotations: True)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"num_images": 0}, ConfigError, "num_images is 0: it must be at least 1"),
        ({"num_images": 2.5}, ConfigError, "num_images is 2.5: it must be a whole number, at least 1"),
        ({"batch_size": 0}, ConfigError, "batch_size is 0"),
        ({"batch_size": 2.0}, ConfigError, "batch_size is 2.0: it must be a whole number"),
        ({"num_proc": 1.5}, ConfigError, "num_proc is 1.5: it must be a whole number"),
        ({"num_proc": 0}, ConfigError, "num_proc is 0"),
        ({"probability": 1.0}, ConfigError, "probability is 1.0"),
        ({"keep": "some"}, ConfigError, "keep is 'some': give 'verified', 'all' or a filter"),
        ({"image_column": "picture"}, DataError, "no column 'picture', only image, label, board"),
        ({"image_column": "board"}, DataError, "column 'board' holds no images"),
        ({"label_column": "class"}, DataError, "no column 'class', only image, label, board"),
        ({"label_column": "board"}, DataError, "has no class 'board 0', .*it has the classes crack, good, void"),
        ({"label_column": "image"}, DataError, "column 'image' holds"),
        ({"objects_column": "board"}, DataError, "column 'board' holds no list of bbox and category"),
    ],
)
def test_mistakes(labelled, class_pipe, cache, arguments, error, words):
    with pytest.raises(error, match=words) as refusal:
        augment_dataset(labelled, class_pipe, **{"num_images": 2, **arguments})
    assert "\n" not in str(refusal.value) and files(cache) == {}


def test_mistakes_in_the_dataset(make_labelled, class_pipe, pipe, labelled):
    strangers = make_labelled(["good", "scratch"], names=("good", "scratch"))
    with pytest.raises(DataError, match=r"has no class 'scratch' of column 'label' .it has the classes crack, good"):
        augment_dataset(strangers, class_pipe, 2)
    with pytest.raises(DataError, match=r"has no class .*it has no classes.: .* label_column=None"):
        augment_dataset(labelled, pipe, 2)
    with pytest.raises(DataError, match="dataset is a list"):
        augment_dataset([1, 2], class_pipe, 2)
    with pytest.raises(DataError, match="holds no image"):
        augment_dataset(labelled.map(lambda row: {"image": None}, features=labelled.features), class_pipe, 2)
    unnamed = labelled.select([0]).map(lambda row: {"label": None}, features=labelled.features)
    with pytest.raises(DataError, match="names no class in any row"):
        augment_dataset(unnamed, class_pipe, 2)
    untyped = datasets.IterableDataset.from_generator(lambda: iter([{"image": 1}]))
    with pytest.raises(DataError, match="does not say what its columns hold"):
        augment_dataset(untyped, class_pipe, 2)


def test_boxes_and_masks_that_do_not_fit(class_pipe):
    packages = package_dataset(3, 64, defect_rate=1.0).remove_columns("label")
    outside = packages.map(lambda row: {"objects": [{"bbox": [64, 0, 5, 5], "category": 1}]})
    with pytest.raises(DataError, match=r"row 0 has the box \[64.0, 0.0, 5.0, 5.0\] .* outside the image of 64 x 64"):
        augment_dataset(outside, class_pipe, 2, label_column=None)
    features = datasets.Features({**packages.features, "mask": datasets.Image()})
    masked = packages.map(lambda row: {"mask": Image.new("L", (64, 32))}, features=features)
    with pytest.raises(DataError, match="the mask of row 0 is 32 x 64 and its image 64 x 64"):
        augment_dataset(masked, class_pipe, 2, label_column=None)


def test_what_the_checkpoint_cannot_know_is_null(class_pipe):
    packages = package_dataset(3, 64)
    augmented = augment_dataset(packages, class_pipe, 2, label_column=None)
    assert augmented.features == packages.features
    made = synthetic(augmented, packages)
    assert made["objects"][:] == [None] * 2 and made["label"][:] == made["package"][:] == [None] * 2
