"""A chunked Zarr with the levels of a pyramid, described as OME-NGFF 0.5 does, that goes on where it was killed.

It grows beside its name, `NAME.incomplete`, chunk by chunk: each is a file that appears whole. So what is there is
done, and the rest is made when the same is asked for again. It takes its name when all is there.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from magical_hub.errors import ConfigError
from magical_hub.export.raster import Raster, halved, progress
from magical_hub.extras import extra
from magical_hub.files import check_plain, clear_left, folder_written_whole
from magical_hub.grid import rectangles

if TYPE_CHECKING:
    import zarr

AXES = ("c", "y", "x")


def write_zarr(path: Path, raster: Raster, record: dict[str, Any]) -> None:
    """Write an image as a pyramid of chunked arrays (C, H, W), or go on with one that was begun.

    Args:
        path: the folder.
        raster: the image.
        record: where it comes from; it is the group's attribute "magical_hub". What was begun with another seed,
            class, truncation or weights is another image.

    Raises:
        ConfigError: where another image was begun there.
    """
    beside = path.with_name(path.name + ".incomplete")
    levels = _begin(beside, raster, record)
    with progress(raster, path) as bar:
        for top, left, height, width in raster.pieces():
            missing = _missing(beside, levels[0], top, left, height, width)
            if missing:
                _put(levels[0], missing, top, left, raster.make((top, left, height, width)))
            bar.update(height * width)
    for level, finer in zip(levels[1:], levels, strict=False):
        _, rows, cols = level.shape
        for top, left, height, width in rectangles(rows, cols, (raster.band, cols)):
            missing = _missing(beside, level, top, left, height, width)
            if missing:
                above = np.asarray(finer[:, 2 * top : 2 * (top + height)])
                _put(level, missing, top, left, halved(above.transpose(1, 2, 0)))
    os.replace(beside, path)


def _begin(folder: Path, raster: Raster, record: dict[str, Any]) -> list[zarr.Array]:
    """The arrays of all levels, made or found."""
    with extra("large"):
        import zarr

    clear_left(folder.parent, folder.name)
    if folder.exists() or folder.is_symlink():
        check_plain(folder)
        begun: Any = _attributes(folder).get("magical_hub")
        if not isinstance(begun, dict):
            raise ConfigError(f"{folder} holds something of another program: give another path")
        if begun.get("image") != record["image"]:
            raise ConfigError(
                f"{folder} holds the beginnings of another image: delete it, or give another path or the same "
                "checkpoint, seed, class and truncation"
            )
        for left in folder.rglob("*.partial"):  # by a kill
            left.unlink()
    else:
        with folder_written_whole(folder) as beside:
            group = zarr.create_group(beside)
            for number, size in enumerate(raster.levels):
                group.create_array(
                    str(number),
                    shape=(raster.channels, *size),
                    chunks=(raster.channels, *raster.tile),
                    dtype="uint8",
                    dimension_names=AXES,
                    config={"write_empty_chunks": True},  # a chunk that is not there is one that is not done
                )
            group.attrs.update({"ome": _multiscales(len(raster.levels)), "magical_hub": record})
    return [zarr.open_array(folder, path=str(number), mode="r+") for number in range(len(raster.levels))]


def _attributes(folder: Path) -> dict[str, Any]:
    import zarr

    try:
        return dict(zarr.open_group(folder, mode="r").attrs)
    except (OSError, ValueError, KeyError, TypeError):  # no group
        return {}


def _missing(
    folder: Path, level: zarr.Array, top: int, left: int, height: int, width: int
) -> list[tuple[int, int, int, int]]:
    """The chunks of a rectangle that are not there: top, left, height, width within it."""
    _, tall, wide = level.chunks
    return [
        (row, col, rows, cols)
        for row, col, rows, cols in rectangles(height, width, (tall, wide))
        if not (folder / level.path / _key(level, (top + row) // tall, (left + col) // wide)).is_file()
    ]


def _key(level: zarr.Array, row: int, col: int) -> str:
    return level.metadata.encode_chunk_key((0, row, col))


def _put(level: zarr.Array, chunks: list[tuple[int, int, int, int]], top: int, left: int, pixels: np.ndarray) -> None:
    """Write chunks of a rectangle (h, w, C) one by one: of many at once that fail, zarr prints a traceback each."""
    for row, col, height, width in chunks:
        rows, cols = slice(top + row, top + row + height), slice(left + col, left + col + width)
        level[:, rows, cols] = pixels[row : row + height, col : col + width].transpose(2, 0, 1)


def _multiscales(levels: int) -> dict[str, Any]:
    kinds = {"c": "channel", "y": "space", "x": "space"}
    datasets = [
        {"path": str(n), "coordinateTransformations": [{"type": "scale", "scale": [1.0, 2.0**n, 2.0**n]}]}
        for n in range(levels)
    ]
    axes = [{"name": name, "type": kinds[name]} for name in AXES]
    return {"version": "0.5", "multiscales": [{"axes": axes, "datasets": datasets, "type": "mean of 2 x 2"}]}
