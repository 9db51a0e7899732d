"""Painted rows in training sets: by a call, by the command, by a transform in a DataLoader's workers."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from typing import Any

import datasets
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from magical_hub import MagicalTransform, augment_dataset
from magical_hub.augmentation import Settings, write_augmented
from magical_hub.data import open_dataset
from magical_hub.defects import DefectBank
from magical_hub.errors import ConfigError, DataError
from magical_hub.export import write_dataset

VALUES = {1: "scratch", 2: "spot"}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Where synthetic rows are written."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture(scope="module")
def rows(make_plates):
    """Four defective plates and six good ones, with boxes, masks and a label that says which. Not to be changed."""
    plain = make_plates()
    labels = ["bad"] * 4 + ["good"] * 6
    return plain.add_column("label", labels).cast_column("label", datasets.ClassLabel(names=["good", "bad"]))


def test_painted_rows_follow_the_real_ones(rows, bank):
    made = augment_dataset(rows, bank, 12, seed=3, provenance=True)
    assert made.features["objects"] == rows.features["objects"] and len(made) == 22
    painted = made.select(range(10, 22))
    good = np.stack([np.asarray(row["image"]) for row in rows.select(range(4, 10))])
    names = rows.features["objects"].feature["category"].names
    for row in painted:
        image, mask = np.asarray(row["image"]), np.asarray(row["mask"])
        differs = good != image  # from each good image: the target is the one that nearly all pixels agree with
        target = differs.sum(axis=(1, 2)).argmin()
        assert not (differs[target] & (mask == 0)).any()
        assert row["label"] == 1 and row["synthetic"] and row["source"].startswith("real defects")
        assert row["objects"]
        for item in row["objects"]:
            x, y, w, h = map(int, item["bbox"])
            value = next(value for value, name in VALUES.items() if name == names[item["category"]])
            assert (mask[y : y + h, x : x + w] == value).any()


def test_what_is_said_of_the_good_image_stays(rows, bank):
    lots, verdicts = ["L0", "L1", "L2", "L7", "L8"], ["scrap", "OK"]
    more = rows.add_column("lot", [0, 0, 1, 2, 3, 3, 3, 4, 4, 4], feature=datasets.ClassLabel(names=lots))
    more = more.add_column("verdict", [0] * 4 + [1] * 6, feature=datasets.ClassLabel(names=verdicts))
    good = np.stack([np.asarray(row["image"]) for row in more.select(range(4, 10))])
    for row in augment_dataset(more, bank, 6).select(range(10, 16)):
        target = 4 + int((good != np.asarray(row["image"])).sum(axis=(1, 2)).argmin())
        assert row["lot"] == more[target]["lot"] and row["label"] == 1 and row["verdict"] == 0
    transform = MagicalTransform(more, bank, p=1.0)
    for number in range(4, 10):
        made = transform.change(more[number], 0)
        assert made["objects"] and made["lot"] == more[number]["lot"] and made["label"] == 1 and made["verdict"] == 0


def test_lots_stay_where_references_serve_as_good_images(make_plates):
    data = make_plates(bad=4, good=0, with_mask=False, with_reference=True)
    data = data.add_column("lot", [0, 1, 1, 1], feature=datasets.ClassLabel(names=["L0", "L1"]))
    bank = DefectBank.from_dataset(data, reference_column="reference")
    references = np.stack([np.asarray(row["reference"]) for row in data])
    for row in augment_dataset(data, bank, 6).select(range(4, 10)):
        target = int((references != np.asarray(row["image"])).sum(axis=(1, 2)).argmin())
        assert row["lot"] == data[target]["lot"]


def as_palette(marked: np.ndarray, noise: np.ndarray) -> Image.Image:
    image = Image.fromarray((~marked).astype(np.uint8), mode="P")
    image.putpalette([255] * 3 + [0] * 765)  # white, which marks, is number 0
    return image


def as_jpeg(marked: np.ndarray, noise: np.ndarray) -> Image.Image:
    target = io.BytesIO()
    Image.fromarray(np.where(marked, 255, noise).astype(np.uint8)).save(target, "JPEG", quality=95)
    return Image.open(target)


def bordered(value: int) -> Callable[..., Image.Image]:
    """Masks of 0 and 1, and another value in the first rows."""

    def mask(marked: np.ndarray, noise: np.ndarray) -> Image.Image:
        numbers = marked.astype(np.uint8)
        numbers[:40] = value
        return Image.fromarray(numbers)

    return mask


@pytest.mark.parametrize(
    ("make", "names", "marks", "border"),
    [
        (bordered(255), None, lambda x: x == 1, 255),
        (bordered(4), {1: "crack"}, lambda x: x == 1, 4),
        (as_palette, None, lambda x: x == 0, None),
        (as_jpeg, None, lambda x: x > 127, None),
    ],
)
def test_masks_of_good_images_are_read_as_all_masks_are(make, names, marks, border, make_plates):
    plain = make_plates(with_boxes=False)
    noise = np.random.default_rng(0).integers(0, 3, (96, 96))
    written = [make(np.asarray(mask) > 0, noise) for mask in plain["mask"]]
    data = plain.remove_columns("mask").add_column("mask", [encoded(image) for image in written])
    data = data.cast_column("mask", datasets.Image())
    bank = DefectBank.from_dataset(data, mask_values=names)
    transform = MagicalTransform(data, bank, p=1.0)
    made = [*augment_dataset(data, bank, 6).select(range(10, 16))]
    for number, row in enumerate(data.select(range(4, 10))):
        arrays = {name: np.asarray(image) for name, image in row.items()}
        made += [transform.change(row, number), transform.change(arrays, number)]
    good = np.stack([np.asarray(image) for image in data["image"][4:]])
    for row in made:
        image, mask = np.asarray(row["image"]), np.asarray(row["mask"])
        changed = min((other != image for other in good), key=np.sum)
        assert changed.any() and not (changed & ~marks(mask)).any()
        if border is not None:
            assert (mask[:40][~marks(mask[:40])] == border).all() and not (mask[40:] == border).any()
    for row in data.select(range(4)):
        assert transform.change(row, 0)["image"] is row["image"]


def encoded(image: Image.Image) -> dict[str, Any]:
    return datasets.Image().encode_example(image)


def in_form(data: datasets.Dataset, form: Callable[[Image.Image], Any]) -> datasets.Dataset:
    """A dataset whose images are stored in another form."""
    images = [encoded(form(image)) for image in data["image"]]
    changed = data.remove_columns("image").add_column("image", images)
    return changed.cast_column("image", datasets.Image())


def see_through(image: Image.Image) -> Image.Image:
    opacity = np.full((96, 96), 255, np.uint8)
    opacity[:8], opacity[8:16] = 0, 100
    return Image.fromarray(np.dstack([np.asarray(image), opacity]))


def big_endian(image: Image.Image) -> dict[str, Any]:
    target = io.BytesIO()
    tifffile.imwrite(target, np.asarray(image), byteorder=">")
    return {"bytes": target.getvalue(), "path": None}


@pytest.mark.parametrize(
    ("mode", "form", "look"),
    [
        ("RGBA", see_through, {"channels": 3}),
        ("LA", see_through, {}),
        ("RGBA", lambda image: image.convert("RGBA"), {}),
        ("I;16B", big_endian, {"top": 65535}),
    ],
)
def test_painted_images_have_the_mode_of_the_real_ones(mode, form, look, make_plates, make_pipeline):
    data = in_form(make_plates(with_mask=False, **look), form)
    bank = DefectBank.from_dataset(data)
    good = np.stack([np.asarray(image) for image in data["image"][4:]]).reshape(6, 96, 96, -1)
    for row in augment_dataset(data, bank, 4, label_column=None).select(range(10, 14)):
        assert row["image"].mode == mode
        pixels = np.asarray(row["image"]).reshape(96, 96, -1)
        changed = min(((other != pixels).any(axis=2) for other in good), key=np.sum)
        inside = np.zeros((96, 96), bool)
        for x, y, width, height in (map(int, item["bbox"]) for item in row["objects"]):
            inside[y : y + height, x : x + width] = True
        assert changed.any() and not (changed & ~inside).any()
        assert mode not in ("LA", "RGBA") or (pixels[changed, -1] == 255).all()
    made = augment_dataset(data, (make_pipeline(), bank), 2, label_column=None)
    assert {made[number]["image"].mode for number in (10, 11)} == {mode}


def test_images_with_a_palette_are_refused_and_converted_by_a_cast(make_plates, tmp_path, monkeypatch):
    data = in_form(make_plates(with_mask=False), lambda image: image.convert("P"))
    bank = DefectBank.from_dataset(data)
    with pytest.raises(DataError, match=r"^the image of row 4 has the mode P, which painted images cannot have: cast"):
        augment_dataset(data, bank, 2)
    data.save_to_disk(tmp_path / "data")
    monkeypatch.setattr(DefectBank, "tune", lambda *arguments, **named: pytest.fail("tuning began"))
    with pytest.raises(DataError, match=r"^the image of row 4 has the mode P"):  # before the work
        write_augmented(str(tmp_path / "data"), None, tmp_path / "out", Settings(2, label_column=None), tune=True)
    made = augment_dataset(data.cast_column("image", datasets.Image(mode="L")), bank, 2)
    assert {image.mode for image in made["image"]} == {"L"} and all(made["objects"][10:])


@pytest.mark.parametrize(("top", "dtype"), [(255, np.uint8), (65535, np.uint16), (4095, np.uint16)])
def test_a_filter_gets_images_of_8_bits_and_one_size(top, dtype, make_plates):
    """A plate is 0.7 to 0.85 of white, whatever white is."""

    def keep(images: np.ndarray, annotations: Sequence[dict[str, Any]]) -> np.ndarray:
        assert images.dtype == np.uint8 and len(images) == len(annotations) and all(annotations)
        assert 150 < np.median(images) < 230
        shapes.add(images.shape[1:])
        return images.sum(axis=(1, 2)) % 3 > 0

    shapes: set[tuple[int, ...]] = set()
    data = make_plates(with_mask=False, top=top)
    larger = [np.pad(np.asarray(data[number]["image"]), ((0, 16), (0, 0)), "edge") for number in (8, 9)]
    features = data.features
    more = [{"image": Image.fromarray(pixels), "objects": []} for pixels in larger]
    mixed = datasets.concatenate_datasets([data, datasets.Dataset.from_list(more, features=features)])
    assert np.asarray(mixed[0]["image"]).dtype == dtype
    bank = DefectBank.from_dataset(mixed)
    made = augment_dataset(mixed, bank, 12, keep=keep, batch_size=12).select(range(12, 24))
    assert shapes == {(96, 96), (112, 96)} == {image.size[::-1] for image in made["image"]}


def test_floats_of_images_of_12_bits_have_no_known_scale(make_plates):
    data = make_plates(top=4095, with_mask=False)
    transform = MagicalTransform(data, DefectBank.from_dataset(data), p=1.0)
    pixels = np.asarray(data[5]["image"])
    made = transform.change({"image": pixels, "objects": []}, 0)
    assert made["objects"] and made["image"].dtype == np.uint16 and made["image"].max() <= 4095
    for floats in (pixels / 4095, pixels / 65535):
        with pytest.raises(ConfigError, match="end at 4095 of 65535: whether 1 stands for the one or the other"):
            transform.change({"image": floats, "objects": []}, 0)


def test_what_is_no_dataset_is_refused(rows, bank):
    splits, stream = datasets.DatasetDict({"train": rows, "test": rows}), rows.to_iterable_dataset()
    for use in (
        DefectBank.from_dataset,
        DefectBank.tune,
        lambda data: MagicalTransform(data, bank),
        lambda data: write_dataset(data, "nowhere"),
    ):
        with pytest.raises(
            DataError, match=r"^dataset is a DatasetDict of 'train', 'test': give one split, as data\["
        ):
            use(splits)
        with pytest.raises(
            DataError, match=r"^dataset is a stream \(IterableDataset\): load it without streaming=True"
        ):
            use(stream)
        with pytest.raises(DataError, match=r"^dataset is a list: give a datasets.Dataset$"):
            use([rows[0]])
    with pytest.raises(ConfigError, match=r"^defects are painted on a Dataset"):
        augment_dataset(stream, bank, 2)
    with pytest.raises(DataError, match=r"^dataset is a list: give a datasets.Dataset or IterableDataset$"):
        augment_dataset([rows[0]], bank, 2)


def test_rows_depend_on_neither_batches_nor_processes(rows, bank):
    one, other = (augment_dataset(rows, bank, 70, batch_size=size, num_proc=n) for size, n in ((1, None), (8, 2)))
    for a, b in zip(one.select(range(10, 80)), other.select(range(10, 80)), strict=True):
        assert a["image"].tobytes() == b["image"].tobytes() and a["objects"] == b["objects"]


def test_both_classes_are_made_as_often(rows, bank):
    made = augment_dataset(rows, bank, 10, seed=1)
    kinds = [{item["category"] for item in row["objects"]} for row in made.select(range(10, 20))]
    assert sum(0 in kind for kind in kinds) >= 5 and sum(1 in kind for kind in kinds) >= 5


def test_on_generated_images(rows, bank, make_pipeline):
    pipe = make_pipeline()
    made = augment_dataset(rows, (pipe, bank), 3, label_column=None)
    for row in made.select(range(10, 13)):
        assert row["image"].size == rows[0]["image"].size and row["image"].mode == "L" and row["objects"]


@pytest.mark.parametrize("null", [False, True], ids=["classes alone", "objects that are null"])
def test_only_images_that_are_known_to_be_good_are_painted_on(rows, bank, null, caplog):
    names = ["good", "dent", "scratch", "spot"]
    plain = rows.remove_columns(["mask", "label"] if null else ["mask", "label", "objects"])
    plain = plain.add_column("label", [2] * 4 + [0] * 6, feature=datasets.ClassLabel(names=names))
    dented = {"image": Image.new("L", (96, 96), 9), "label": 1, **({"objects": None} if null else {})}
    dents = datasets.Dataset.from_list([dented] * 9, features=plain.features)
    data = datasets.concatenate_datasets([plain, dents])
    for row in augment_dataset(data, bank, 12).select(range(19, 31)):
        assert np.median(np.asarray(row["image"])) > 100 and names[row["label"]] in bank.classes
    assert "9 rows do not say whether they have a defect, and are left out (their classes: dent)" in caplog.text
    transform = MagicalTransform(data, bank, p=1.0)
    assert transform(dict(dents[0]))["image"].tobytes() == dents[0]["image"].tobytes()
    assert transform(dict(plain[5]))["image"].tobytes() != plain[5]["image"].tobytes()


@pytest.mark.parametrize("form", ["folder", "paths"])
def test_an_image_file_that_was_changed_in_place_is_other_data(rows, bank, form, tmp_path):
    good = [tmp_path / "data" / f"{number}.png" for number in range(2)]
    good[0].parent.mkdir()
    for path in good:
        rows[5]["image"].save(path)
    lines = [{"file_name": path.name, "objects": []} for path in good]
    (tmp_path / "data" / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))

    def augmented() -> datasets.Dataset:
        table = open_dataset(tmp_path / "data")
        if form == "paths":
            features = rows.features
            table = datasets.Dataset.from_dict({"image": [str(path) for path in good], "objects": [[], []]})
            table = table.cast(datasets.Features({name: features[name] for name in ("image", "objects")}))
        else:
            table = table.cast_column("objects", rows.features["objects"])
        return augment_dataset(table, bank, 4)

    first = augmented()
    assert augmented()._fingerprint == first._fingerprint and all(np.median(row["image"]) > 100 for row in first)
    for path in good:
        rows[5]["image"].point(lambda level: level // 2).save(path)
    assert all(np.median(row["image"]) < 100 for row in augmented())


def test_a_class_that_is_called_good_is_not_believed_where_its_images_have_defects(make_plates, caplog):
    plain = make_plates(with_mask=False)
    plain = plain.map(lambda row, n: {"objects": row["objects"] if n < 8 else None, "label": "ok"}, with_indices=True)
    made = augment_dataset(plain, DefectBank.from_dataset(plain, label_column="label"), 8)
    assert "2 rows do not say whether they have a defect, and are left out (their classes: ok, of which" in caplog.text
    kept = np.stack([np.asarray(row["image"]) for row in plain.select(range(4, 8))])
    for row in made.select(range(10, 18)):
        assert (kept == np.asarray(row["image"])).mean(axis=(1, 2)).max() > 0.9


def test_products_are_not_good_by_their_names(rows, bank):
    products = rows.select_columns(["image", "label"])
    products = products.cast_column("label", datasets.ClassLabel(names=["board", "panel"]))
    with pytest.raises(
        DataError, match=r"no good image \(no objects, an empty mask, or a class \(label_column\) called "
    ):
        augment_dataset(products, bank, 2)


def test_references_serve_where_there_is_no_good_image(make_plates):
    data = make_plates(bad=4, good=0, with_mask=False, with_reference=True)
    bank = DefectBank.from_dataset(data, reference_column="reference")
    assert {defect["reference"] for defect in bank.report} <= {"column", "inpainting"}
    for row in augment_dataset(data, bank, 4).select(range(4, 8)):
        image, reference = np.asarray(row["image"]), np.asarray(row["reference"])
        changed = np.argwhere(image != reference)
        assert row["objects"] and len(changed)
        for y, x in changed:  # what differs from the reference that a painted row keeps lies in a box
            assert any(
                left <= x < left + width and top <= y < top + height
                for left, top, width, height in (item["bbox"] for item in row["objects"])
            )


def test_a_painted_image_keeps_its_reference(make_plates):
    data = make_plates(with_reference=True)
    bank = DefectBank.from_dataset(data, reference_column="reference", mask_values=VALUES)
    for row in augment_dataset(data, bank, 6).select(range(10, 16)):
        differs = np.asarray(row["image"]) != np.asarray(row["reference"])
        assert differs.any() and not (differs & (np.asarray(row["mask"]) == 0)).any()


def test_the_command_needs_no_checkpoint(run_here, rows, tmp_path):
    rows.save_to_disk(tmp_path / "data")
    arguments = ("augment", "--data", tmp_path / "data", "--num-images", 5, "--mask-values", "1=scratch,2=spot")
    ran = run_here(*arguments, "--output-dir", tmp_path / "out", "--json")
    assert ran.returncode == 0, ran.stderr
    about = json.loads(ran.stdout)
    assert about["real"] == 10 and about["synthetic"] == 5
    assert about["provenance"][0]["real_pixels"] is True
    made = datasets.load_from_disk(tmp_path / "out")
    assert sum(made["synthetic"]) == 5
    assert about["pictures"] == str(tmp_path / "out" / "samples.png")
    with Image.open(about["pictures"]) as sheet:  # four beside each other, enlarged by 5 and halved
        assert sheet.width == 4 * 240 and sheet.height > 2 * 240  # the legend is below
        for number in range(5):
            left, top = number % 4 * 240, number // 4 * 240
            shown = np.asarray(sheet.crop((left, top, left + 240, top + 240))).astype(int)
            assert shown.any() and (np.ptp(shown, axis=2) > 60).any()  # the plates are grey, what is drawn is not


def test_values_without_names_are_mentioned_once(run_command, rows, tmp_path):
    rows.remove_columns("objects").save_to_disk(tmp_path / "data")  # whose masks are read several times
    arguments = ("augment", "--data", tmp_path / "data", "--num-images", 1, "--output-dir", tmp_path / "out")
    ran = run_command(*arguments, HF_DATASETS_CACHE=str(tmp_path / "cache"))
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr.count("name them by --mask-values 1=NAME,2=NAME\n") == 1


def test_a_transform_paints_anew_in_every_epoch(rows, bank):
    transform = MagicalTransform(rows, bank, p=1.0)
    good = rows.select(range(4, 10))
    shown = good.with_transform(transform)
    torch.manual_seed(0)

    def epoch() -> list[bytes]:
        loader = torch.utils.data.DataLoader(shown, batch_size=None, num_workers=2)
        return [np.asarray(row["image"]).tobytes() for row in loader]

    first, second = epoch(), epoch()
    assert all(a != b for a, b in zip(first, second, strict=True))
    defective = rows.select(range(4)).with_transform(transform)
    for number in range(4):
        assert defective[number]["image"].tobytes() == rows[number]["image"].tobytes()


def test_mistakes(rows, bank, make_plates):
    with pytest.raises(DataError, match=r"^the dataset has no good image"):
        augment_dataset(rows.select(range(4)), bank, 2)
    with pytest.raises(DataError, match=r"^the masks tell apart 1, 2, and not 'scratch'"):
        augment_dataset(make_plates(), DefectBank.from_dataset(make_plates(), mask_column=None), 2)
    with pytest.raises(ConfigError, match="engine 'local'"):
        augment_dataset(rows, bank, 2, engine="ray")
    with pytest.raises(DataError, match="lack 'spot'"):
        lacking = rows.remove_columns(["objects", "mask"]).add_column(
            "objects",
            [[] for _ in range(10)],
            feature=datasets.List(
                {
                    "bbox": datasets.List(datasets.Value("float32"), length=4),
                    "category": datasets.ClassLabel(names=["scratch"]),
                }
            ),
        )
        augment_dataset(lacking, bank, 2)
    assert isinstance(rows[0]["image"], Image.Image)
