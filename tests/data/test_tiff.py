"""Tiled TIFF files as a store: the pixels that Pillow reads, a window for the price of its tiles."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from safetensors.torch import load_file

from magical_hub import Grid, train
from magical_hub.data import inspect_image, open_source, open_store, prepare_store
from magical_hub.data.arrow import ArrowStore, build_arrow_store
from magical_hub.data.canvas import StoreRequest
from magical_hub.data.tiff import TiffStore
from magical_hub.errors import DataError
from magical_hub.grid import Window

SIDE = 300  # of an ELPV image


def elpv_canvas(files: list[Path], height: int, width: int, first: int = 0) -> np.ndarray:
    """Real pixels of any size: solar cells side by side."""
    across, down = -(-width // SIDE), -(-height // SIDE)
    cells = [np.asarray(Image.open(files[(first + n) % len(files)]).convert("L")) for n in range(across * down)]
    rows = [np.concatenate(cells[n * across : (n + 1) * across], axis=1) for n in range(down)]
    return np.ascontiguousarray(np.concatenate(rows)[:height, :width])


def put(folder: Path, files: list[Path], count: int, height: int, width: int, kind: str = "grey", **how) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        pixels = elpv_canvas(files, height, width, number)
        if kind == "rgb":
            pixels = np.stack([pixels, 255 - pixels, pixels // 2], axis=-1)
        elif kind == "grey16":
            pixels = pixels.astype(np.uint16) * 251 + number
        settings = {"tile": (64, 48), "photometric": "rgb" if kind == "rgb" else "minisblack", **how}
        tifffile.imwrite(folder / f"board{number}.tif", pixels, **settings)
    return folder


def prepare(folder: Path, out: Path, grid: Grid, channels: int = 1, strict: bool = False, **columns):
    return prepare_store(open_source(folder, **columns), out, grid, channels, strict, progress=False)


KINDS = {
    "grey": ("grey", {}),
    "grey deflated by differences": ("grey", {"compression": "zlib", "predictor": True}),
    "grey, BigTIFF": ("grey", {"bigtiff": True}),
    "rgb": ("rgb", {}),
    "rgb deflated by differences": ("rgb", {"compression": "zlib", "predictor": True, "bigtiff": True}),
    "16 bits": ("grey16", {"compression": "zlib"}),
    "16 bits big-endian": ("grey16", {"byteorder": ">"}),
}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_both_stores_hold_the_same(tmp_path, elpv_files, kind, channels):
    """The canvas is not a multiple of the tiles, nor a tile of the sub-regions. Pillow decodes for the other store."""
    grid = Grid(5, 4, 250, 200)
    folder = put(tmp_path / "in", elpv_files, 3, 250, 200, KINDS[kind][0], **KINDS[kind][1])
    store = prepare(folder, tmp_path / "run", grid, channels)
    assert isinstance(store, TiffStore) and [file.name for file in (tmp_path / "run").iterdir()] == ["tiles.json"]
    build_arrow_store(StoreRequest(open_source(folder), grid, channels, progress=False), tmp_path / "other.arrow")
    other = ArrowStore(tmp_path / "other.arrow")
    assert np.array_equal(store.images(np.arange(3)), other.images(np.arange(3)))
    assert (store.digests, store.names, store.groups) == (other.digests, other.names, other.groups)
    assert store.fingerprint == other.fingerprint and store.source_fingerprint == other.source_fingerprint
    windows: tuple[Window, ...] = ((1, 1), (2, 2), (3, 1))
    for window in windows:
        locations = grid.window_locations(window)
        indices = np.arange(len(locations)) % 3
        crops = store.crop(grid, indices, locations, window)
        assert crops.dtype == np.uint8 and np.array_equal(crops, other.crop(grid, indices, locations, window))


def test_no_image_is_too_large(tmp_path, elpv_files, monkeypatch):
    """Pillow's limit is on what it decodes at once."""
    folder = put(tmp_path / "in", elpv_files, 1, 128, 96)
    pixels = elpv_canvas(elpv_files, 128, 96)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 64 * 48)
    (record,) = open_source(folder).records()
    assert inspect_image(record)[:3] == ((128, 96), "L", None)
    store = prepare(folder, tmp_path / "run", Grid(4, 2, 128, 96), strict=True)
    assert np.array_equal(store.images(np.array([0]))[0, 0], pixels)


def test_classes_and_groups(tmp_path, elpv_files):
    put(tmp_path / "in" / "good", elpv_files, 2, 64, 96)
    put(tmp_path / "in" / "void", elpv_files[5:], 1, 64, 96)
    columns = {"label_column": "label", "group_regex": r"board(\d)"}
    store = prepare(tmp_path / "in", tmp_path / "run", Grid(2, 3, 64, 96), **columns)
    assert isinstance(store, TiffStore) and store.class_names == ["good", "void"]
    assert store.labels.tolist() == [0, 0, 1] and store.groups == ["0", "1", "0"]


def test_what_is_decoded_whole_instead(tmp_path, elpv_files):
    """Another canvas, strips, one plane per channel, alpha, white as 0, a turned image, or one that is not a TIFF."""
    grid = Grid(2, 2, 128, 128)
    pixels = elpv_canvas(elpv_files, 128, 128)
    colour = np.stack([pixels] * 3, axis=-1)
    rgb = {"tile": (64, 64), "photometric": "rgb"}
    cases = {
        "smaller": (elpv_canvas(elpv_files, 112, 112), {"tile": (16, 16)}),
        "strips": (pixels, {}),
        "planes": (np.moveaxis(colour, -1, 0), {**rgb, "planarconfig": "separate"}),
        "alpha": (np.dstack([colour, pixels]), {**rgb, "extrasamples": ["unassalpha"]}),
        "white": (pixels, {"tile": (64, 64), "photometric": "miniswhite"}),
        "turned": (pixels, {"tile": (64, 64), "extratags": [(274, "H", 1, 3, True)]}),
    }
    for name, (array, how) in cases.items():
        put(tmp_path / name, elpv_files, 1, 128, 128)  # one that could be read so
        tifffile.imwrite(tmp_path / name / "x.tif", array, **{"photometric": "minisblack", **how})
        store = prepare(tmp_path / name, tmp_path / "run" / name, grid)
        assert isinstance(store, ArrowStore) and len(store) == 2, name
        with Image.open(tmp_path / name / "x.tif") as image:
            first = image.convert("L").getpixel((0, 0))
        if name in ("strips", "planes", "white"):
            assert store.images(np.array([1]))[0, 0, 0, 0] == first, name
    put(tmp_path / "mixed", elpv_files, 1, 128, 128)
    Image.fromarray(pixels).save(tmp_path / "mixed" / "x.png")
    assert isinstance(prepare(tmp_path / "mixed", tmp_path / "run" / "mixed", grid), ArrowStore)


def test_a_window_reads_its_tiles_and_no_more(tmp_path, elpv_files, bytes_read):
    put(tmp_path / "in", elpv_files, 2, 2048, 2048, tile=(256, 256))
    size = sum(file.stat().st_size for file in (tmp_path / "in").iterdir())
    grid = Grid(32, 32, 2048, 2048)
    prepare(tmp_path / "in", tmp_path / "run", grid)
    store = open_store(tmp_path / "run")
    store.crop(grid, np.array([0, 1]), np.array([0, 0]))  # the headers, once
    before = bytes_read()
    crops = store.crop(grid, np.array([0, 1]), np.array([5, 1000 - 40]), (2, 2))
    assert crops.shape == (2, 1, 128, 128)
    assert 2 * 256 * 256 <= bytes_read() - before <= 2 * 4 * 256 * 256 + 4096 < size / 10


@pytest.mark.slow
def test_training_from_tiles(tmp_path, elpv_files, tiny_config):
    """Through the public face, at 2048 px."""
    data = put(tmp_path / "in", elpv_files, 10, 2048, 2048, tile=(256, 256), compression="zlib")
    settings = {"image_size": 2048, "rows": 32, "cols": 32, "batch_size": 2, "max_width": 8, "base_width": 8}
    assert train(tiny_config(tmp_path / "run", data=str(data), max_steps=2, **settings)).steps == 2
    assert [file.name for file in (tmp_path / "run" / "data").iterdir()] == ["tiles.json"]


def test_the_weights_are_those_from_decoded_images(tmp_path, elpv_files, tiny_config):
    """Resumed after the folder was moved, too."""
    data = put(tmp_path / "in", elpv_files, 10, 64, 64)
    (tmp_path / "png").mkdir()
    for file in data.iterdir():
        Image.open(file).save(tmp_path / "png" / f"{file.stem}.png")
    settings = {"image_size": 64, "rows": 4, "cols": 4}
    train(tiny_config(tmp_path / "decoded", data=str(tmp_path / "png"), max_steps=2, **settings))
    assert (tmp_path / "decoded" / "data" / "canvas.arrow").exists()
    train(tiny_config(tmp_path / "tiles", data=str(data), max_steps=1, **settings))
    shutil.move(data, tmp_path / "moved")
    train(tiny_config(tmp_path / "tiles", data=str(tmp_path / "moved"), max_steps=2, resume=True, **settings))
    assert (tmp_path / "tiles" / "data" / "tiles.json").exists()
    name = Path("generator") / "diffusion_pytorch_model.safetensors"
    ours, theirs = (load_file(tmp_path / run / name) for run in ("tiles", "decoded"))
    assert ours and all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_changed_tiles_are_noticed(tmp_path, elpv_files, tiny_config):
    data = put(tmp_path / "in", elpv_files, 10, 64, 64)
    settings = {"data": str(data), "image_size": 64, "rows": 4, "cols": 4}
    train(tiny_config(tmp_path / "run", max_steps=1, **settings))
    state = (data / "board3.tif").stat()
    put(tmp_path / "other", elpv_files[3:], 1, 64, 64)
    shutil.copy(tmp_path / "other" / "board0.tif", data / "board3.tif")  # another image in a file of the same size
    assert (data / "board3.tif").stat().st_size == state.st_size
    assert train(tiny_config(tmp_path / "run", max_steps=2, resume=True, **settings)).steps == 2  # it was that image
    shutil.copy(data / "board4.tif", data / "board3.tif")
    with pytest.raises(DataError, match=r"the data is not what .* began with"):
        train(tiny_config(tmp_path / "run", max_steps=3, resume=True, **settings))


def test_damage(tmp_path, elpv_files, caplog):
    """Found when the store is made it is a file left out, or an error; found later, an error that names it."""
    grid = Grid(2, 2, 128, 128)
    put(tmp_path / "in", elpv_files, 3, 128, 128, compression="zlib")
    store = prepare(tmp_path / "in", tmp_path / "sound", grid)
    broken = tmp_path / "in" / "board1.tif"
    with tifffile.TiffFile(broken) as file:
        last = file.pages[0].dataoffsets[-1]
    content = bytearray(broken.read_bytes())
    content[last : last + 40] = b"x" * 40
    broken.write_bytes(content)
    with pytest.raises(DataError, match=r"board1\.tif cannot be read"):
        store.crop(grid, np.array([1]), np.array([3]))
    with caplog.at_level(logging.WARNING):
        assert prepare(tmp_path / "in", tmp_path / "run", grid).names == ["board0.tif", "board2.tif"]
    assert "skipped: board1.tif cannot be read" in caplog.text
    with pytest.raises(DataError, match=r"board1\.tif cannot be read"):
        prepare(tmp_path / "in", tmp_path / "strict", grid, strict=True)
    broken.unlink()
    with pytest.raises(DataError, match=r"board1\.tif is not the tiled TIFF that the run began with"):
        store.crop(grid, np.array([1]), np.array([0]))
    (tmp_path / "run" / "tiles.json").write_text("{")
    with pytest.raises(DataError, match=r"tiles\.json is not JSON that can be read .*: delete it, and it is made"):
        open_store(tmp_path / "run")


@pytest.mark.slow
def test_one_image_of_8192_px_stays_out_of_memory(tmp_path, elpv_files, run_python):
    """In a process of its own: making the index, and 200 windows."""
    put(tmp_path / "in", elpv_files, 1, 8192, 8192, tile=(256, 256), compression="zlib")
    source = """
import resource
from pathlib import Path
import numpy as np
from magical_hub import Grid
from magical_hub.data import open_source, prepare_store
grid = Grid(128, 128, 8192, 8192)
source = open_source("in")
prepare = lambda: prepare_store(source, Path("run"), grid, 1, progress=False)
import tifffile
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
store = prepare()
places = np.random.default_rng(0).choice(grid.window_locations((2, 2)), 200)
for place in places:
    store.crop(grid, np.array([0]), np.array([place]), (2, 2))
print(type(store).__name__, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    ran = run_python(source, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    name, grown = ran.stdout.split()
    assert name == "TiffStore" and int(grown) * 1024 < 8192 * 8192 / 2  # ru_maxrss counts KiB
