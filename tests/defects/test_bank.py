"""Where references come from, what is found to differ, and what is refused."""

from __future__ import annotations

import copy
import json
import logging
from dataclasses import replace

import cv2
import datasets
import numpy as np
import pytest
from PIL import Image

from magical_hub.data import open_dataset
from magical_hub.data.columns import objects_feature
from magical_hub.defects import DefectBank, PaintSettings
from magical_hub.errors import AugmentationError, ConfigError, DataError

VALUES = {1: "scratch", 2: "spot"}


def test_a_box_alone_is_enough(make_plates, make_plate):
    """The mask is what differs from the reference: all of what was drawn, and little more."""
    data = make_plates(bad=6, good=0, with_mask=False, with_reference=True)
    bank = DefectBank.from_dataset(data, reference_column="reference")
    assert bank.settings.composition == "difference" and len(bank) == 12
    for number, defect in enumerate(bank.report):
        truth = make_plate(defect["row"], True)[1] == 1 + number % 2
        grown = cv2.dilate(truth.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
        assert truth.sum() <= defect["pixels"] <= grown.sum()


def test_a_reference_is_moved_to_fit(make_plates):
    data = make_plates(bad=3, good=0, with_reference=True)

    def moved(row):
        return {"reference": Image.fromarray(np.roll(np.asarray(row["reference"]), (2, -3), (0, 1)))}

    plain, away = (
        DefectBank.from_dataset(rows, reference_column="reference", mask_values=VALUES)
        for rows in (data, data.map(moved))
    )
    for a, b in zip(plain.report, away.report, strict=True):
        assert a["reference"] == b["reference"] == "column" and a["error"] == b["error"]


def test_only_a_reference_shows_what_is_missing():
    """A dot is missing: plain surroundings fit better than a reference that is a little brighter, and lack the dot."""
    plain = np.full((64, 64), 120, np.uint8)
    box = {"bbox": datasets.List(datasets.Value("float32"), length=4), "category": datasets.ClassLabel(names=["dot"])}
    features = datasets.Features(image=datasets.Image(), reference=datasets.Image(), objects=datasets.List(box))

    def bank(brighter: int) -> DefectBank:
        reference = Image.fromarray(cv2.circle(plain + np.uint8(brighter), (30, 30), 5, 20, -1))
        missing = {"bbox": [24.0, 24.0, 13.0, 13.0], "category": 0}
        rows = [
            {"image": Image.fromarray(plain), "reference": reference, "objects": [missing]},
            {"image": reference, "reference": reference, "objects": []},
        ]
        return DefectBank.from_dataset(
            datasets.Dataset.from_list(rows, features=features), reference_column="reference"
        )

    (defect,) = bank(brighter=2).report
    assert defect["reference"] == "column" and defect["pixels"] == 81  # of the dot that OpenCV draws
    with pytest.raises(
        DataError, match=r"nothing differs|no defect"
    ):  # a reference of another brightness is not taken
        bank(brighter=40)


def test_without_references_a_good_image_serves(make_plate):
    """A defect hides a bar of the product, which no surroundings continue inwards."""
    pixels, _, _ = make_plate(0, False)
    pixels, mask = pixels.copy(), np.zeros((96, 96), np.uint8)
    pixels[30:60, 15:55], mask[30:60, 15:55] = 10, 1
    rows = [{"image": Image.fromarray(pixels), "mask": Image.fromarray(mask)}]
    for seed in range(1, 6):
        rows.append({"image": Image.fromarray(make_plate(seed, False)[0]), "mask": Image.new("L", (96, 96))})
    features = datasets.Features({"image": datasets.Image(), "mask": datasets.Image()})
    bank = DefectBank.from_dataset(datasets.Dataset.from_list(rows, features=features))
    (defect,) = bank.report
    assert defect["category"] == "defect" and defect["reference"] == "good image" and defect["error"] < 0.05
    settings = bank.settings
    assert settings.composition == "copied" and settings.keep_together and settings.max_shift is settings.fit is None


def test_boxes_of_aligned_images_stay_near(make_plates):
    rows = make_plates().remove_columns("mask")
    settings = DefectBank.from_dataset(rows).settings
    assert settings.composition == "matched" and settings.max_shift == 12


def test_anywhere_is_the_whole_image_and_never_over_its_edge(bank, make_plate):
    """Each defect keeps its number of pixels, and all places come up."""
    held = {(number["category"], number["pixels"]) for number in bank.report}
    target, middles = make_plate(80, False)[0], []
    for seed in range(60):
        painted = bank.paint(target, seed=seed)
        for number, category in enumerate(bank.classes, 1):
            found = int((painted.mask == number).sum())
            assert not found or any(kind == category and abs(found - pixels) <= 8 for kind, pixels in held)
        middles += [np.argwhere(painted.mask > 0).mean(axis=0)]
    spread = np.ptp(np.array(middles), axis=0)
    assert (spread > 48).all()


def test_defects_stay_near_their_place(bank, make_plates, make_plate):
    settings = replace(bank.settings, max_shift=0.0, mirrors=False)
    still = DefectBank.from_dataset(make_plates(), mask_values=VALUES, settings=settings)
    truths = [make_plate(number, True)[1] for number in range(4)]
    for seed in range(8):
        mask = still.paint(make_plate(80 + seed, False)[0], seed=seed).mask
        assert max(((mask > 0) & (truth > 0)).sum() / (mask > 0).sum() for truth in truths) == 1
    still.settings = replace(still.settings, max_shift=6.0)
    for seed in range(8):
        mask = still.paint(make_plate(80 + seed, False)[0], seed=seed).mask
        near = [cv2.dilate((truth > 0).astype(np.uint8), np.ones((13, 13), np.uint8)) for truth in truths]
        assert any((where[mask > 0] == 1).all() for where in near)


def board(seed: int, broken: bool) -> tuple[np.ndarray, np.ndarray, list[float]]:
    """Dark traces on a bright board, one of them broken."""
    rng = np.random.default_rng(seed)
    good = np.full((96, 96), 230, np.uint8)
    for row in 12 + 24 * np.arange(4) + rng.integers(-4, 5):
        good[row : row + 6] = 20
    x, row = int(rng.integers(20, 70)), int(np.flatnonzero(good[:, 0] == 20)[6 * int(rng.integers(4))])
    pixels = good.copy()
    if broken:
        pixels[row : row + 6, x : x + 5] = 230
    return pixels, good, [x - 3.0, row - 3.0, 11.0, 12.0]


@pytest.fixture(scope="module")
def breaks() -> DefectBank:
    """Of three broken boards with their templates, boxes 3 pixels wider than the break."""
    rows = []
    for seed in range(3):
        pixels, good, box = board(seed, True)
        objects = [{"bbox": box, "category": "break"}]
        rows.append({"image": Image.fromarray(pixels), "reference": Image.fromarray(good), "objects": objects})
    record = {"bbox": datasets.List(datasets.Value("float32"), length=4), "category": datasets.Value("string")}
    features = {"image": datasets.Image(), "reference": datasets.Image(), "objects": datasets.List(record)}
    data = datasets.Dataset.from_list(rows, features=datasets.Features(features))
    return DefectBank.from_dataset(data, reference_column="reference")


def test_a_break_needs_a_trace_to_break(breaks):
    painted = 0
    for seed in range(16):
        good = board(50 + seed, False)[0]
        result = breaks.paint(good, seed=seed)
        assert (good[result.changed] == 20).all()
        for item in result.objects:
            painted += 1
            inside = result.changed & _filled(item["bbox"], good.shape)
            rows, cols = np.nonzero(inside)
            x, y, _, _ = item["bbox"]
            sides = sorted([np.ptp(rows) + 1, np.ptp(cols) + 1])
            assert sides == [5, 6]  # across the whole trace, as long as the break was
            assert (cols.min() - x, rows.min() - y) == (3, 3) or min(x, y) == 0
    assert painted >= 12
    blank = breaks.paint(np.full((96, 96), 230, np.uint8), seed=0)
    assert not blank.objects and not blank.changed.any() and blank.dropped.total()


def _filled(box: tuple[float, ...], shape: tuple[int, ...]) -> np.ndarray:
    x, y, w, h = map(int, box)
    where = np.zeros(shape, bool)
    where[y : y + h, x : x + w] = True
    return where


def test_defects_where_they_are_told_to_be(bank, make_plate):
    target = make_plate(70, False)[0]
    wanted = [{"category": "spot", "bbox": [30, 50, 9, 9]}, {"category": "scratch", "bbox": [40, 12, 14, 12]}]
    result = bank.paint(target, wanted, seed=2)
    assert [item["category"] for item in result.objects] == ["spot", "scratch"]
    for item, given in zip(result.objects, wanted, strict=True):
        (x, y, w, h), (a, b, c, d) = item["bbox"], given["bbox"]
        assert abs(x + w / 2 - a - c / 2) <= 1.5 and abs(y + h / 2 - b - d / 2) <= 1.5
        assert w <= c + 1 and h <= d + 1
    with pytest.raises(ConfigError, match=r"^the bank has no class 'dent', only scratch, spot$"):
        bank.paint(target, [{"category": "dent"}])
    with pytest.raises(ConfigError, match=r"^a defect to paint has no box: give its category and its bbox alone$"):
        bank.paint(target, [{"category": "spot", "box": [30, 50, 9, 9]}])
    for strange in (["spot"], {"category": "spot"}):
        with pytest.raises(ConfigError, match=r"^a defect to paint is '(spot|category)': give a dictionary"):
            bank.paint(target, strange)
    with pytest.raises(AugmentationError, match=r"^the box .* would be scaled by 0\.1\d: .* 0\.25 to 4 is enough$"):
        bank.paint(target, [{"category": "scratch", "bbox": [40, 12, 2, 2]}])
    with pytest.raises(ConfigError, match="from 0 on"):
        bank.paint(target, seed=-1)
    with pytest.raises(DataError, match="outside the image"):
        bank.paint(target, [{"category": "spot", "bbox": [200, 5, 9, 9]}])


@pytest.mark.parametrize("bbox", [(20, 30, 34, 14), (30, 20, 14, 34), (40, 40, 8, 8), (33, 20, 30, 24)])
def test_a_defect_fills_its_box_and_never_leaves_it(bank, make_plate, bbox):
    """However it is turned and warped; by quarters it is turned as the box lies."""
    turning = copy.copy(bank)
    target, (x, y, w, h) = make_plate(70, False)[0], bbox
    for more in ({}, {"turn": 20.0}, {"elastic": 2.0}):
        turning.settings = replace(
            bank.settings, quarter_turns=True, mirrors=True, composition="copied", visible=0.0, **more
        )
        for seed in range(8):
            (item,) = turning.paint(target, [{"category": "scratch", "bbox": bbox}], seed).objects
            left, top, width, height = item["bbox"]
            assert x - 1 <= left and left + width <= x + w + 1 and y - 1 <= top and top + height <= y + h + 1
            assert more or w == h or (width > height) == (w > h)
            assert width >= w / 1.2 - 1 or height >= h / 1.2 - 1


def test_margins_are_turned_with_the_defect():
    """A bar whose end is dark, with 30 pixels of its box beyond the other end."""
    rows = []
    for seed in range(6):
        pixels = np.rint(100 + np.random.default_rng(seed).normal(0, 1, (128, 128))).astype(np.uint8)
        if seed < 3:
            pixels[60:66, 60:74], pixels[60:66, 74:80] = 230, 10
        objects = [{"bbox": [30.0, 60.0, 50.0, 6.0], "category": 0}] if seed < 3 else []
        rows.append({"image": Image.fromarray(pixels), "objects": objects})
    features = datasets.Features(image=datasets.Image(), objects=objects_feature(["bar"]))
    bank = DefectBank.from_dataset(datasets.Dataset.from_list(rows, features=features))
    bank.settings = replace(bank.settings, max_shift=0.0, fit=None, turn=180.0, mirrors=False, visible=0.0)
    sides = set()
    for seed in range(40):
        painted = bank.paint(np.full((128, 128), 100, np.uint8), seed=seed)
        bright, dark = (np.argwhere(part).mean(axis=0) for part in (painted.image > 200, painted.image < 40))
        down, right = bright - dark
        if abs(abs(down) - abs(right)) < 3:
            continue  # between two sides
        rows_there, cols_there = np.nonzero(painted.changed)
        x, y, w, h = painted.objects[0]["bbox"]
        beyond = {
            "left": cols_there.min() - x,
            "top": rows_there.min() - y,
            "right": x + w - cols_there.max() - 1,
            "bottom": y + h - rows_there.max() - 1,
        }
        side = ("bottom" if down > 0 else "top") if abs(down) > abs(right) else ("right" if right > 0 else "left")
        assert max(beyond, key=beyond.__getitem__) == side
        sides.add(side)
    assert sides == {"left", "top", "right", "bottom"}


def test_a_class_that_fits_nowhere(breaks):
    with pytest.raises(AugmentationError, match=r"^the defect 'break' fits nowhere on the image: "):
        breaks.paint(np.full((96, 96), 230, np.uint8), [{"category": "break"}])


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.zeros((40, 50), np.uint8), r"^the image is 40 x 50 and those of the bank are 96 x 96: "),
        (np.zeros((96, 96), np.float32), r"^the image has pixels of \(96, 96\) float32: give 8 or 16 bits"),
        (Image.new("RGBA", (96, 96)), r"^the image has the mode RGBA: convert it"),
    ],
)
def test_images_that_are_refused(bank, image, words):
    still = copy.copy(bank)
    still.settings = replace(bank.settings, max_shift=6.0)
    with pytest.raises(DataError, match=words):
        still.paint(image)


def test_data_that_is_refused(make_plates, caplog):
    with pytest.raises(DataError, match=r"^the dataset has no good image"):
        DefectBank.from_dataset(make_plates(good=0))
    masked = make_plates(with_boxes=False)
    masked = masked.map(lambda row, number: {"mask": row["mask"] if number < 4 else None}, with_indices=True)
    with pytest.raises(DataError, match=r"6 rows have no mask: name the label_column that tells which are good"):
        DefectBank.from_dataset(masked)
    masked = masked.add_column("label", ["bad"] * 4 + ["good"] * 6)
    assert len(DefectBank.from_dataset(masked, label_column="label")) > 0
    with pytest.raises(DataError, match=r"^no row of the dataset has a defect"):
        DefectBank.from_dataset(make_plates(bad=0))
    with pytest.raises(DataError, match=r"^the dataset has no column 'golden', only"):
        DefectBank.from_dataset(make_plates(), reference_column="golden")
    with pytest.raises(DataError, match="neither a column of objects nor one of masks"):
        DefectBank.from_dataset(make_plates(with_mask=False, with_boxes=False))

    def filled(row):
        return {"mask": Image.fromarray(np.full((96, 96), 1, np.uint8))}

    whole = make_plates(bad=1, with_boxes=False).select([0]).map(filled)
    good = make_plates(bad=0, with_boxes=False)
    with pytest.raises(
        DataError, match=r"^no defect of the dataset can be used: .*defects of row 0 that fill their image"
    ):
        DefectBank.from_dataset(datasets.concatenate_datasets([whole, good]), mask_values=VALUES)
    with caplog.at_level(logging.WARNING):
        one = DefectBank.from_dataset(make_plates(bad=1), mask_values=VALUES)
    assert len(one) == 2 and "has one example" in caplog.text


def test_a_reference_of_another_size(make_plates):
    data = make_plates(bad=2, good=0, with_reference=True)
    data = data.map(lambda row: {"reference": row["reference"].resize((50, 40))})
    with pytest.raises(DataError, match=r"^the reference of row 0 is 40 x 50 uint8, and the image 96 x 96 uint8"):
        DefectBank.from_dataset(data, reference_column="reference", mask_values=VALUES)


def test_a_damaged_bank_is_refused(bank, tmp_path):
    with pytest.raises(DataError, match=r"none holds no bank of defects"):
        DefectBank.load(tmp_path / "none")
    bank.save(tmp_path)
    record = json.loads((tmp_path / "bank.json").read_text())
    assert "real images" in record["note"]
    for example in record["examples"]:
        example["category"] = 1 - example["category"]
    (tmp_path / "bank.json").write_text(json.dumps(record))
    with pytest.raises(DataError, match=r"cannot be read \(bank.json was changed after it was written\)"):
        DefectBank.load(tmp_path)
    bank.save(tmp_path)
    (weights,) = tmp_path.glob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    with pytest.raises(DataError, match=r"cannot be read \(its files do not belong together\)"):
        DefectBank.load(tmp_path)


def test_a_bank_is_saved_over_another_one(bank, make_plates, tmp_path):
    """A stop after its pixels are written, and before bank.json is, leaves the old one."""
    old = DefectBank.from_dataset(make_plates(bad=2), mask_values=VALUES)
    old.save(tmp_path / "here")
    bank.save(tmp_path / "new")
    (pixels,) = (tmp_path / "new").glob("*.safetensors")
    (tmp_path / "here" / pixels.name).write_bytes(pixels.read_bytes())
    assert DefectBank.load(tmp_path / "here").sha256 == old.sha256
    bank.save(tmp_path / "here")
    assert DefectBank.load(tmp_path / "here").sha256 == bank.sha256
    assert {file.name for file in (tmp_path / "here").iterdir()} == {"bank.json", pixels.name}


def test_banks_of_the_first_format_are_read(bank, tmp_path):
    bank.save(tmp_path)
    record = json.loads((tmp_path / "bank.json").read_text())
    (tmp_path / record.pop("weights")).rename(tmp_path / "defects.safetensors")
    del record["sha256_of_this"], record["white"]
    record["format"] = 1
    (tmp_path / "bank.json").write_text(json.dumps(record))
    loaded = DefectBank.load(tmp_path)
    assert loaded.report == bank.report and loaded.white == 65535
    for wrong in (2, -1, "0", True):
        record["examples"][3]["category"] = wrong
        (tmp_path / "bank.json").write_text(json.dumps(record))
        with pytest.raises(DataError, match=rf"defect 3 is of the class {wrong!r}, which it has no name for"):
            DefectBank.load(tmp_path)
    record["format"] = 9
    (tmp_path / "bank.json").write_text(json.dumps(record))
    with pytest.raises(DataError, match="that has the format 9"):
        DefectBank.load(tmp_path)
    loaded.save(tmp_path)
    assert not (tmp_path / "defects.safetensors").exists() and len(DefectBank.load(tmp_path)) == len(bank)


def test_numbers_of_numpy_are_numbers(make_plates, tmp_path):
    rows = make_plates(bad=2, good=2)
    values = {np.int64(value): name for value, name in VALUES.items()}
    settings = PaintSettings(max_shift=np.float32(8), turn=np.int64(5), scale=(np.float32(0.5), 1))
    plain = PaintSettings(max_shift=8, turn=5, scale=(0.5, 1.0))
    bank = DefectBank.from_dataset(rows, mask_values=values, settings=settings)
    assert bank.sha256 == DefectBank.from_dataset(rows, mask_values=VALUES, settings=plain).sha256
    bank.save(tmp_path)
    assert DefectBank.load(tmp_path).settings == plain


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"composition": "poisson"}, "must be one of matched, copied, difference, ratio"),
        ({"scale": (2.0, 1.0)}, "the smallest factor must come first"),
        ({"strength": (1.0, float("nan"))}, "it must be at least 0.1 and at most 3"),
        ({"mirrors": 1}, "must be True or False"),
        ({"max_shift": -1}, "it must be at least 0 and at most"),
    ],
)
def test_settings_that_are_refused(values, words):
    with pytest.raises(ConfigError, match=words):
        PaintSettings(**values)


def test_nothing_is_painted_where_the_wanted_class_has_no_place(breaks, make_plate):
    target = np.full((96, 96), 230, np.uint8)
    painted = breaks.paint(target, containing="break")
    assert not painted.objects and not painted.changed.any() and painted.dropped.total() == 1


def test_the_mask_of_a_good_image_must_fit_too(make_plates):
    """It marks nothing, but may be that of another image."""
    row = make_plates(bad=2, good=2)
    rows = [
        {**one, "mask": Image.new("L", (20, 20)) if number == 3 else one["mask"]} for number, one in enumerate(row)
    ]
    data = datasets.Dataset.from_list(rows, features=row.features)
    with pytest.raises(DataError, match="the mask of row 3 is 20 x 20 and its image 96 x 96 pixels"):
        DefectBank.from_dataset(data)


@pytest.mark.parametrize(
    ("strange", "words"),
    [
        (np.dstack([np.full((40, 40), level, np.uint8) for level in (200, 90, 20)]), "is in colour .* is grey"),
        (np.full((40, 40), 40_000, np.uint16), r"has 16 bits a channel .* has 8 bits a channel \(4\)"),
        (np.full((40, 40, 3), 90, np.uint8), None),  # equal channels are grey
    ],
)
def test_images_of_another_kind_are_refused_by_name(tmp_path, strange, words):
    """In colour among grey ones, or deeper: they would be scaled and made grey without a word."""
    rows = []
    for number in range(5):
        pixels = np.full((40, 40), 150 + number, np.uint8)
        pixels[10:14, 12:20] = 150 + number if number < 3 else 60
        Image.fromarray(strange if number == 1 else pixels).save(tmp_path / f"{number}.png")
        objects = [] if number < 3 else [{"bbox": [12.0, 10.0, 8.0, 4.0], "category": "dent"}]
        rows.append({"file_name": f"{number}.png", "objects": objects})
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    if words is None:
        assert len(DefectBank.from_dataset(open_dataset(tmp_path))) == 2
        return
    with pytest.raises(DataError, match=rf"row 1 \(.*/1\.png\) {words}.*: convert them to one kind"):
        DefectBank.from_dataset(open_dataset(tmp_path))
