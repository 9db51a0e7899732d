"""Every conversion of the table in magical_hub/data/images.py, on real files."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from magical_hub.data import Intensity, open_image, to_canvas
from magical_hub.errors import DataError


def saved(image: Image.Image, path: Path, **options) -> Path:
    image.save(path, **options)
    return path


def opened(path: Path) -> Image.Image:
    """The file opens alike by its path and by its bytes."""
    image, from_bytes = open_image(path, path.name), open_image(path.read_bytes(), path.name)
    assert image.mode == from_bytes.mode and np.array_equal(image, from_bytes)
    return image


def ramp(*shape: int) -> np.ndarray:
    return (np.arange(np.prod(shape)) * 7 % 256).astype(np.uint8).reshape(shape)


def test_one_bit_is_grey(tmp_path):
    bits = ramp(6, 5) > 128
    image = opened(saved(Image.fromarray(bits), tmp_path / "a.png"))
    assert image.mode == "L" and np.array_equal(image, bits * 255)


def test_grey_stays_grey(tmp_path):
    image = opened(saved(Image.fromarray(ramp(6, 5)), tmp_path / "a.png"))
    assert image.mode == "L" and np.array_equal(image, ramp(6, 5))


def test_grey_with_alpha_is_grey_on_black(tmp_path):
    grey, alpha = np.full((4, 4), 200, np.uint8), np.array([0, 64, 128, 255], np.uint8) * np.ones((4, 1), np.uint8)
    image = opened(saved(Image.merge("LA", [Image.fromarray(grey), Image.fromarray(alpha)]), tmp_path / "a.png"))
    assert image.mode == "L"
    assert np.abs(np.asarray(image, float) - 200 * alpha.astype(float) / 255).max() <= 1


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_are_scaled_to_eight(tmp_path, suffix):
    values = np.array([[0, 257, 32896, 65535, 256, 128]], np.uint16)
    image = opened(saved(Image.fromarray(values), tmp_path / f"a.{suffix}"))
    assert image.mode == "L" and np.asarray(image).tolist() == [[0, 1, 128, 255, 1, 0]]  # v / 257, rounded


def test_integers_of_32_bits_need_a_range(tmp_path):
    values = np.array([[0, 32896, 65535, 70000, -5]], np.int32)
    path = saved(Image.fromarray(values), tmp_path / "a.tif")
    with pytest.raises(
        DataError, match=r"a\.tif holds int32 pixels, which have no known range: give --intensity-range"
    ):
        open_image(path, "a.tif")
    image = open_image(path, "a.tif", Intensity(0, 65535))
    assert image.mode == "L" and np.asarray(image).tolist() == [[0, 128, 255, 255, 0]]


def palette_image() -> Image.Image:
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8), mode="P")
    image.putpalette([255, 0, 0, 0, 255, 0, 10, 20, 30])
    return image


def test_a_palette_is_colour(tmp_path):
    image = opened(saved(palette_image(), tmp_path / "a.png"))
    assert image.mode == "RGB" and np.asarray(image).tolist() == [[[255, 0, 0], [0, 255, 0], [10, 20, 30]]]


def test_transparency_in_a_palette_is_black(tmp_path):
    image = opened(saved(palette_image(), tmp_path / "a.png", transparency=1))
    assert image.mode == "RGB" and np.asarray(image).tolist() == [[[255, 0, 0], [0, 0, 0], [10, 20, 30]]]


def test_colour_stays_colour(tmp_path):
    image = opened(saved(Image.fromarray(ramp(4, 5, 3)), tmp_path / "a.png"))
    assert image.mode == "RGB" and np.array_equal(image, ramp(4, 5, 3))


def test_colour_with_alpha_is_composited_on_black(tmp_path):
    pixels = np.array([[[200, 100, 50, 255], [200, 100, 50, 0], [200, 100, 50, 51]]], np.uint8)
    image = opened(saved(Image.fromarray(pixels), tmp_path / "a.png"))
    assert image.mode == "RGB"
    expected = [[[200, 100, 50], [0, 0, 0], [40, 20, 10]]]
    assert np.abs(np.asarray(image, int) - expected).max() <= 1


def test_cmyk_is_colour_as_pillow_has_it(tmp_path):
    cmyk = Image.fromarray(ramp(8, 8, 4), mode="CMYK")
    image = opened(saved(cmyk, tmp_path / "a.tif"))
    assert image.mode == "RGB" and np.array_equal(image, cmyk.convert("RGB"))
    assert opened(saved(cmyk, tmp_path / "a.jpg")).mode == "RGB"


@pytest.mark.parametrize("mode", ["YCbCr", "LAB"])
def test_other_colour_spaces_are_colour(tmp_path, mode):
    source = Image.new(mode, (4, 4), (128, 90, 160))
    # Compressed: Pillow 12 cannot read the plain YCbCr that it writes.
    assert opened(saved(source, tmp_path / "a.tif", compression="tiff_lzw")).mode == "RGB"


def test_the_first_of_several_frames(tmp_path):
    frames = [Image.new("L", (4, 3), value) for value in (10, 20, 30)]
    path = saved(frames[0], tmp_path / "a.tif", save_all=True, append_images=frames[1:])
    assert Image.open(path).n_frames == 3
    assert np.unique(opened(path)).tolist() == [10]


def test_exif_orientation_is_applied(tmp_path):
    upright = np.zeros((8, 16), np.uint8)
    upright[:, :8] = 255  # the left half is white
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise: the left half comes to the top
    image = opened(saved(Image.fromarray(upright), tmp_path / "a.jpg", exif=exif, quality=95))
    assert image.size == (8, 16)
    assert np.asarray(image)[:7].min() > 200 and np.asarray(image)[9:].max() < 50


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "bmp"])
def test_a_truncated_file_is_refused_by_name(tmp_path, suffix):
    path = saved(Image.fromarray(ramp(64, 64, 3)), tmp_path / f"a.{suffix}")
    data = path.read_bytes()
    for keep in (len(data) // 2, 20, 0):
        for source in (data[:keep], path):
            path.write_bytes(data[:keep])
            with pytest.raises(DataError, match=r"^board 7 cannot be read .*truncated; replace it") as error:
                open_image(source, "board 7")
            assert "\n" not in str(error.value)


def test_what_is_no_image_is_refused(tmp_path):
    (tmp_path / "a.png").write_text("these are the notes of the operator")
    with pytest.raises(DataError, match=r"a\.png cannot be read"):
        open_image(tmp_path / "a.png", "a.png")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"a\.png is missing: put it back"):
        open_image(tmp_path / "a.png", "a.png")


def test_floating_point_is_refused(tmp_path):
    path = saved(Image.fromarray(np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)), tmp_path / "a.tif")
    with pytest.raises(DataError, match=r"a\.tif holds floating-point pixels.*convert it to 8 or 16 bits"):
        open_image(path, "a.tif")


def test_a_decompression_bomb_is_refused(tmp_path, monkeypatch):
    path = saved(Image.new("L", (40, 40)), tmp_path / "a.png")
    for limit in (1000, 100):  # Pillow warns above the limit, and refuses above twice of it
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(DataError, match=r"a\.png is too large to decode at once.*make it a tiled TIFF"):
            open_image(path, "a.png")


def test_8192_px_square_are_no_bomb(tmp_path):
    path = saved(Image.new("L", (8192, 8192), 7), tmp_path / "a.png")
    assert open_image(path, "a.png").size == (8192, 8192)


def test_to_canvas():
    grey, colour = Image.fromarray(ramp(6, 4)), Image.fromarray(ramp(6, 4, 3))
    assert np.array_equal(to_canvas(grey, 6, 4, 1), ramp(6, 4)[None])
    assert np.array_equal(to_canvas(colour, 6, 4, 3), ramp(6, 4, 3).transpose(2, 0, 1))
    assert np.array_equal(to_canvas(grey, 6, 4, 3), np.repeat(ramp(6, 4)[None], 3, 0))
    luma = ramp(6, 4, 3) @ [0.299, 0.587, 0.114]  # ITU-R 601
    assert np.abs(to_canvas(colour, 6, 4, 1)[0] - luma).max() <= 1
    canvas = to_canvas(colour, 10, 7, 3)
    assert canvas.shape == (3, 10, 7) and canvas.dtype == np.uint8 and canvas.flags.c_contiguous


def test_to_canvas_is_antialiased():
    """Stripes finer than the canvas become their mean, not a beat."""
    stripes = Image.fromarray(np.tile(np.array([0, 255], np.uint8), (64, 32)))
    inner = to_canvas(stripes, 16, 16, 1)[0, 2:-2, 2:-2].astype(int)
    assert np.abs(inner - 127).max() <= 8


def test_bytes_that_are_no_file_are_refused():
    with pytest.raises(DataError, match="row 3 cannot be read"):
        open_image(b"", "row 3")
    stream = io.BytesIO()
    Image.new("L", (4, 4), 9).save(stream, format="PNG")
    assert np.unique(open_image(stream.getvalue(), "row 3")).tolist() == [9]
