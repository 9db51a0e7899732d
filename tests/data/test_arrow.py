"""The Arrow store: what goes in comes out, on the disk whole or not at all, and a window costs its own bytes."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image

from magical_hub import Grid
from magical_hub.data import open_source
from magical_hub.data.arrow import ArrowStore, build_arrow_store
from magical_hub.data.canvas import StoreRequest
from magical_hub.errors import DataError

GRID = Grid(2, 3, 8, 12)


def pixels(number: int, channels: int = 1) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (channels, 8, 12), dtype=np.uint8)


def put(folder: Path, count: int, channels: int = 1) -> Path:
    for number in range(count):
        canvas = pixels(number, channels)
        name = folder / ("good" if number % 3 else "void") / f"{number:03d}.png"
        name.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(canvas[0] if channels == 1 else canvas.transpose(1, 2, 0)).save(name)
    return folder


def build(folder: Path, path: Path, channels: int = 1, strict: bool = False, **columns) -> ArrowStore:
    source = open_source(folder, **columns)
    build_arrow_store(StoreRequest(source, GRID, channels, strict, progress=False), path)
    return ArrowStore(path)


@pytest.mark.parametrize("channels", [1, 3])
def test_what_goes_in_comes_out(tmp_path, channels):
    """Over a hundred images, so that they fill more than one batch of the file."""
    folder = put(tmp_path / "images", 130, channels)
    path = tmp_path / "new" / "canvas.arrow"
    store = build(folder, path, channels, label_column="label", group_regex=r"(\d)\.png")
    assert [file.name for file in path.parent.iterdir()] == ["canvas.arrow"]
    assert len(store) == 130 and (store.channels, store.height, store.width) == (channels, 8, 12)
    assert store.class_names == ["good", "void"]
    numbers = [int(Path(name).stem) for name in store.names]
    assert sorted(numbers) == list(range(130))
    whole = store.images(np.arange(130))
    assert whole.dtype == np.uint8
    for row, number in enumerate(numbers):
        assert np.array_equal(whole[row], pixels(number, channels))
        assert store.labels[row] == (0 if number % 3 else 1)
        assert store.groups[row] == str(number % 10)
        assert store.digests[row] == hashlib.sha256(pixels(number, channels).transpose(1, 2, 0).tobytes()).hexdigest()


def test_a_crop_is_the_slice_of_the_image(tmp_path):
    store = build(put(tmp_path / "images", 70), tmp_path / "canvas.arrow")
    for window in ((1, 1), (2, 2), (1, 3)):
        locations = GRID.window_locations(window)
        indices = np.random.default_rng(0).integers(0, 70, len(locations))
        crops = store.crop(GRID, indices, locations, window)
        for crop, index, location in zip(crops, indices, locations, strict=True):
            rows, cols = GRID.span(int(location), window)
            assert np.array_equal(crop, store.images(np.array([index]))[0][:, rows, cols])
        assert np.array_equal(crops, GRID.crop(store.images(indices), locations, window))


def test_without_labels_and_groups(tmp_path):
    """Equal images are one group, so that no split parts them; others are a group each."""
    folder = put(tmp_path / "images", 4)
    (folder / "copy.png").write_bytes((folder / "good" / "001.png").read_bytes())
    store = build(folder, tmp_path / "canvas.arrow")
    assert store.class_names is None
    assert store.groups == store.digests and len(set(store.groups)) == 4
    assert store.groups[store.names.index("copy.png")] == store.groups[store.names.index("good/001.png")]


def test_the_fingerprint_tells_other_data(tmp_path):
    folder = put(tmp_path / "images", 4)
    first = build(folder, tmp_path / "a.arrow").fingerprint
    assert build(folder, tmp_path / "b.arrow").fingerprint == first
    assert build(folder, tmp_path / "c.arrow", label_column="label").fingerprint != first
    Image.fromarray(pixels(99)[0]).save(folder / "good" / "001.png")
    assert build(folder, tmp_path / "d.arrow").fingerprint != first


def test_a_file_that_cannot_be_read_is_skipped_by_name(tmp_path, caplog):
    folder = put(tmp_path / "images", 4)
    broken = folder / "good" / "001.png"
    broken.write_bytes(broken.read_bytes()[:60])
    with caplog.at_level(logging.WARNING):
        store = build(folder, tmp_path / "canvas.arrow")
    assert [Path(name).stem for name in store.names] == ["002", "000", "003"]
    assert len(caplog.records) == 1 and "good/001.png cannot be read" in caplog.text


def test_strict_stops_at_it_and_leaves_nothing(tmp_path):
    folder = put(tmp_path / "images", 70)
    broken = folder / "void" / "069.png"  # the last: a batch has been written before
    broken.write_bytes(broken.read_bytes()[:60])
    with pytest.raises(DataError, match=r"void/069\.png cannot be read"):
        build(folder, tmp_path / "run" / "canvas.arrow", strict=True)
    assert list((tmp_path / "run").iterdir()) == []


def test_nothing_readable_is_an_error_and_leaves_nothing(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for name in ("a.png", "b.png"):
        (folder / name).write_bytes(b"no image")
    with pytest.raises(DataError, match="none of the images could be read"):
        build(folder, tmp_path / "run" / "canvas.arrow")
    assert list((tmp_path / "run").iterdir()) == []


def test_a_store_that_stands_survives_a_failure(tmp_path):
    folder = put(tmp_path / "images", 4)
    before = build(folder, tmp_path / "canvas.arrow").fingerprint
    (folder / "good" / "001.png").write_bytes(b"no image")
    with pytest.raises(DataError):
        build(folder, tmp_path / "canvas.arrow", strict=True)
    assert ArrowStore(tmp_path / "canvas.arrow").fingerprint == before


def test_another_shape_warns_and_is_stretched(tmp_path, caplog):
    folder = put(tmp_path / "images", 2)
    Image.new("L", (30, 8), 77).save(folder / "wide.png")
    Image.new("L", (24, 16), 78).save(folder / "large.png")  # the same shape at twice the size: no warning
    with caplog.at_level(logging.WARNING):
        store = build(folder, tmp_path / "canvas.arrow")
    assert len(caplog.records) == 1 and "wide.png is 8 x 30, another shape than 8 x 12" in caplog.text
    assert np.unique(store.images(np.array([store.names.index("wide.png")]))).tolist() == [77]
    with pytest.raises(DataError, match=r"wide\.png is 8 x 30, another shape.*crop it"):
        build(folder, tmp_path / "strict.arrow", strict=True)


def test_an_image_of_a_few_pixels_warns(tmp_path, caplog):
    folder = put(tmp_path / "images", 2)
    Image.new("L", (3, 2), 77).save(folder / "thumbnail.png")
    Image.new("L", (6, 4), 78).save(folder / "half.png")
    with caplog.at_level(logging.WARNING):
        build(folder, tmp_path / "canvas.arrow")
    assert [record.message for record in caplog.records] == ["thumbnail.png is 2 x 3, and is enlarged to 8 x 12"]


def test_datasets_opens_the_file_too(tmp_path):
    store = build(put(tmp_path / "images", 70), tmp_path / "canvas.arrow", label_column="label")
    data = datasets.Dataset.from_file(str(tmp_path / "canvas.arrow"))
    assert len(data) == 70 and data["name"][:] == store.names and data["label"][:] == store.labels.tolist()
    cells = np.array(data[69]["canvas"], np.uint8).reshape(1, GRID.num_locations, 1, 4, 4)
    assert np.array_equal(GRID.stitch(cells), store.images(np.array([69])))


def test_a_file_that_is_no_store_is_refused(tmp_path):
    path = tmp_path / "canvas.arrow"
    with pytest.raises(DataError, match="cannot be read"):
        ArrowStore(path)
    for content in (b"", b"no arrow file at all"):
        path.write_bytes(content)
        with pytest.raises(DataError, match="delete it, and it is made again"):
            ArrowStore(path)
    build(put(tmp_path / "images", 70), path)
    path.write_bytes(path.read_bytes()[:4000])
    with pytest.raises(DataError, match="delete it, and it is made again"):
        ArrowStore(path)
    datasets.Dataset.from_dict({"a": [1]}).to_parquet(str(tmp_path / "x.parquet"))
    with pytest.raises(DataError, match="delete it"):
        ArrowStore(tmp_path / "x.parquet")


def test_a_window_reads_its_sub_regions_and_no_more(tmp_path, bytes_read):
    grid = Grid(32, 32, 1024, 1024)
    (tmp_path / "images").mkdir()
    for number in range(3):
        Image.effect_noise((1024, 1024), 50 + number).save(tmp_path / "images" / f"{number}.png")
    request = StoreRequest(open_source(tmp_path / "images"), grid, 3, progress=False)
    build_arrow_store(request, tmp_path / "canvas.arrow")
    store = ArrowStore(tmp_path / "canvas.arrow")
    before = bytes_read()
    store.crop(grid, np.array([0, 2]), np.array([5, 900]), (2, 2))
    assert 2 * 3 * 64 * 64 <= bytes_read() - before < 2 * 3 * 64 * 64 + 4096


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_images_of_8192_px_in_little_memory(tmp_path, run_python, mode):
    """In a process each: making the store, one decoded image and one to write; 200 windows, next to nothing."""
    (tmp_path / "in").mkdir()
    for number in range(3):
        Image.new(mode, (8192, 8192)).save(tmp_path / "in" / f"{number}.png")
    start = """
import resource
from pathlib import Path
import numpy as np
from magical_hub import Grid
from magical_hub.data import open_source, open_store, prepare_store
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
grid = Grid(128, 128, 8192, 8192)
channels = CHANNELS
""".replace("CHANNELS", "1" if mode == "L" else "3")
    make = """
from magical_hub.data import arrow
source, before = open_source("in"), peak()
prepare_store(source, Path("run"), grid, channels, progress=False)
print(peak() - before)
"""
    read = """
import pyarrow
before = peak()
store = open_store(Path("run"))
for place in np.random.default_rng(0).choice(grid.window_locations((2, 2)), 200):
    store.crop(grid, np.array([place % 3]), np.array([place]), (2, 2))
print(peak() - before)
"""
    grown = []
    for part in (make, read):
        ran = run_python(start + part, cwd=tmp_path)
        assert ran.returncode == 0, ran.stderr
        grown.append(int(ran.stdout) * 1024)
    decoded, row = (1, 1) if mode == "L" else (4, 3)  # bytes a pixel: Pillow keeps RGB in four
    assert grown[0] < (decoded + row) * 8192**2 + 2**26
    assert grown[1] < 2**24


def test_every_flipped_byte_is_noticed(tmp_path):
    """In the metadata before Arrow reads it (it may crash the process otherwise), in pixels when they are read."""
    path = tmp_path / "canvas.arrow"
    store = build(put(tmp_path / "images", 70), path, label_column="label")
    whole, everything = path.read_bytes(), np.arange(len(store))
    rng = np.random.default_rng(0)
    noticed = {"on opening": 0, "on reading": 0}
    for place in [*rng.integers(0, len(whole), 150), 0, 8, len(whole) - 1, len(whole) - 9, len(whole) - 17]:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            opened = ArrowStore(path)
        except DataError:
            noticed["on opening"] += 1
            continue
        with pytest.raises(DataError, match=r"is damaged \(.*\): delete it, and it is made again"):
            opened.images(everything)
        noticed["on reading"] += 1
    assert min(noticed.values()) > 5, noticed
    for content in (b"", whole[:-1], whole[: len(whole) // 2], whole + b"x", whole[-200:], b"\0" * 1000):
        path.write_bytes(content)
        with pytest.raises(DataError, match="delete it, and it is made again"):
            ArrowStore(path)
    path.write_bytes(whole)
    assert ArrowStore(path).fingerprint == store.fingerprint
