"""Every conversion of the table in magical_hub/data/images.py, on real files."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from magical_hub.data import Intensity, open_image, read_pixels, to_canvas
from magical_hub.data.images import image_size
from magical_hub.data.tiff import tiled_image
from magical_hub.errors import ConfigError, DataError


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


# -- wide, turned and damaged files, against independent readers ------------------------------------------------

TURNS = range(1, 9)


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp"])
@pytest.mark.parametrize("orientation", TURNS)
def test_every_orientation_is_what_a_viewer_shows(tmp_path, suffix, orientation):
    """By path and by bytes, in 8 and 16 bits; the size is known from the header alone."""
    stored = np.kron(np.arange(6, dtype=np.uint8).reshape(2, 3) * 40, np.ones((16, 16), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 100} if suffix == "jpg" else {"lossless": True} if suffix == "webp" else {}
    wide = [stored, stored.astype(np.uint16) * 257] if suffix in ("png", "tif") else [stored]
    for pixels in wide:
        path = saved(Image.fromarray(pixels), tmp_path / f"a.{suffix}", exif=exif, **options)
        shown = ImageOps.exif_transpose(Image.open(io.BytesIO(path.read_bytes())))
        assert opened(path).size == shown.size == image_size(path, "a") == image_size(path.read_bytes(), "a")
        turned = np.asarray(shown.convert("L") if pixels.dtype == np.uint8 else shown).astype(int)
        assert np.array_equal(np.asarray(opened(path), int) * (257 if pixels.dtype == np.uint16 else 1), turned)


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("kind", ["minisblack", "miniswhite", "rgb", "planes"])
def test_tiff_is_read_as_tifffile_reads_it(tmp_path, byteorder, bits, kind):
    pixels = ramp(3, 12, 10) if kind == "planes" else ramp(12, 10, 3) if kind == "rgb" else ramp(12, 10)
    wide = pixels.astype(np.uint16) * 251 + 7 if bits == 16 else pixels
    photometric = "rgb" if kind in ("rgb", "planes") else kind
    more = {"planarconfig": "separate"} if kind == "planes" else {}
    for tile in (None, (16, 16)):
        tifffile.imwrite(tmp_path / "a.tif", wide, photometric=photometric, byteorder=byteorder, tile=tile, **more)
        values = tifffile.imread(tmp_path / "a.tif")
        values = np.moveaxis(values, 0, -1) if kind == "planes" else values
        if kind == "miniswhite":  # tifffile gives what is stored
            values = (2**bits - 1) - values
        for source in (tmp_path / "a.tif", (tmp_path / "a.tif").read_bytes()):
            assert np.array_equal(read_pixels(source, "a.tif"), values)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_png_of_16_bits_is_read_as_opencv_reads_it(tmp_path, channels):
    """Pillow cuts 16-bit colour to 8 bits: 12-bit data of a camera would come out black."""
    values = (ramp(9, 7, channels).astype(np.uint16) * 16 + 3)[..., : channels if channels != 2 else 1]
    if channels == 4:
        values[..., 3] = 65535
    assert cv2.imwrite(str(tmp_path / "a.png"), values)
    read = read_pixels(tmp_path / "a.png", "a.png")
    independent = cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_UNCHANGED)
    expected = independent if independent.ndim == 2 else independent[..., 2::-1]
    assert read.dtype == np.uint16 and np.array_equal(read, expected)


def test_wide_integers_and_floats_are_scaled_by_the_range_that_is_given(tmp_path):
    for dtype in (np.uint32, np.int32, np.int16, np.float32):
        values = np.array([[0, 1000, 2048, 4095, 5000]], dtype)
        tifffile.imwrite(tmp_path / "a.tif", values, photometric="minisblack")
        with pytest.raises(DataError, match="have no known range: give --intensity-range"):
            open_image(tmp_path / "a.tif", "a.tif")
        scaled = np.asarray(open_image(tmp_path / "a.tif", "a.tif", Intensity(0, 4095)))
        assert scaled.tolist() == [[0, 62, 128, 255, 255]]  # 255 v / 4095, rounded and clipped
    tifffile.imwrite(tmp_path / "a.tif", np.array([[0.0, np.nan]], np.float32))
    with pytest.raises(DataError, match="pixels that are not finite"):
        open_image(tmp_path / "a.tif", "a.tif", Intensity(0, 1))


def test_an_intensity_range_and_its_reverse():
    twelve = Intensity(0, 4095)
    levels = np.arange(256)
    assert np.array_equal(twelve.to_8_bits(twelve.from_8_bits(levels, np.uint16)), levels)
    with pytest.raises(DataError, match=r"has 8 bits, and the intensity range .* ends at 4095"):
        open_image(png_bytes(ramp(4, 4)), "row 1", twelve)
    for low, high in ((5, 5), (9, 1), (0, float("nan"))):
        with pytest.raises(ConfigError, match="intensity_range is"):
            Intensity(low, high)


def png_bytes(pixels: np.ndarray) -> bytes:
    target = io.BytesIO()
    Image.fromarray(pixels).save(target, "PNG")
    return target.getvalue()


def test_a_bitmap_whose_fourth_channel_is_empty_is_opaque(tmp_path):
    pixels = np.dstack([ramp(4, 5, 3), np.zeros((4, 5), np.uint8)])
    header = struct.pack("<2sIHHI", b"BM", 14 + 108 + pixels.size, 0, 0, 14 + 108)
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    info = struct.pack("<IiiHHIIiiII", 108, 5, -4, 1, 32, 3, pixels.size, 0, 0, 0, 0) + masks + b"BGRs" + bytes(48)
    (tmp_path / "a.bmp").write_bytes(header + info + pixels[..., [2, 1, 0, 3]].tobytes())
    assert np.array_equal(opened(tmp_path / "a.bmp"), pixels[..., :3])
    hidden = Image.fromarray(np.dstack([ramp(4, 5, 3), np.zeros((4, 5), np.uint8)]))
    with pytest.raises(DataError, match=r"a\.png is wholly transparent"):
        open_image(saved(hidden, tmp_path / "a.png"), "a.png")


@pytest.mark.parametrize("damage", ["a rational of nothing", "an offset behind the end", "a wrong type"])
def test_a_damaged_exif_block_leaves_the_pixels(tmp_path, damage):
    entry = {
        "a rational of nothing": struct.pack("<HHII", 0x9201, 10, 1, 38),
        "an offset behind the end": struct.pack("<HHII", 0x9201, 10, 1, 10**6),
        "a wrong type": struct.pack("<HHII", 0x9201, 99, 7, 38),
    }[damage]
    body = struct.pack("<HHIHH", 0x0112, 3, 1, 1, 0) + entry + bytes(4) + struct.pack("<ii", -1, 0)
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + body
    plain = saved(Image.fromarray(ramp(16, 16)), tmp_path / "plain.jpg")
    damaged = saved(Image.fromarray(ramp(16, 16)), tmp_path / "damaged.jpg", exif=exif)
    assert np.array_equal(opened(damaged), opened(plain))


def test_no_other_program_is_started_for_an_image(tmp_path, monkeypatch):
    """Pillow runs Ghostscript for what begins like PostScript, whatever its name."""
    program = tmp_path / "bin" / "gs"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    (tmp_path / "a.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\nshowpage\n")
    with pytest.raises(DataError, match=r"a\.png cannot be read"):
        open_image(tmp_path / "a.png", "a.png")
    assert not (tmp_path / "started").exists()


def test_a_pipe_and_a_huge_tile_are_refused(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"a\.png is not a regular file"):
        open_image(tmp_path / "a.png", "a.png")
    side = 32768
    compressor = zlib.compressobj(9)
    tile = b"".join(compressor.compress(bytes(2**20)) for _ in range(side * side >> 20)) + compressor.flush()
    tile += bytes(len(tile) % 2)
    tags = [(256, 64), (257, 64), (258, 8), (259, 8), (262, 1), (277, 1), (322, side), (323, side), (324, 8)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in [*tags, (325, len(tile))])
    head = struct.pack("<2sHI", b"II", 42, 8 + len(tile))
    (tmp_path / "a.tif").write_bytes(head + tile + struct.pack("<H", 10) + entries + bytes(4))
    assert tiled_image(tmp_path / "a.tif") is None
    with pytest.raises(DataError, match=r"a\.tif has tiles of 1073741824 pixels"):
        open_image(tmp_path / "a.tif", "a.tif")


def test_colour_with_equal_channels_is_grey(tmp_path):
    path = saved(Image.fromarray(np.repeat(ramp(6, 5)[..., None], 3, 2)), tmp_path / "a.png")
    assert opened(path).mode == "L" and np.array_equal(opened(path), ramp(6, 5))
