"""Images, masks, boxes, labels and names of every kind, written and read back by each format's own reader or rules.

Each is right in the file, value by value, or refused by name before anything is written.
"""

from __future__ import annotations

import io
import json
from decimal import Decimal
from pathlib import Path

import cv2
import datasets
import numpy as np
import pytest
import tifffile
import yaml
from PIL import Image
from pycocotools.coco import COCO
from scipy import ndimage

from magical_hub.errors import DataError
from magical_hub.export import write_dataset

KINDS = datasets.ClassLabel(names=["good", "crack", "dark"])
BOXES = datasets.List({"bbox": datasets.List(datasets.Value("float64"), length=4), "category": KINDS})
FORMATS = ("imagefolder", "coco", "yolo", "anomalib")


def rows(features: dict, *made: dict) -> datasets.Dataset:
    return datasets.Dataset.from_list(list(made), features=datasets.Features(features))


def noise(height: int = 24, width: int = 36, top: int = 256, channels: int = 0) -> np.ndarray:
    shape = (height, width, channels) if channels else (height, width)
    return np.random.default_rng(height).integers(0, top, shape).astype(np.uint16 if top > 256 else np.uint8)


def file(image: Image.Image, format: str, **options) -> dict:
    target = io.BytesIO()
    image.save(target, format, **options)
    return {"bytes": target.getvalue(), "path": None}


def tiff(pixels: np.ndarray, **options) -> dict:
    target = io.BytesIO()
    tifffile.imwrite(target, pixels, **options)
    return {"bytes": target.getvalue(), "path": None}


def turned(pixels: np.ndarray, orientation: int, format: str) -> dict:
    exif = Image.Exif()
    exif[0x112] = orientation
    return file(Image.fromarray(pixels), format, **({"exif": exif} if format != "TIFF" else {"tiffinfo": {274: 6}}))


def loaded(folder: Path, tmp_path: Path) -> datasets.Dataset:
    return datasets.load_dataset("imagefolder", data_dir=str(folder), split="train", cache_dir=str(tmp_path / "cache"))


def written(dataset: datasets.Dataset, folder: Path, format: str, **options) -> list[Path]:
    """The images that a format holds, in the order of their names."""
    write_dataset(dataset, folder, format, **options)
    places = {"coco": ["images"], "yolo": ["images/train"], "anomalib": ["normal", "abnormal"]}.get(format, ["good"])
    return sorted((path for place in places for path in (folder / place).glob("*.png")), key=lambda path: path.name)


# -- pixels ------------------------------------------------------------------------------------------------------

GREY, WIDE, COLOUR = noise(), noise(top=65536), noise(channels=3)
ALPHA = np.dstack([COLOUR, GREY])


def palette() -> Image.Image:
    image = Image.fromarray(GREY % 5, mode="P")
    image.putpalette([255, 255, 255, 9, 8, 7, 50, 60, 70, 1, 2, 3, 0, 255, 0])
    return image


PIXELS = {
    "8 bits": (lambda: file(Image.fromarray(GREY), "PNG"), GREY),
    "16 bits": (lambda: file(Image.fromarray(WIDE), "PNG"), WIDE),
    "16 bits big-endian": (lambda: tiff(WIDE, byteorder=">"), WIDE),
    "16 bits, white is 0": (lambda: tiff(WIDE, photometric="miniswhite"), 65535 - WIDE),
    "colour": (lambda: file(Image.fromarray(COLOUR), "BMP"), COLOUR),
    "colour in planes": (lambda: tiff(COLOUR.transpose(2, 0, 1), photometric="rgb", planarconfig="separate"), COLOUR),
    "alpha": (lambda: file(Image.fromarray(ALPHA), "PNG"), ALPHA),
    "palette": (lambda: file(palette(), "PNG"), np.asarray(palette().convert("RGB"))),
    "1 bit": (lambda: file(Image.fromarray(GREY > 99), "PNG"), np.where(GREY > 99, 255, 0)),
    "turned PNG": (lambda: turned(COLOUR, 6, "PNG"), np.rot90(COLOUR, -1)),
    "mirrored and turned PNG": (lambda: turned(COLOUR, 5, "PNG"), COLOUR.transpose(1, 0, 2)),
    "turned TIFF": (lambda: turned(GREY, 6, "TIFF"), np.rot90(GREY, -1)),
    "32-bit integers up to 65535": (lambda: tiff(WIDE.astype(np.int32)), WIDE),
}


@pytest.mark.parametrize("kind", PIXELS)
def test_pixels_are_those_of_the_data_set(kind, tmp_path):
    """OpenCV reads what was written."""
    make, expected = PIXELS[kind]
    ds = rows(
        {"image": datasets.Image(), "label": KINDS, "objects": BOXES}, {"image": make(), "label": 0, "objects": []}
    )
    for format in FORMATS:
        (path,) = written(ds, tmp_path / format, format)
        pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        shown = pixels[..., [2, 1, 0, 3][: pixels.shape[2]]] if pixels.ndim == 3 else pixels
        assert shown.dtype == (np.uint16 if expected is WIDE or kind.startswith("16") else np.uint8)
        assert np.array_equal(shown, expected)
        assert not Image.open(path).getexif()  # nothing turns it again
    (again,) = loaded(tmp_path / "imagefolder", tmp_path)["image"]
    stored = datasets.Image().decode_example(make())
    assert again.size == stored.size
    if "white is 0" not in kind and "planes" not in kind:  # which Pillow alone misreads
        assert np.array_equal(np.asarray(again), np.asarray(stored))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: tiff(np.float32(GREY / 255)), "row 1 holds float32 pixels, which are not written as PNG"),
        (lambda: tiff(WIDE.astype(np.uint32) * 9), "row 1 holds uint32 pixels"),
        (lambda: tiff(-WIDE.astype(np.int32)), "row 1 holds int32 pixels"),
        (lambda: tiff(np.dstack([WIDE] * 3), photometric="rgb"), "row 1 is in colour of 16 bits a channel"),
        (lambda: {"bytes": b"no image", "path": None}, "the image of row 1 cannot be read"),
    ],
)
def test_pixels_that_a_png_cannot_hold(make, words, tmp_path):
    ds = rows(
        {"image": datasets.Image(), "label": KINDS},
        *({"image": each(), "label": 0} for each in (lambda: file(Image.fromarray(GREY), "PNG"), make)),
    )
    for format in ("imagefolder", "anomalib"):
        with pytest.raises(DataError, match=words):
            write_dataset(ds, tmp_path / "out", format)
    assert not [*tmp_path.iterdir()]


def test_a_column_that_is_decoded_in_a_mode(tmp_path):
    ds = rows(
        {"image": datasets.Image(mode="L"), "objects": BOXES},
        {"image": file(Image.fromarray(COLOUR), "PNG"), "objects": []},
    )
    (path,) = written(ds, tmp_path / "out", "coco", label_column=None)
    assert np.array_equal(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), np.asarray(ds[0]["image"]))


# -- masks -------------------------------------------------------------------------------------------------------

MARKED = np.zeros((24, 36), bool)
MARKED[2:9, 3:20] = MARKED[15:20, 25:30] = True


def inverted(marked: np.ndarray, format: str) -> dict:
    image = Image.fromarray((~marked).astype(np.uint8), mode="P")
    image.putpalette([255] * 3 + [0] * 765)
    return file(image, format)


def soft(marked: np.ndarray) -> np.ndarray:
    return (255 * ndimage.gaussian_filter(marked.astype(float), 1.0)).round().astype(np.uint8)


def with_void(marked: np.ndarray) -> np.ndarray:
    values = marked.astype(np.uint8)
    values[22:] = 255
    return values


MASKS = {
    "0 and 255": lambda m: file(Image.fromarray(255 * m.astype(np.uint8)), "PNG"),
    "0 and 1": lambda m: file(Image.fromarray(m.astype(np.uint8)), "PNG"),
    "1 bit": lambda m: file(Image.fromarray(m), "PNG"),
    "249 and 255": lambda m: file(
        Image.fromarray(np.where(m, 255 - 6 * (np.arange(24) % 2)[:, None], 0).astype(np.uint8)), "PNG"
    ),
    "JPEG": lambda m: file(Image.fromarray(255 * m.astype(np.uint8)), "JPEG", quality=85),
    "1 with a void of 255": lambda m: file(Image.fromarray(with_void(m)), "PNG"),
    "red": lambda m: file(Image.fromarray(m[..., None] * np.uint8([255, 0, 0])), "PNG"),
    "16 bits": lambda m: file(Image.fromarray(m.astype(np.uint16) * 65535), "PNG"),
    "16 bits, number 1": lambda m: file(Image.fromarray(m.astype(np.uint16)), "PNG"),
    "palette, PNG, white is 0": lambda m: inverted(m, "PNG"),
    "palette, TIFF, white is 0": lambda m: inverted(m, "TIFF"),
}


def masked(make, tells: bool = True) -> datasets.Dataset:
    """A good image and a defective one."""
    return rows(
        {"image": datasets.Image(), "label": KINDS, "mask": datasets.Image()},
        {"image": file(Image.fromarray(GREY), "PNG"), "label": 0, "mask": make(MARKED & False) if tells else None},
        {"image": file(Image.fromarray(GREY), "PNG"), "label": 1, "mask": make(MARKED)},
    )


@pytest.mark.parametrize("kind", MASKS)
def test_masks_mark_the_same_in_every_format(kind, tmp_path):
    ds = masked(MASKS[kind])
    written(ds, tmp_path / "anomalib", "anomalib")
    mask = cv2.imread(str(tmp_path / "anomalib/masks/00001.png"), cv2.IMREAD_UNCHANGED)
    assert mask.dtype == np.uint8 and np.array_equal(mask, np.where(MARKED, 255, 0))
    assert not (tmp_path / "anomalib/masks/00000.png").exists()

    write_dataset(ds, tmp_path / "coco", "coco")
    coco = COCO(tmp_path / "coco/annotations.json")
    found = coco.loadAnns(coco.getAnnIds(imgIds=1))
    parts, _ = ndimage.label(MARKED, np.ones((3, 3)))
    assert [annotation["bbox"] for annotation in found] == [[3, 2, 17, 7], [25, 15, 5, 5]]
    assert [annotation["area"] for annotation in found] == [119, 25]
    assert {coco.cats[annotation["category_id"]]["name"] for annotation in found} == {"crack"}
    for number, annotation in enumerate(found, 1):
        assert np.array_equal(coco.annToMask(annotation), parts == number)
    assert not coco.getAnnIds(imgIds=0)

    write_dataset(ds, tmp_path / "yolo", "yolo")
    assert (tmp_path / "yolo/labels/train/00000.txt").read_text() == ""
    assert len((tmp_path / "yolo/labels/train/00001.txt").read_text().splitlines()) == 2

    write_dataset(ds, tmp_path / "imagefolder", "imagefolder")
    again = loaded(tmp_path / "imagefolder", tmp_path)
    for old, new in zip(ds, again, strict=True):  # as it was: values, palette and all
        assert np.array_equal(np.asarray(old["mask"]), np.asarray(new["mask"]))
        assert np.array_equal(np.asarray(old["mask"].convert("RGB")), np.asarray(new["mask"].convert("RGB")))


def test_soft_edges_are_cut_at_half(tmp_path):
    write_dataset(masked(lambda m: file(Image.fromarray(soft(m)), "PNG")), tmp_path / "out", "anomalib")
    mask = cv2.imread(str(tmp_path / "out/masks/00001.png"), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(mask, np.where(soft(MARKED) > 127, 255, 0))


def test_several_classes_in_one_mask(tmp_path):
    values = np.zeros((24, 36), np.uint8)
    values[2:9, 3:20], values[9:12, 3:20], values[15:20, 25:30] = 2, 7, 2  # the first two touch
    ds = masked(lambda m: file(Image.fromarray(values * (m.any())), "PNG"))
    write_dataset(ds, tmp_path / "coco", "coco", mask_values={7: "crack", 2: "dark area"})
    coco = COCO(tmp_path / "coco/annotations.json")
    assert [coco.cats[number]["name"] for number in sorted(coco.cats)] == ["crack", "dark area"]
    found = coco.loadAnns(coco.getAnnIds(imgIds=1))
    assert [(a["category_id"], a["bbox"]) for a in found] == [
        (1, [3, 9, 17, 3]),
        (2, [3, 2, 17, 7]),
        (2, [25, 15, 5, 5]),
    ]
    assert [coco.annToMask(a).sum() for a in found] == [51, 119, 25]
    write_dataset(ds, tmp_path / "yolo", "yolo", mask_values={7: "crack", 2: "dark area"})
    assert yaml.safe_load((tmp_path / "yolo/data.yaml").read_text())["names"] == {0: "crack", 1: "dark area"}
    lines = (tmp_path / "yolo/labels/train/00001.txt").read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["0", "1", "1"]
    with pytest.raises(DataError, match="mask_values name what masks mark, and no column has masks"):
        write_dataset(ds.remove_columns("mask"), tmp_path / "no", "coco", mask_values={7: "crack"})


def test_a_good_image_without_a_mask_is_sound(tmp_path):
    """As 300 good images without masks and 20 defective ones with them are given."""
    ds = masked(MASKS["0 and 255"], tells=False)
    for format in ("coco", "yolo", "anomalib"):
        write_dataset(ds, tmp_path / format, format)
    assert (tmp_path / "yolo/labels/train/00000.txt").read_text() == ""
    assert [path.name for path in (tmp_path / "anomalib/masks").iterdir()] == ["00001.png"]
    products = ds.cast_column("label", datasets.ClassLabel(names=["board", "crack"]))
    for format, column in (("coco", None), ("yolo", "label"), ("anomalib", "label")):
        with pytest.raises(DataError, match="row 0 does not say whether it"):
            write_dataset(products, tmp_path / "no", format, label_column=column)


def test_anomalib_s_masks_are_of_all_abnormal_images_or_of_none(tmp_path):
    ds = masked(MASKS["0 and 255"])
    more = ds.select([1]).map(lambda row: {"mask": None}, features=ds.features, keep_in_memory=True)
    whole = datasets.concatenate_datasets([ds, more])
    with pytest.raises(DataError, match="row 2 has no mask and others have: give all or none"):
        write_dataset(whole, tmp_path / "out", "anomalib")
    write_dataset(whole, tmp_path / "out", "anomalib", mask_column=None)
    assert sorted(path.name for path in (tmp_path / "out/abnormal").iterdir()) == ["00001.png", "00002.png"]
    with pytest.raises(DataError, match="there is no normal image"):
        write_dataset(ds.select([1]), tmp_path / "none", "anomalib")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda row, n: {"mask": None}, "row 1 does not say whether it has defects"),
        (lambda row, n: {"label": 0}, "row 1 is called 'good', and its mask marks a defect"),
        (lambda row, n: {"label": None}, "row 1 is called None, and its mask marks a defect"),
        (lambda row, n: {"mask": Image.new("L", (36, 20))}, "the mask of row 0 is 20 x 36 and its image 24 x 36"),
    ],
)
def test_masks_that_do_not_say_enough(change, words, tmp_path):
    ds = masked(MASKS["0 and 255"])
    ds = ds.map(change, with_indices=True, features=ds.features, keep_in_memory=True)
    for format in ("coco", "yolo"):
        with pytest.raises(DataError, match=words):
            write_dataset(ds, tmp_path / "out", format)
    assert not (tmp_path / "out").exists()


# -- boxes -------------------------------------------------------------------------------------------------------


def boxed(*boxes: list, dtype: str = "float64", size: tuple[int, int] = (36, 24)) -> datasets.Dataset:
    feature = datasets.List({"bbox": datasets.List(datasets.Value(dtype)), "category": KINDS})
    image = Image.new("L", size, 90)
    objects = [{"bbox": box, "category": 1} for box in boxes]
    return rows({"image": datasets.Image(), "objects": feature}, {"image": image, "objects": objects})


def edges(line: str) -> list[Decimal]:
    """Left, top, right and bottom that a line of YOLO stands for, exactly as printed."""
    _, x, y, width, height = map(Decimal, line.split())
    return [x - width / 2, y - height / 2, x + width / 2, y + height / 2]


def test_boxes_over_the_edge_are_clipped_once(tmp_path):
    given = [[-3, -3, 13, 13], [-0.4, 0, 36.8, 24], [30, 20, 10, 10], [1.25, 2.5, 3.125, 4]]
    clipped = [[0, 0, 10, 10], [0, 0, 36, 24], [30, 20, 6, 4], [1.25, 2.5, 3.125, 4]]
    ds = boxed(*given)
    for format in ("imagefolder", "coco", "yolo"):
        write_dataset(ds, tmp_path / format, format, label_column=None)
    annotations = COCO(tmp_path / "coco/annotations.json").loadAnns([1, 2, 3, 4])
    assert [annotation["bbox"] for annotation in annotations] == clipped
    assert [annotation["area"] for annotation in annotations] == [w * h for _, _, w, h in clipped]
    (row,) = loaded(tmp_path / "imagefolder", tmp_path)
    assert [item["bbox"] for item in row["objects"]] == clipped
    lines = (tmp_path / "yolo/labels/train/00000.txt").read_text().splitlines()
    for line, (x, y, width, height) in zip(lines, clipped, strict=True):
        sides = [float(edge) for edge in edges(line)]
        assert sides == pytest.approx([x / 36, y / 24, (x + width) / 36, (y + height) / 24], abs=1e-6)


def test_objects_as_a_record_of_lists(tmp_path):
    """As `datasets` stores what older versions called a Sequence."""
    lists = {"bbox": datasets.List(datasets.List(datasets.Value("int64"))), "category": datasets.List(KINDS)}
    ds = rows(
        {"image": datasets.Image(), "objects": lists},
        {"image": Image.fromarray(GREY), "objects": {"bbox": [[1, 2, 3, 4], [30, 20, 9, 9]], "category": [2, 1]}},
        {"image": Image.fromarray(GREY), "objects": {"bbox": [], "category": []}},
    )
    write_dataset(ds, tmp_path / "out", "coco", label_column=None)
    coco = COCO(tmp_path / "out/annotations.json")
    assert [(a["category_id"], a["bbox"]) for a in coco.loadAnns([1, 2])] == [(3, [1, 2, 3, 4]), (2, [30, 20, 6, 4])]
    assert not coco.getAnnIds(imgIds=1)


@pytest.mark.parametrize("layout", ["records", "lists"])
def test_what_else_is_said_of_an_object(layout, tmp_path):
    fields = {
        "id": datasets.Value("int64"),
        "bbox": datasets.List(datasets.Value("int64")),
        "area": datasets.Value("float64"),
        "category": KINDS,
        "depth": datasets.Value("string"),
    }
    items = [{"id": 70 + n, "bbox": [n, 2, 3, 4], "area": 7.5, "category": 1, "depth": "µm"[n:]} for n in range(2)]
    column = (
        datasets.List(fields)
        if layout == "records"
        else {name: datasets.List(value) for name, value in fields.items()}
    )
    objects = items if layout == "records" else {name: [item[name] for item in items] for name in fields}
    ds = rows({"image": datasets.Image(), "objects": column}, {"image": Image.fromarray(GREY), "objects": objects})
    write_dataset(ds, tmp_path / "coco", "coco", label_column=None)
    for number, annotation in enumerate(COCO(tmp_path / "coco/annotations.json").loadAnns([1, 2])):
        assert (annotation["id"], annotation["area"], annotation["bbox"]) == (number + 1, 12, [number, 2, 3, 4])
        assert (annotation["original_id"], annotation["original_area"]) == (70 + number, 7.5)
        assert annotation["depth"] == "µm"[number:]
    write_dataset(ds, tmp_path / "imagefolder", "imagefolder", label_column=None)
    (again,) = loaded(tmp_path / "imagefolder", tmp_path)
    assert again["objects"] == [{**item, "category": "crack"} for item in items]


def test_names_of_categories_in_any_script(tmp_path):
    names = ["Riß", "裂纹", 'a "b": #c', "\N{SNOWMAN}\N{ROCKET}", "two\nlines"]
    kinds = datasets.ClassLabel(names=names)
    feature = datasets.List({"bbox": datasets.List(datasets.Value("int64")), "category": kinds})
    objects = [{"bbox": [1, 1, 2, 2], "category": number} for number in range(5)]
    ds = rows({"image": datasets.Image(), "objects": feature}, {"image": Image.fromarray(GREY), "objects": objects})
    write_dataset(ds, tmp_path / "yolo", "yolo", label_column=None)
    about = yaml.safe_load((tmp_path / "yolo/data.yaml").read_text(encoding="utf-8"))
    assert about["names"] == dict(enumerate(names))
    write_dataset(ds, tmp_path / "coco", "coco", label_column=None)
    coco = COCO(tmp_path / "coco/annotations.json")
    assert [coco.cats[annotation["category_id"]]["name"] for annotation in coco.loadAnns(range(1, 6))] == names


@pytest.mark.parametrize("size", [(7, 3), (1000, 999), (4093, 4099)])
def test_lines_of_yolo_lie_in_the_image_to_the_last_digit(size, tmp_path):
    rng = np.random.default_rng(size[0])
    corners = rng.uniform(0, 1, (60, 2)) * size
    boxes = np.concatenate([corners, rng.uniform(0.01, 1.2, (60, 2)) * size], axis=1)
    boxes = [*boxes.tolist(), [size[0] - 1e-4, size[1] - 1e-4, 1e-4, 1e-4], [0, 0, 1.2e-3, size[1]]]
    write_dataset(boxed(*boxes, size=size), tmp_path / "out", "yolo", label_column=None)
    lines = (tmp_path / "out/labels/train/00000.txt").read_text().splitlines()
    assert len(lines) == 62
    for line in lines:
        left, top, right, bottom = edges(line)
        assert 0 <= left < right <= 1 and 0 <= top < bottom <= 1


@pytest.mark.parametrize(
    ("box", "words"),
    [
        ([1, 2, 3], "give four numbers"),
        ([1, 2, 3, 4, 5], "give four numbers"),
        ([], "give four numbers"),
        ([1, 2, float("nan"), 4], "give four numbers"),
        ([1, 2, 0, 4], "has no area"),
        ([40, 2, 3, 4], "outside the image of 24 x 36"),
        ([0.1, 0.2, 0.3, 0.4], "looks like shares of the image"),
    ],
)
def test_boxes_that_are_none(box, words, tmp_path):
    for format in ("imagefolder", "coco", "yolo", "anomalib"):
        with pytest.raises(DataError, match=rf"row 0 .*{words}"):
            write_dataset(boxed([2, 2, 3, 3], box), tmp_path / "out", format, label_column=None)
    assert not [*tmp_path.iterdir()]


def test_an_object_of_no_category(tmp_path):
    ds = boxed([2, 2, 3, 3]).map(lambda row: {"objects": [{"bbox": [2, 2, 3, 3], "category": None}]})
    with pytest.raises(DataError, match="row 0 has an object of the category None"):
        write_dataset(ds, tmp_path / "out", "coco", label_column=None)


# -- labels ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "values", "names"),
    [
        ("bool", [True, False, None], ["True", "False", None]),
        ("int64", [10, 9, None], ["10", "9", None]),
        ("string", ["b", "a", None], ["b", "a", None]),
    ],
)
def test_labels_of_every_kind_are_named_in_order(dtype, values, names, tmp_path):
    ds = rows(
        {"image": datasets.Image(), "label": datasets.Value(dtype)},
        *({"image": Image.fromarray(GREY), "label": value} for value in values),
    )
    write_dataset(ds, tmp_path / "out", "imagefolder")
    lines = [json.loads(line) for line in (tmp_path / "out/metadata.jsonl").read_text().splitlines()]
    assert [line["label"] for line in lines] == names
    assert [Path(line["file_name"]).parts[0] for line in lines] == [*names[:2], "00002.png"]
    marked = MARKED[None].repeat(3, 0) * np.array([1, 1, 0])[:, None, None]
    with_masks = ds.map(
        lambda row, n: {"mask": Image.fromarray(marked[n].astype(bool))},
        with_indices=True,
        features=datasets.Features({**ds.features, "mask": datasets.Image()}),
    )
    write_dataset(with_masks, tmp_path / "coco", "coco")
    coco = COCO(tmp_path / "coco/annotations.json")
    assert [coco.cats[number]["name"] for number in sorted(coco.cats)] == [str(v) for v in sorted(values[:2])]
    assert {coco.cats[a["category_id"]]["name"] for a in coco.loadAnns(coco.getAnnIds(imgIds=0))} == {names[0]}


def test_numbers_with_a_fraction_name_no_classes(tmp_path):
    ds = rows(
        {"image": datasets.Image(), "label": datasets.Value("float64")},
        *({"image": Image.fromarray(GREY), "label": value} for value in (1.0, float("nan"))),
    )
    with pytest.raises(DataError, match="column 'label' holds float64, which is not a class"):
        write_dataset(ds, tmp_path / "out", "imagefolder")


@pytest.mark.parametrize(
    "name", ["test pad", "train", "dev", "..", "a/b", "a\\b", "__x", ".hidden", "masks", "a:b", "x ", "\x07"]
)
def test_classes_that_no_folder_can_be_named_after(name, tmp_path):
    ds = rows(
        {"image": datasets.Image(), "label": datasets.Value("string")},
        {"image": Image.fromarray(GREY), "label": name},
    )
    with pytest.raises(DataError, match="a folder can't be named after the class"):
        write_dataset(ds, tmp_path / "out", "imagefolder")
    write_dataset(ds, tmp_path / "parquet", "parquet")
