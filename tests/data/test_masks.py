"""What masks mark, by which values, and back: each kind that users have."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageFilter

from magical_hub.data.masks import MaskValues, parse_mask_values, survey_masks
from magical_hub.errors import DataError

MARK = np.zeros((64, 64), bool)
MARK[40:50, 36:52] = True
NOTHING = np.zeros((64, 64), bool)


def png(image: Image.Image | np.ndarray, form: str = "PNG", **options) -> bytes:
    target = io.BytesIO()
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(target, form, **options)
    return target.getvalue()


def white_is_0(mark: np.ndarray) -> bytes:
    image = Image.fromarray(mark.astype(np.uint8), mode="P")
    image.putpalette([255] * 3 + [200, 0, 0] + [0] * 762)
    return png(image)


def with_void(mark: np.ndarray) -> bytes:
    pixels = mark.astype(np.uint8)
    pixels[39, 36:52] = 255 * mark.any()
    return png(pixels)


def in_two_tones(mark: np.ndarray) -> bytes:
    pixels = mark.astype(np.uint8) * 255
    pixels[40:45] = np.minimum(pixels[40:45], 249)
    return png(pixels)


KINDS = {
    "one bit": (lambda mark: png(mark), True, "1"),
    "255": (lambda mark: png(mark.astype(np.uint8) * 255), 255, "L"),
    "1": (lambda mark: png(mark.astype(np.uint8)), 1, "L"),
    "249 and 255": (in_two_tones, 249, "L"),
    "1 with a void of 255": (with_void, 1, "L"),
    "red on black": (lambda mark: png((mark[..., None] * [255, 0, 0]).astype(np.uint8)), [255, 0, 0], "RGB"),
    "16 bits, 65535": (lambda mark: png(mark.astype(np.uint16) * 65535), 65535, "I;16"),
    "16 bits, 1": (lambda mark: png(mark.astype(np.uint16)), 1, "I;16"),
    "a palette with white as 0": (white_is_0, 1, "P"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_one_class_in_every_way_of_storing_it(kind):
    store, value, mode = KINDS[kind]
    values = survey_masks([(store(NOTHING), "a"), (store(MARK), "b")])
    assert values.names is None
    marked = values.read(store(MARK), "b")
    assert np.array_equal(marked > 0, MARK) and marked.max() == 1
    again = values.image(marked)  # as a synthetic mask is written
    assert again.mode == mode and np.asarray(again)[45, 45].tolist() == value
    assert np.asarray(again)[0, 0].max() == 0
    assert np.array_equal(values.read(png(again), "c"), marked)


@pytest.mark.parametrize("kind", ["soft edges", "JPEG"])
def test_what_is_half_as_bright_as_white_is_marked(kind):
    white = Image.fromarray(MARK.astype(np.uint8) * 255)
    data = png(white, "JPEG", quality=75) if kind == "JPEG" else png(white.filter(ImageFilter.GaussianBlur(1)))
    independent = np.asarray(Image.open(io.BytesIO(data))) >= 128
    values = survey_masks([(data, "a")])
    assert values.names is None and np.array_equal(values.read(data, "a") > 0, independent)
    assert len(np.unique(np.asarray(values.image(values.read(data, "a"))))) == 2


def ids(*numbers: int) -> bytes:
    pixels = np.zeros((64, 64), np.uint8)
    for place, number in enumerate(numbers):
        pixels[10 * place : 10 * place + 8, :20] = number
    return png(pixels)


def test_a_few_numbers_are_classes(caplog):
    values = survey_masks([(ids(), "a"), (ids(1, 3), "b"), (ids(2, 255), "c")])
    assert [record.getMessage() for record in caplog.records] == [
        "the masks hold the values 1, 2, 3, so the classes of defects are called that: name them by --mask-values "
        "1=NAME,2=NAME,3=NAME"
    ]
    assert values.names == ("1", "2", "3") and values.void == (255,)
    marked = values.read(ids(2, 255, 3), "d")
    assert np.unique(marked).tolist() == [0, 2, 3] and marked[12, 0] == 0  # the void is nothing
    assert np.array_equal(np.asarray(values.image(marked))[:8, :20], np.full((8, 20), 2))
    with pytest.raises(DataError, match="d holds the value 7, which stands for no class: name it by --mask-values"):
        values.read(ids(7), "d")


def test_classes_are_named(caplog):
    named = parse_mask_values("1=dark area, 2=crack,4=crack")
    assert named == {1: "dark area", 2: "crack", 4: "crack"}
    values = survey_masks([(ids(1, 2, 3, 4), "a")], named)
    assert values.names == ("dark area", "crack") and values.void == (3,)
    marked = values.read(ids(1, 2, 3, 4), "a")
    assert [int(marked[10 * place, 0]) for place in range(4)] == [1, 2, 0, 2]
    assert np.asarray(values.image(marked))[30, 0] == 2  # of two values of a class the first one given
    assert not caplog.records
    with pytest.raises(DataError, match="names 9, and the masks hold 1, 2, 3, 4: name values that occur"):
        survey_masks([(ids(1, 2, 3, 4), "a")], {9: "crack"})
    with pytest.raises(DataError, match="from 1 on"):
        survey_masks([(ids(1), "a")], {0: "crack"})
    for text in ("crack", "1=", "x=crack", "1=a,1=b", "1=dark 2=crack"):
        with pytest.raises(DataError, match="--mask-values is"):
            parse_mask_values(text)


@pytest.mark.parametrize("values", [(127, 255), (85, 170, 255), (20, 255)])
def test_what_may_be_classes_or_edges_is_refused(values):
    with pytest.raises(DataError, match=r"may be classes or soft edges: say what they are by --mask-values"):
        survey_masks([(ids(*values), "a")])
    assert survey_masks([(ids(*values), "a")], {values[0]: "void"}).names == ("void",)


def test_masks_in_several_colours_are_refused():
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[0] = [255, 0, 0]
    pixels[1] = [0, 255, 0]
    with pytest.raises(DataError, match="a marks in 2 colours: save it as one channel"):
        survey_masks([(png(pixels), "a")])
    pixels[1] = 0
    with pytest.raises(DataError, match="the masks mark in several colours"):
        survey_masks([(png(pixels), "a"), (png(pixels[..., ::-1].copy()), "b")])


def test_masks_that_mark_nothing():
    values = survey_masks([(png(NOTHING.astype(np.uint8)), "a")])
    assert values == MaskValues(None, (255,), (1,)) and not values.read(png(NOTHING.astype(np.uint8)), "a").any()
    assert survey_masks([]).values == (255,)


def test_a_turned_mask_lies_on_its_turned_image():
    exif = Image.Exif()
    exif[0x0112] = 6
    for image in (Image.fromarray(MARK[:, :48].astype(np.uint8) * 255), Image.fromarray(MARK[:, :48])):
        data = png(image, exif=exif)
        assert np.array_equal(survey_masks([(data, "a")]).read(data, "a") > 0, np.rot90(MARK[:, :48], -1))
