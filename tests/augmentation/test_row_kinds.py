"""Synthetic rows are as the real ones: in size as shown, bit depth, intensities, values of masks, type of boxes."""

from __future__ import annotations

import io
import json
import pickle
import sys

import datasets
import numpy as np
import pytest
import tifffile
from PIL import Image

from magical_hub import MagicalTransform, SeamlessGenerator, augment_dataset, cli
from magical_hub.augmentation import Settings, write_augmented
from magical_hub.errors import ConfigError, DataError

DEFECTS = datasets.ClassLabel(names=["void", "scratch"])
LEVELS = np.arange(40 * 60, dtype=np.uint8).reshape(40, 60)
MARKS = np.zeros((40, 60), bool)
MARKS[4:14, 6:30] = MARKS[20:25, 40:50] = True


def as_file(image: Image.Image, format: str = "PNG", **options) -> dict:
    target = io.BytesIO()
    image.save(target, format, **options)
    return {"bytes": target.getvalue(), "path": None}


def as_tiff(pixels: np.ndarray, **options) -> dict:
    target = io.BytesIO()
    tifffile.imwrite(target, pixels, **options)
    return {"bytes": target.getvalue(), "path": None}


def rows(features: dict, *made: dict) -> datasets.Dataset:
    return datasets.Dataset.from_list(list(made), features=datasets.Features(features))


def synthetic(dataset: datasets.Dataset, pipe, count: int = 6, **options) -> datasets.Dataset:
    options = {"label_column": None, "keep": "all", **options}
    whole = augment_dataset(dataset, pipe, count, **options)
    assert len(whole) == len(dataset) + count
    return whole.select(range(len(dataset), len(whole)))


@pytest.fixture(scope="module")
def grey_pipe(make_pipeline):
    """Two defects in grey images, each in about every other sub-region."""
    return make_pipeline(
        SeamlessGenerator, num_defects=2, defect_names=["void", "scratch"], defect_frequencies=[[[0.3, 0.3]] * 6]
    )


# -- masks -------------------------------------------------------------------------------------------------------


def palette(colours: list[int], marks: np.ndarray) -> dict:
    image = Image.fromarray(marks.astype(np.uint8), mode="P")
    image.putpalette(colours)
    return as_file(image)


MASKS = {
    "0 and 1": (lambda m: as_file(Image.fromarray(m.astype(np.uint8))), "L", 1),
    "1 bit": (lambda m: as_file(Image.fromarray(m)), "1", True),
    "200": (lambda m: as_file(Image.fromarray(m.astype(np.uint8) * 200)), "L", 200),
    "JPEG": (lambda m: as_file(Image.fromarray(m.astype(np.uint8) * 255), "JPEG"), "L", 255),
    "red": (lambda m: as_file(Image.fromarray(m[..., None] * np.uint8([255, 0, 0]))), "RGB", [255, 0, 0]),
    "16 bits": (lambda m: as_file(Image.fromarray(m.astype(np.uint16) * 65535)), "I;16", 65535),
    "16 bits, number 7": (lambda m: as_file(Image.fromarray(m.astype(np.uint16) * 7)), "I;16", 7),
    "palette": (lambda m: palette([0, 0, 0, 255, 0, 0], m), "P", 1),
    "palette with white as 0": (lambda m: palette([255] * 3 + [0] * 765, ~m), "P", 0),
}


def masked(make) -> datasets.Dataset:
    features = {"image": datasets.Image(), "mask": datasets.Image()}
    return rows(
        features, *({"image": Image.fromarray(LEVELS), "mask": make(m)} for m in (MARKS, MARKS & False, MARKS))
    )


@pytest.mark.parametrize("kind", MASKS)
def test_synthetic_masks_mark_as_the_real_ones_do(kind, grey_pipe):
    make, mode, value = MASKS[kind]
    expected = [np.asarray(mask) > 0 for mask in synthetic(masked(MASKS["200"][0]), grey_pipe)["mask"]]
    assert np.any(expected) and not np.all(expected)
    for mask, marks in zip(synthetic(masked(make), grey_pipe)["mask"], expected, strict=True):
        assert mask.mode == mode
        pixels = np.asarray(mask)
        assert np.array_equal((pixels == value).all(-1) if pixels.ndim == 3 else pixels == value, marks)
        assert len(np.unique(pixels.reshape(len(pixels) * 60, -1), axis=0)) <= 2
    if mode == "P":  # the same colours
        real = masked(make)[0]["mask"]
        assert mask.getpalette("RGB")[:6] == real.getpalette("RGB")[:6]


def test_several_classes_in_a_mask(grey_pipe):
    values = np.where(MARKS, 9, 0).astype(np.uint8)
    values[20:25, 40:50] = 4
    real = masked(lambda m: as_file(Image.fromarray(values * m)))
    made = synthetic(real, grey_pipe, mask_values={4: "scratch", 9: "void"}, provenance=True)
    seen = grey_pipe(seeds=made["seed"][:], masks=True)
    for mask, classes in zip(made["mask"], seen.masks, strict=True):  # 1 is void and 2 scratch for the checkpoint
        assert {*np.unique(classes)} <= {0, 1, 2}
        larger = np.asarray(Image.fromarray(classes).resize((60, 40), Image.Resampling.NEAREST))
        assert np.array_equal(np.asarray(mask), np.array([0, 9, 4])[larger])
    assert {*np.unique(seen.masks)} == {0, 1, 2}
    with pytest.raises(DataError, match="the masks tell apart scratch, dark, and not 'void'"):
        synthetic(real, grey_pipe, mask_values={4: "scratch", 9: "dark"})
    with pytest.raises(DataError, match="mask_values name what masks mark, and no column has masks"):
        synthetic(real.remove_columns("mask"), grey_pipe, mask_values={4: "scratch"})


def test_the_command_takes_the_values_of_masks(grey_pipe, tmp_path, monkeypatch):
    values = np.where(MARKS, 9, 0).astype(np.uint8)
    masked(lambda m: as_file(Image.fromarray(values * m))).save_to_disk(tmp_path / "data")
    grey_pipe.save_pretrained(tmp_path / "run")
    arguments = {"data": tmp_path / "data", "checkpoint": tmp_path / "run", "output-dir": tmp_path / "out"}
    arguments |= {
        "num-images": 3,
        "format": "coco",
        "label-column": None,
        "keep": "all",
        "mask-values": "4=scratch,9=void",
    }
    options = [part for name, value in arguments.items() for part in (f"--{name}", str(value))]
    monkeypatch.setattr(sys, "argv", ["magical-hub", "augment", *options])
    cli.main()
    whole = json.loads((tmp_path / "out/annotations.json").read_text())
    assert [category["name"] for category in whole["categories"]] == ["scratch", "void"]
    assert [image["file_name"] for image in whole["images"]] == [
        *(f"{number:05d}.png" for number in range(3)),
        *(f"synthetic-0-{number:05d}.png" for number in range(3)),
    ]
    assert [image["synthetic"] for image in whole["images"]] == [False] * 3 + [True] * 3
    assert {annotation["image_id"] for annotation in whole["annotations"]} >= {0, 2}


# -- pixels ------------------------------------------------------------------------------------------------------


def pictures(make, count: int = 2) -> datasets.Dataset:
    return rows({"image": datasets.Image()}, *({"image": make(LEVELS + number)} for number in range(count)))


WIDE = {
    "16 bits": (lambda x: as_file(Image.fromarray(x.astype(np.uint16) * 257)), "I;16"),
    "16 bits big-endian": (lambda x: as_tiff(x.astype(np.uint16) * 257, byteorder=">"), "I;16B"),
}


@pytest.mark.parametrize("kind", WIDE)
def test_wide_pixels_keep_their_levels(kind, pipe):
    make, mode = WIDE[kind]
    levels = np.stack(
        [np.asarray(image) for image in synthetic(pictures(lambda x: as_file(Image.fromarray(x))), pipe)["image"]]
    )
    made = synthetic(pictures(make), pipe)["image"]
    assert {image.mode for image in made} == {mode}
    assert np.array_equal([np.asarray(image) for image in made], levels.astype(np.uint16) * 257)
    transform = MagicalTransform(pictures(make), pipe, p=1.0, pool_size=4, label_column=None, keep="all")
    shown = pickle.loads(pickle.dumps(transform))(pictures(make)[0])["image"]
    assert shown.mode == mode and any(
        np.array_equal(np.asarray(shown), each.astype(np.uint16) * 257) for each in levels[:4]
    )


@pytest.mark.parametrize(
    ("make", "mode", "span", "dtype"),
    [
        (lambda x: as_file(Image.fromarray(x.astype(np.uint16) * 16)), "I;16", (0, 4095), np.uint16),
        (lambda x: as_tiff(x.astype(np.float32) / 255), "F", (0.25, 0.75), np.float32),
        (lambda x: as_tiff(x.astype(np.int32) * 100), "I", (-1000, 20000), np.int32),
    ],
)
def test_intensities_are_those_that_the_checkpoint_learned(make, mode, span, dtype, make_pipeline):
    plain, ranged = make_pipeline(), make_pipeline(intensity_range=span)
    levels = np.stack(
        [np.asarray(image) for image in synthetic(pictures(lambda x: as_file(Image.fromarray(x))), plain)["image"]]
    )
    made = synthetic(pictures(make), ranged)["image"]
    assert {image.mode for image in made} == {mode}
    expected = span[0] + levels.astype(float) * (span[1] - span[0]) / 255
    expected = expected.round().astype(dtype) if np.issubdtype(dtype, np.integer) else expected.astype(dtype)
    assert np.array_equal(np.stack([np.asarray(image) for image in made]), expected)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda x: as_tiff(x.astype(np.float32) / 255), "hold floating-point pixels, which have no known range"),
        (lambda x: as_tiff(x.astype(np.int32) * 300), "hold 32-bit pixels, which have no known range"),
        (lambda x: as_tiff(np.dstack([x.astype(np.uint16) * 257] * 3), photometric="rgb"), "in colour of 16 bits"),
    ],
)
def test_pixels_of_no_known_range(make, words, pipe):
    for use in (synthetic, lambda data, pipe: MagicalTransform(data, pipe, label_column=None)):
        with pytest.raises(DataError, match=words):
            use(pictures(make), pipe)


def test_rows_of_another_depth_than_the_pool(pipe):
    transform = MagicalTransform(pictures(WIDE["16 bits"][0]), pipe, p=1.0, pool_size=4, label_column=None, keep="all")
    with pytest.raises(ConfigError, match="an image has the mode L and those of the pool I;16"):
        transform({"image": Image.fromarray(LEVELS)})


def test_a_defect_is_added_to_pixels_of_any_depth(make_pipeline):
    """Beyond the defect nothing changes, though some values are below 0."""
    pipe = make_pipeline(
        SeamlessGenerator,
        num_defects=1,
        defect_names=["void"],
        defect_frequencies=[[[0.5]] * 6],
        intensity_range=(-1000.0, 20000.0),
    )
    kinds = datasets.ClassLabel(names=["normal", "void"])
    features = {"image": datasets.Image(), "label": kinds, "mask": datasets.Image()}
    made = [
        {"image": as_tiff(LEVELS.astype(np.int32) * 80 - 900), "label": n, "mask": Image.fromarray(MARKS & bool(n))}
        for n in (0, 1)
    ]
    real = rows(features, *made)
    transform = MagicalTransform(real, pipe, p=1.0, defect_share=1.0, pool_size=4, keep="all")
    before, after = real[0], transform(real[0])
    assert before["image"].mode == after["image"].mode == "I" and after["label"] == 1
    changed = np.asarray(before["image"]) != np.asarray(after["image"])
    marked = np.asarray(after["mask"]) > 0
    assert changed[marked].mean() > 0.9 and np.asarray(before["image"])[~changed].min() == -900
    rows_of, cols_of = np.nonzero(marked)
    assert not changed[: max(0, rows_of.min() - 4)].any() and not changed[:, cols_of.max() + 5 :].any()
    with pytest.raises(ConfigError, match="an image has the mode P and those of the pool I"):
        transform({**real[0], "image": real[0]["image"].convert("L").convert("P")})


def test_a_defect_is_added_to_what_the_mask_says_is_good(grey_pipe):
    """The defects of others stay marked, and so does what their masks leave open."""

    def with_void(marks: np.ndarray) -> dict:
        values = marks.astype(np.uint8)
        values[:3] = 255
        return as_file(Image.fromarray(values))

    real = masked(with_void)
    transform = MagicalTransform(real, grey_pipe, p=1.0, defect_share=1.0, pool_size=4, label_column=None, keep="all")
    for number, row in enumerate(real):
        made = transform.change(row, number)
        stays = np.asarray(made["image"]) == np.asarray(row["image"])
        mask, before = np.asarray(made["mask"]), np.asarray(row["mask"])
        if number == 1:
            assert stays.mean() > 0.4 and (mask == 1).any() and not stays[mask == 1].all()
            assert np.array_equal(mask[mask != 1], before[mask != 1])
        else:  # another image, with the mask of that
            assert stays.mean() < 0.2 and not (mask == 255).any()


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF"])
def test_sizes_are_those_that_a_viewer_shows(format, grey_pipe):
    exif = Image.Exif()
    exif[0x112] = 6
    tag = {"tiffinfo": {274: 6}} if format == "TIFF" else {"exif": exif}
    features = {
        "image": datasets.Image(),
        "objects": datasets.List({"bbox": datasets.List(datasets.Value("float32")), "category": DEFECTS}),
        "mask": datasets.Image(),
    }
    objects = [{"bbox": [10, 50, 20, 9.5], "category": 0}]  # in the image of 40 x 60 as shown, and not in that stored
    mask = Image.new("L", (40, 60))
    mask.paste(255, (10, 50, 30, 60))
    row = {"image": as_file(Image.fromarray(LEVELS), format, **tag), "objects": objects, "mask": mask}
    real = rows(features, row, row)
    made = synthetic(real, grey_pipe)
    assert {image.size for image in real["image"]} == {image.size for image in made["image"]} == {(40, 60)}
    assert {mask.size for mask in made["mask"]} == {(40, 60)}
    transform = MagicalTransform(real, grey_pipe, p=1.0, pool_size=4, label_column=None, keep="all")
    assert transform(real[0])["image"].size == (40, 60)


# -- boxes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["records", "lists"])
def test_boxes_of_whole_numbers_hold_the_defect(layout, grey_pipe):
    def column(dtype: str):
        fields = {"bbox": datasets.List(datasets.Value(dtype)), "area": datasets.Value(dtype), "category": DEFECTS}
        return datasets.List(fields) if layout == "records" else {k: datasets.List(v) for k, v in fields.items()}

    def real(dtype: str) -> datasets.Dataset:
        objects = [{"bbox": [1, 2, 3, 4], "area": 12, "category": 0}]
        value = objects if layout == "records" else {k: [objects[0][k]] for k in objects[0]}
        return rows(
            {"image": datasets.Image(), "objects": column(dtype)},
            {"image": Image.new("L", (61, 47)), "objects": value},
        )

    exact, whole = synthetic(real("float64"), grey_pipe)["objects"], synthetic(real("int64"), grey_pipe)["objects"]
    boxes = [
        (box, rounded)
        for one, other in zip(exact, whole, strict=True)
        for box, rounded in zip(
            *([t["bbox"] for t in o] if layout == "records" else o["bbox"] for o in (one, other)), strict=True
        )
    ]
    assert boxes and any(side != int(side) for box, _ in boxes for side in box)
    for (x, y, w, h), (left, top, width, height) in boxes:
        assert left <= x < left + 1 and top <= y < top + 1
        assert left + width - 1 < x + w <= left + width <= 61 and top + height - 1 < y + h <= top + height <= 47
    areas = [a for o in whole for a in ([t["area"] for t in o] if layout == "records" else o["area"])]
    assert areas == [rounded[2] * rounded[3] for _, rounded in boxes]


# -- before the first image --------------------------------------------------------------------------------------


def test_what_a_format_needs_is_checked_before_an_image_is_made(
    make_pipeline, class_pipe, grey_pipe, labelled, tmp_path, monkeypatch
):
    class_pipe.save_pretrained(tmp_path / "run")
    grey_pipe.save_pretrained(tmp_path / "defects")
    labelled.save_to_disk(tmp_path / "plain")
    real = masked(MASKS["200"][0])
    real.add_column("label", ["good"] * 3).save_to_disk(tmp_path / "contradicting")
    real.save_to_disk(tmp_path / "masked")
    half = rows(
        {**real.features, "label": datasets.Value("string")},
        *(
            {**row, "label": label}
            for row, label in zip(real.with_format(None), ["crack", "good", "crack"], strict=True)
        ),
        {"image": Image.fromarray(LEVELS), "mask": None, "label": "crack"},
    )
    half.save_to_disk(tmp_path / "half")
    floats = pictures(lambda x: as_tiff(x.astype(np.float32) / 255)).add_column("label", ["good", "crack"])
    floats.save_to_disk(tmp_path / "floats")
    make_pipeline(intensity_range=(0.0, 1.0), class_names=["good", "crack"]).save_pretrained(tmp_path / "ranged")

    def none_is_made(*arguments, **named):
        pytest.fail("an image was made")

    monkeypatch.setattr("magical_hub.MagicalPipeline.__call__", none_is_made)
    for data, run, format, label, words in (
        (
            "plain",
            "run",
            "coco",
            "label",
            "coco is for boxes, and no column has objects with bbox and category, nor masks",
        ),
        ("plain", "run", "anomalib", None, "row 0 does not say whether it is normal"),
        ("contradicting", "defects", "yolo", "label", "row 0 is called 'good', and its mask marks a defect"),
        ("half", "defects", "anomalib", "label", "row 3 has no mask and others have"),
        ("floats", "ranged", "anomalib", "label", "row 0 holds float32 pixels, which are not written as PNG"),
        ("masked", "run", "coco", None, "run was trained without defects: its images have no boxes for coco"),
    ):
        with pytest.raises(DataError, match=words):
            write_augmented(
                str(tmp_path / data), str(tmp_path / run), tmp_path / "out", Settings(2, label_column=label), format
            )
    assert not (tmp_path / "out").exists()
