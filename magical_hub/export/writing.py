"""One image of any size, written in the memory of a row of its tiles."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args

from magical_hub import provenance
from magical_hub.errors import ConfigError
from magical_hub.export.places import is_remote
from magical_hub.export.raster import Raster
from magical_hub.export.tiff import write_tiff
from magical_hub.export.zarr import write_zarr
from magical_hub.files import expanded, only_maker
from magical_hub.pipeline import MagicalPipeline

Format = Literal["tiff", "zarr"]

SUFFIXES: dict[Format, tuple[str, ...]] = {"tiff": (".tif", ".tiff"), "zarr": (".zarr",)}
"""The endings of a path; the first is the usual one."""


def write(
    pipe: MagicalPipeline,
    path: str | Path,
    format: Format = "tiff",
    *,
    seed: int = 0,
    class_label: int | str | None = None,
    truncation_psi: float = 1.0,
) -> dict[str, Any]:
    """Write the image that `pipe(seeds=[seed])` gives, however large, as tiles with the levels of a pyramid.

    A TIFF is written beside its name and takes it when it is whole. A Zarr grows as `PATH.incomplete`; the same call
    continues where a killed one stopped. Both carry the record of where they come from (see provenance.py).

    Args:
        pipe: makes it; with a seamless generator any size takes the same memory.
        path: the .tif or .tiff file, or the .zarr folder; nothing may be there yet.
        format: "tiff": a tiled BigTIFF, deflated; "zarr": Zarr 3, with the attributes of OME-NGFF 0.5.
        seed: the image's own.
        class_label: its class, by number or name; None draws it from the seed.
        truncation_psi: 1 is as trained (see `MagicalPipeline`).

    Returns:
        file_name, seed and, where there are classes, class_label and class_name.

    Raises:
        ConfigError: where an argument is out of range, the path is taken, or another process is writing to it.
        MissingPackageError: for "zarr", without the extra `large`.
    """
    target = _checked(path, format)
    annotation = pipe.annotation(seed, class_label)
    image = {"seed": seed, **annotation, "truncation_psi": truncation_psi}
    raster = Raster(pipe, seed, annotation.get("class_label"), truncation_psi)
    writes = write_tiff if format == "tiff" else write_zarr
    with only_maker(target):
        if target.exists():  # written by another process meanwhile
            raise ConfigError(f"{target} is there already: give another path, or delete it")
        writes(target, raster, provenance.of_images(pipe, image))
    return {"file_name": target.name, "seed": seed, **annotation}


def _checked(path: str | Path, format: Format) -> Path:
    if format not in get_args(Format):
        raise ConfigError(f"format is {format!r}: give {' or '.join(get_args(Format))}")
    if is_remote(path):
        raise ConfigError(f"{path} is no place on this machine: give a path, and copy the file from there")
    suffixes = SUFFIXES[format]
    target = expanded(path)
    if target.suffix.lower() not in suffixes:
        raise ConfigError(f"{path} is to hold a {format}: give a name that ends in {' or '.join(suffixes)}")
    if target.exists():
        raise ConfigError(f"{path} is there already: give another path, or delete it")
    return target
