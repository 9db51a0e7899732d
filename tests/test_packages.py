"""The package pictures, through their public face: `package_dataset` and `render_package`."""

from __future__ import annotations

import numpy as np
import pytest

from magical_hub.errors import DataError
from magical_hub.packages import DEFECTS, PACKAGES, package_dataset, render_package

ALLOWED = {
    "QFN": {"scratch", "chipped_edge", "missing_lead", "contamination", "void", "wrong_marking"},
    "BGA": {"scratch", "chipped_edge", "missing_ball", "contamination", "void"},
    "SOIC": {"scratch", "chipped_edge", "bent_lead", "missing_lead", "contamination", "void", "wrong_marking"},
}


@pytest.fixture(scope="module")
def pairs():
    """Pictures with a defect, each beside its good twin."""
    return [(render_package(i, 64, 2, 1.0), render_package(i, 64, 2, 0.0)) for i in range(150)]


@pytest.fixture(scope="module")
def dataset():
    return package_dataset(80, image_size=96, seed=4, defect_rate=0.5)


def test_same_arguments_give_the_same_bits():
    first, second = render_package(3, 128, 9, 0.5), render_package(3, 128, 9, 0.5)
    assert np.array_equal(first.image, second.image)
    assert (first.package, first.defect, first.boxes) == (second.package, second.defect, second.boxes)
    assert first.image.shape == (128, 128, 3) and first.image.dtype == np.uint8


def test_a_row_is_the_picture_of_its_index(dataset):
    for index in (7, 70):
        row, alone = dataset[index], render_package(index, 96, 4, 0.5)
        assert np.array_equal(np.asarray(row["image"]), alone.image)
        assert dataset.features["package"].int2str(row["package"]) == alone.package
        assert dataset.features["label"].int2str(row["label"]) == (alone.defect or "normal")
        assert [tuple(item["bbox"]) for item in row["objects"]] == list(alone.boxes)


def test_a_shorter_dataset_is_the_beginning_of_a_longer_one(dataset):
    short = package_dataset(3, image_size=96, seed=4, defect_rate=0.5)
    for index, row in enumerate(short):
        assert np.array_equal(np.asarray(row["image"]), np.asarray(dataset[index]["image"]))


def test_seeds_and_indices_differ():
    images = [render_package(index, 64, seed).image for index in range(3) for seed in range(3)]
    assert len({image.tobytes() for image in images}) == len(images)


def test_features_are_as_documented(dataset):
    names = ["normal", *DEFECTS]
    assert list(dataset.features) == ["image", "label", "package", "objects"]
    assert dataset.features["label"].names == names
    assert dataset.features["package"].names == list(PACKAGES) == ["QFN", "BGA", "SOIC"]
    assert dataset.features["objects"].feature["category"].names == names
    assert dataset.features["objects"].feature["bbox"].length == 4
    assert dataset[0]["image"].mode == "RGB" and dataset[0]["image"].size == (96, 96)


def test_normal_rows_have_no_objects_and_defective_rows_one_of_their_class(dataset):
    for row in dataset.remove_columns("image"):
        categories = [item["category"] for item in row["objects"]]
        assert categories == ([row["label"]] if row["label"] else [])
    share = np.mean([label > 0 for label in dataset["label"]])
    assert 0.3 < share < 0.7


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_defect_rate_at_its_ends(rate):
    assert all((render_package(i, 64, 1, rate).defect is not None) == bool(rate) for i in range(20))


def test_every_defect_occurs_and_suits_its_package(pairs):
    assert {faulty.defect for faulty, _ in pairs} == set(DEFECTS)
    for faulty, good in pairs:
        assert faulty.defect in ALLOWED[faulty.package]
        assert (good.package, good.defect, good.boxes) == (faulty.package, None, ())


def test_the_box_is_tight_about_the_change(pairs):
    for faulty, good in pairs:
        change = np.abs(faulty.image.astype(int) - good.image).max(axis=2)
        ((x, y, width, height),) = faulty.boxes
        assert 0 <= x < x + width <= 64 and 0 <= y < y + height <= 64
        columns, rows = slice(int(x), int(x + width)), slice(int(y), int(y + height))
        inside = change[rows, columns]
        outside = change.copy()
        outside[rows, columns] = 0
        assert inside.max() >= 10, f"{faulty.defect} cannot be seen"
        assert outside.max() <= 10, f"{faulty.defect} reaches out of its box"
        edges = (inside[0], inside[-1], inside[:, 0], inside[:, -1])
        assert all(edge.max() >= min(10, inside.max() / 2) for edge in edges)


def test_pictures_of_a_type_are_aligned():
    good = [render_package(i, 64, 6, 0.0) for i in range(60)]
    for package in PACKAGES:
        images = np.stack([shot.image.mean(axis=2) for shot in good if shot.package == package])
        mean = images.mean(axis=0)

        def likeness(image, across, down, mean=mean):
            return np.corrcoef(np.roll(image, (down, across), (0, 1)).ravel(), mean.ravel())[0, 1]

        assert np.mean([likeness(image, 0, 0) for image in images]) > 0.65
        for image in images:
            # One part in 64 is the pose's 1 % and the turn's share at the rim, rounded up to a pixel.
            steps = [(across, down) for across in range(-3, 4) for down in range(-3, 4)]
            best = max(steps, key=lambda step, image=image: likeness(image, *step))
            assert max(map(abs, best)) <= 1, package


def test_the_composition_does_not_depend_on_the_image_size():
    for index in range(4):
        small, large = render_package(index, 64, 8, 1.0), render_package(index, 320, 8, 1.0)
        assert (small.package, small.defect) == (large.package, large.defect)
        reduced = large.image.reshape(64, 5, 64, 5, 3).mean(axis=(1, 3))
        assert np.corrcoef(reduced.ravel(), small.image.ravel())[0, 1] > 0.95


def test_the_smallest_and_the_largest_image():
    assert render_package(0, 64).image.shape == (64, 64, 3)
    assert render_package(0, 2048).image.shape == (2048, 2048, 3)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"num_images": 0}, "num_images"),
        ({"num_images": 2.5}, "num_images"),
        ({"num_images": 1, "image_size": 63}, "image_size"),
        ({"num_images": 1, "image_size": 2049}, "image_size"),
        ({"num_images": 1, "seed": -1}, "seed"),
        ({"num_images": 1, "defect_rate": 1.01}, "defect_rate"),
        ({"num_images": 1, "defect_rate": float("nan")}, "defect_rate"),
        ({"num_images": 1, "defect_rate": "half"}, "defect_rate"),
    ],
)
def test_bad_input_is_refused_in_one_line(arguments, named):
    with pytest.raises(DataError, match=named) as refusal:
        package_dataset(**arguments)
    assert "\n" not in str(refusal.value)


def test_a_bad_index_is_refused():
    with pytest.raises(DataError, match="index"):
        render_package(-1)
