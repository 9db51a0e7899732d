"""From a name to a checkpoint: a bundled one, a folder, or an id on the Hub; and what is refused."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

import magical_hub.models
from magical_hub.errors import CheckpointError
from magical_hub.files import expanded
from magical_hub.models.base import Network, component_files
from magical_hub.repository import pull
from magical_hub.safety import check_inside, read_json
from magical_hub.saving import finish_save
from magical_hub.texts import for_shell, listed, plain

BUNDLED = Path(__file__).parent / "checkpoints"
"""Checkpoints that come with the package, a folder each."""


def bundled_names() -> list[str]:
    """Names of the bundled checkpoints."""
    return sorted(path.name for path in BUNDLED.iterdir() if path.is_dir()) if BUNDLED.is_dir() else []


def locate(name: str | Path) -> Path | str:
    """A folder that holds a pipeline, or an id on the Hub.

    A folder of that name comes before a bundled checkpoint, and that before the Hub.

    Raises:
        CheckpointError: where the folder is no pipeline, or the name can be none of the three.
    """
    folder = expanded(name)
    if folder.is_dir():
        finish_save(folder)
        if (folder / "model_index.json").is_file():
            return folder
        if (folder / "checkpoints").is_dir():
            raise CheckpointError(f"{name} is a training that has not ended: let it end, or go on with --resume")
        raise CheckpointError(
            f"{name} is no checkpoint (it has no model_index.json): give the folder that training wrote"
        )
    if str(name) in bundled_names():
        return BUNDLED / str(name)
    if re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*(@[\w./-]+)?", str(name)):
        return str(name)
    raise CheckpointError(
        f"there is no checkpoint {name}: give a folder, an id on the Hub (OWNER/NAME), "
        f"or a bundled one ({', '.join(bundled_names()) or 'none in this build'})"
    )


def fetch(
    name: str | Path, components: Collection[str], variant: str | None = None, **where: Any
) -> tuple[Path, dict[str, str]]:
    """The folder of a pipeline whose index was checked; of an id on the Hub the files that are needed, and no others.

    Args:
        name: as `locate` takes it.
        components: the names that a pipeline may have components by; weights of others in the index are an error.
        variant: of the weights, as in diffusers ("fp16").
        where: what `magical_hub.repository.pull` takes.

    Returns:
        The folder, and the class of each component in it.

    Raises:
        CheckpointError: as `locate`, or where the files are damaged, unsafe or can't be had.
    """
    place = locate(name)
    folder = pull(place, ["model_index.json"], **where) if isinstance(place, str) else place
    index = read_index(folder, name)
    strange = sorted(index.keys() - components)
    if strange:
        raise CheckpointError(f"{name} has a {strange[0]!r}, which this version does not know: update magical_hub")
    if isinstance(place, str):
        files = [f"{part}/{file}" for part in sorted(index) for file in component_files(variant)]
        repo_id = place.partition("@")[0]
        where["revision"] = folder.name
        folder = pull(repo_id, ["model_index.json", *files], optional=["provenance.json"], **where)
    for part in index:
        check_inside(folder / part, folder)
    return folder, index


def read_index(folder: Path, name: str | Path) -> dict[str, str]:
    """The class of each component that a pipeline folder says it has.

    Raises:
        CheckpointError: where the index is damaged, or names anything but networks of this library.
    """
    index = read_json(folder / "model_index.json", folder)
    if index.get("_class_name") != "MagicalPipeline":
        raise CheckpointError(f"{name} is a {str(index.get('_class_name'))[:100]}, no MagicalPipeline")
    networks = {key for key, value in vars(magical_hub.models).items() if _is_network(value)}
    found = {}
    for part, source in index.items():
        if part.startswith("_") or source == [None, None]:
            continue
        if not re.fullmatch(r"[a-z][a-z_]{0,40}", part):
            raise CheckpointError(f"{name} names a component {part[:100]!r}, which is no name of a folder of ours")
        if not (
            isinstance(source, list)
            and len(source) == 2
            and source[0] == "magical_hub"
            and isinstance(source[1], str)
            and source[1] in networks
        ):
            raise CheckpointError(
                f"{name} wants {str(source)[:100]} as its {part}: only networks of magical_hub are loaded"
            )
        found[part] = source[1]
    if "generator" not in found:
        raise CheckpointError(f"{name} has no generator: take another checkpoint")
    return found


def _is_network(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, Network)


def describe(name: str | Path) -> dict[str, Any]:
    """What a checkpoint is, from its configuration alone: no weights are loaded.

    Raises:
        CheckpointError: as `locate`, or where its files are damaged or cannot be reached.
    """
    place = locate(name)
    folder = place if isinstance(place, Path) else pull(place, ["model_index.json", "generator/config.json"])
    index = read_index(folder, name)
    config = read_json(folder / "generator" / "config.json", folder)
    try:
        height, width = config["image_size"]
        rows, cols = config["rows"], config["cols"]
        names = config["class_names"], config.get("defect_names")
        if not all(type(number) is int and number > 0 for number in (height, width, rows, cols, config["latent_dim"])):
            raise ValueError("its sizes are none")
        if not all(some is None or (isinstance(some, list) and all(map(_is_text, some))) for some in names):
            raise ValueError("its names are none")
        if not all(map(_is_text, (config["_class_name"], config["_diffusers_version"]))):
            raise ValueError("its class or version is no text")
        return {
            "checkpoint": str(name),
            "pipeline": "MagicalPipeline",
            "generator": config["_class_name"],
            "image_size": [height, width],
            "channels": config["channels"],
            "grid": [rows, cols],
            "sub_region": [height // rows, width // cols],
            "class_names": names[0],
            "defect_names": names[1],
            "latent_dim": config["latent_dim"],
            "critic": "critic" in index,
            "bytes": sum(path.stat().st_size for path in folder.glob("*/*.safetensors")),
            "made_with": config["_diffusers_version"],
        }
    except (OSError, ValueError, LookupError, TypeError, ArithmeticError) as error:
        reason = f"{type(error).__name__}: {error}".strip().splitlines()[0]
        raise CheckpointError(f"{name} cannot be read as a checkpoint ({reason}): take another one") from error


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def explain(about: dict[str, Any]) -> str:
    """What `describe` found, for a person: what the checkpoint makes, and what can be asked of it."""
    (height, width), (rows, cols), cell = about["image_size"], about["grid"], about["sub_region"]
    name, classes, defects = plain(about["checkpoint"]), about["class_names"], about["defect_names"]
    seamless = about["generator"] == "SeamlessGenerator"
    colour = "grey" if about["channels"] == 1 else "colour"
    here = for_shell(about["checkpoint"]) or "RUN"
    asked = f" --class-labels {for_shell(classes[0]) or 0}" if classes else ""
    lines = {
        "makes": f"{colour} images of {height} x {width} px",
        "from": f"{rows} x {cols} sub-regions of {cell[0]} x {cell[1]} px, which "
        f"{'agree at their seams by construction' if seamless else 'were taught to agree at their seams by a loss'} "
        f"({plain(about['generator'], 80)})",
        "classes": listed(classes) if classes else "none: it was trained without",
        "defects": listed(defects) if defects else "none: it was trained without",
        "critic": f"there: train --init-from {here} begins with it"
        if about["critic"]
        else "not there: no --init-from",
        "weights": f"{about['bytes'] / 2**20:.1f} MiB" if about["bytes"] else "on the Hub, not here yet",
        "try": f"magical-hub generate --checkpoint {here} --num-images 8{asked} --output-dir IMAGES",
    }
    if defects:
        one = repr(defects[0]) if plain(defects[0], 80) == defects[0] else "1"
        lines["and"] = f"pipe(defects={{(0, 0): {one}}}) puts a defect into the first sub-region"
    return "\n".join([name, *(f"  {key:<8} {value}" for key, value in lines.items())])


def as_os_error(error: SafetensorError) -> OSError:
    """What the operating system said (a full disk, say), which safetensors hides in its text."""
    number = re.search(r"os error (\d+)", str(error))
    code = int(number.group(1)) if number else errno.EIO
    return OSError(code, os.strerror(code))
