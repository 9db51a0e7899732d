"""Images of any size in files: tiled pyramids that other programs read, written whole, or gone on with."""

from __future__ import annotations

import itertools
import json
import os
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
import zarr
from forks import start, start_command
from PIL import Image

from magical_hub import Grid, MagicalGenerator, MagicalPipeline, SeamlessGenerator
from magical_hub.data import open_source, prepare_store
from magical_hub.data.tiff import TiffStore
from magical_hub.errors import ConfigError
from magical_hub.export import write, write_series
from magical_hub.seeds import image_seed

ODD = {"rows": 3, "cols": 2, "image_size": (453, 302)}  # sub-regions of 151 px: no multiple of 16


@pytest.fixture(scope="module")
def make(randomise) -> Callable[..., MagicalPipeline]:
    """Builds a pipeline of hardly any channels, as if trained."""

    def build(kind: type = SeamlessGenerator, **shape: Any) -> MagicalPipeline:
        torch.manual_seed(0)
        generator = kind(base_width=4, max_width=4, latent_dim=16, style_dim=16, **{**ODD, **shape})
        randomise(generator)
        generator.mapping.update_mean_style()
        pipe = MagicalPipeline(generator.eval())
        pipe.set_progress_bar_config(disable=True)
        return pipe

    return build


def pyramid(path: Path) -> list[np.ndarray]:
    """All levels, (H, W) or (H, W, 3), as tifffile and zarr read them."""
    if path.suffix == ".tif":
        with tifffile.TiffFile(path) as file:
            return [level.asarray() for level in file.series[0].levels]
    group = zarr.open_group(path, mode="r")
    arrays = [np.asarray(group[str(number)]).transpose(1, 2, 0) for number in range(len(list(group.array_keys())))]
    return [array[..., 0] if array.shape[2] == 1 else array for array in arrays]


@pytest.mark.parametrize("kind", [SeamlessGenerator, MagicalGenerator])
@pytest.mark.parametrize("channels", [1, 3])
def test_both_files_hold_the_image_and_its_halves(make, tmp_path, kind, channels):
    pipe = make(kind, channels=channels)
    whole = np.asarray(pipe(seeds=[7]).images[0]).astype(int)
    assert whole.std() > 2
    for name, form in (("a.tif", "tiff"), ("a.zarr", "zarr")):
        assert write(pipe, tmp_path / name, form, seed=7) == {"file_name": name, "seed": 7}
        levels = pyramid(tmp_path / name)
        assert [level.shape[:2] for level in levels] == [(453, 302), (227, 151), (114, 76)]
        assert np.abs(levels[0].astype(int) - whole).max() <= 1
        for finer, level in itertools.pairwise(levels):
            halved = np.asarray(Image.fromarray(finer).reduce(2)).astype(int)  # odd edges are its own
            assert np.abs(level.astype(int) - halved)[: finer.shape[0] // 2, : finer.shape[1] // 2].max() <= 1
    assert [np.array_equal(*both) for both in zip(pyramid(tmp_path / "a.tif"), levels, strict=True)] == [True] * 3
    part = np.asarray(pipe.region(200, 33, 130, 260, seed=7)).astype(int)
    assert np.abs(part - levels[0][200:330, 33:293]).max() <= 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tif", "a.zarr"]  # no lock, no spool


def test_the_tiff_is_a_tiled_deflated_pyramid(make, tmp_path):
    write(make(channels=3), tmp_path / "a.tif")
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert file.is_bigtiff and len(file.pages) == 1 and len(file.series) == 1
        for level in file.series[0].levels:
            page = level.pages[0]
            assert page.is_tiled and page.tile == (160, 160) and page.compression == tifffile.COMPRESSION.ADOBE_DEFLATE
    with Image.open(tmp_path / "a.tif") as image:
        assert image.mode == "RGB" and image.size == (302, 453)


def test_the_zarr_says_what_its_levels_are(make, tmp_path):
    write(make(), tmp_path / "a.zarr", "zarr")
    group = zarr.open_group(tmp_path / "a.zarr", mode="r")
    (scales,) = group.attrs["ome"]["multiscales"]
    assert group.attrs["ome"]["version"] == "0.5" and [axis["name"] for axis in scales["axes"]] == ["c", "y", "x"]
    for number, dataset in enumerate(scales["datasets"]):
        array = group[dataset["path"]]
        assert array.chunks == (1, 160, 160) and array.metadata.dimension_names == ("c", "y", "x")
        assert dataset["coordinateTransformations"] == [{"type": "scale", "scale": [1, 2**number, 2**number]}]


def test_class_and_truncation(make, tmp_path):
    pipe = make(num_classes=2, class_names=["crack", "good"], class_frequencies=[0.5, 0.5])
    row = write(pipe, tmp_path / "a.tif", seed=3, class_label="crack", truncation_psi=0.5)
    assert row == {"file_name": "a.tif", "seed": 3, "class_label": 0, "class_name": "crack"}
    whole = np.asarray(pipe(seeds=[3], class_labels="crack", truncation_psi=0.5).images[0]).astype(int)
    assert np.abs(pyramid(tmp_path / "a.tif")[0].astype(int) - whole).max() <= 1
    drawn = pipe(seeds=[3]).annotations[0]
    assert write(pipe, tmp_path / "b.tif", seed=3) == {"file_name": "b.tif", "seed": 3, **drawn}


def test_training_reads_the_tiles_it_needs_of_what_was_written(make, tmp_path, bytes_read):
    pipe = make(rows=8, cols=8, image_size=(1024, 1024))
    rows = write_series(pipe, tmp_path / "in", 2, seed=4)
    grid = Grid(8, 8, 1024, 1024)
    store = prepare_store(open_source(tmp_path / "in"), tmp_path / "run", grid, 1, strict=True, progress=False)
    assert isinstance(store, TiffStore) and store.names == ["00000.tif", "00001.tif"]
    before = bytes_read()
    crop = store.crop(grid, np.array([1]), np.array([9]), (2, 2))
    read = bytes_read() - before
    assert read < 0.15 * (tmp_path / "in" / "00001.tif").stat().st_size  # 4 of 64 tiles, and what /proc says
    made = np.asarray(pipe.region(128, 128, 256, 256, seed=rows[1]["seed"])).astype(int)
    assert np.abs(crop[0, 0] - made).max() <= 1


def test_a_series_is_kept_and_finished(make, tmp_path):
    pipe = make()
    rows = write_series(pipe, tmp_path, 2, "zarr", seed=1)
    assert rows == [{"file_name": f"0000{n}.zarr", "seed": image_seed(1, n)} for n in range(2)]
    assert rows == [json.loads(line) for line in (tmp_path / "metadata.jsonl").read_text().splitlines()]
    (tmp_path / "00001.zarr").rename(tmp_path / "00001.zarr.incomplete")  # as if killed at the very end
    (tmp_path / "metadata.jsonl").unlink()
    chunk = tmp_path / "00000.zarr" / "0" / "c" / "0" / "0" / "0"
    made = chunk.stat().st_mtime_ns
    assert write_series(pipe, tmp_path, 2, "zarr", seed=1) == rows and chunk.stat().st_mtime_ns == made
    assert (tmp_path / "metadata.jsonl").exists() and (tmp_path / "00001.zarr").is_dir()
    for otherwise in ({"seed": 2}, {"num_images": 3}, {"truncation_psi": 0.7}, {"format": "tiff"}):
        with pytest.raises(ConfigError, match="holds images of another request"):
            write_series(pipe, tmp_path, **{"num_images": 2, "format": "zarr", "seed": 1, **otherwise})


def test_another_image_is_not_gone_on_with(make, tmp_path):
    pipe = make()
    write(pipe, tmp_path / "a.zarr", "zarr", seed=1)
    (tmp_path / "a.zarr").rename(tmp_path / "a.zarr.incomplete")
    with pytest.raises(ConfigError, match=r"a.zarr.incomplete holds the beginnings of another image: delete it"):
        write(pipe, tmp_path / "a.zarr", "zarr", seed=2)
    write(pipe, tmp_path / "a.zarr", "zarr", seed=1)
    assert [path.name for path in tmp_path.iterdir()] == ["a.zarr"]


@pytest.mark.parametrize(
    ("path", "how", "words"),
    [
        ("a.tif", {"format": "jpeg"}, "format is 'jpeg': give tiff or zarr"),
        ("a.png", {}, "a name that ends in .tif or .tiff"),
        ("a.tif", {"format": "zarr"}, "a name that ends in .zarr"),
        ("taken.tif", {}, "taken.tif is there already"),
        ("a.tif", {"seed": -1}, "a seed is out of range"),
        ("a.tif", {"class_label": "crack"}, "this checkpoint has no classes"),
    ],
)
def test_mistakes_are_found_before_anything_is_written(seamless_pipe, pipe, tmp_path, path, how, words):
    (tmp_path / "taken.tif").write_bytes(b"precious")
    with pytest.raises(ConfigError, match=words):
        write(pipe, tmp_path / path, **how)
    with pytest.raises(ConfigError, match="not a place on this machine"):
        write(pipe, "s3://bucket/a.tif")
    with pytest.raises(ConfigError, match="there is no class 'scratch'"):
        write_series(seamless_pipe, tmp_path / "new", 2, class_labels=["void", "scratch"])
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("taken.tif", b"precious")]


@pytest.fixture(scope="module")
def large(make, tmp_path_factory) -> tuple[MagicalPipeline, Path]:
    """A pipeline of four bands of tiles, and where it is saved."""
    pipe = make(rows=8, cols=4, image_size=(2048, 1024))
    folder = tmp_path_factory.mktemp("large") / "pipe"
    pipe.save_pretrained(folder)
    return pipe, folder


@pytest.mark.parametrize(
    ("form", "sign"), [("zarr", "00000.zarr.incomplete/0/c/0/2/0"), ("tiff", ".00000.tif.*.incomplete")]
)
def test_a_killed_writer(large, tmp_path, form, sign):
    """A Zarr goes on by the chunk; a TIFF is begun again, never there by half. Nobody else writes there meanwhile."""
    pipe, _ = large
    folder = tmp_path / "killed"
    child = start(lambda: write_series(pipe, folder, 1, form))
    while not [*folder.glob(sign)] and child.is_alive():
        time.sleep(0.002)
    assert child.is_alive(), "it ended before it was killed: give it a larger image"
    os.kill(child.pid, signal.SIGSTOP)  # it goes no further while this process looks
    with pytest.raises(ConfigError, match="is being written by another process"):
        write_series(pipe, folder, 1, form)
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    assert [*folder.glob(sign)] and [path.name for path in folder.glob("0*")] in ([], ["00000.zarr.incomplete"])
    done = {
        path: path.stat().st_mtime_ns for path in folder.glob("00000.zarr.incomplete/0/c/*/*/*") if not path.suffix
    }
    assert form == "tiff" or 9 <= len(done) < 32
    rows = write_series(pipe, folder, 1, form)
    for path, made in done.items():
        now = folder / "00000.zarr" / path.relative_to(folder / "00000.zarr.incomplete")
        assert now.stat().st_mtime_ns == made
    name = rows[0]["file_name"]
    assert sorted(path.name for path in folder.iterdir()) == [name, "metadata.jsonl", "provenance.json"]
    write(pipe, tmp_path / name, form, seed=rows[0]["seed"])
    for ours, theirs in zip(pyramid(folder / name), pyramid(tmp_path / name), strict=True):
        assert np.array_equal(ours, theirs)


def fill_the_disk() -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))


@pytest.mark.parametrize("form", ["zarr", pytest.param("tiff", marks=pytest.mark.slow)])
def test_a_full_disk_is_one_line(large, tmp_path, form):
    """A limit on the size of files stands for it."""
    pipe, saved = large
    options = ("--checkpoint", saved, "--output-dir", tmp_path, "--format", form, "--num-images", 1)
    child, stderr = start_command("generate", *options, first=fill_the_disk)
    with stderr:
        errors = stderr.read()
    child.join()
    assert child.exitcode == 1 and "Traceback" not in errors
    assert errors.splitlines()[-1].startswith("error: File too large"), errors[-2000:]
    left = {path.name for path in tmp_path.iterdir()} - {"provenance.json"}
    assert left == ({"00000.zarr.incomplete"} if form == "zarr" else set())
    assert not [path for path in tmp_path.rglob("*") if "/c/" in str(path) and path.is_file()]  # no chunk by half
    (row,) = write_series(pipe, tmp_path, 1, form)
    assert pyramid(tmp_path / row["file_name"])[0].shape == (2048, 1024)


def test_a_path_that_cannot_be_written(large, tmp_path):
    (tmp_path / "file").write_text("in the way")
    for name, form in (("images/a.tif", "tiff"), ("images/a.zarr", "zarr")):
        with pytest.raises(NotADirectoryError):  # which the command tells in one line
            write(large[0], tmp_path / "file" / name, form)
