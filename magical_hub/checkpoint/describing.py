"""A description of a checkpoint, from its configuration alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from magical_hub.checkpoint.fetching import locate, read_index
from magical_hub.checkpoint.pulling import pull
from magical_hub.errors import CheckpointError
from magical_hub.safety import read_json
from magical_hub.texts import for_shell, listed, plain


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
            raise ValueError("its sizes are not whole numbers above 0")
        if not all(some is None or (isinstance(some, list) and all(map(_is_text, some))) for some in names):
            raise ValueError("its names are not lists of text")
        if not all(map(_is_text, (config["_class_name"], config["_diffusers_version"]))):
            raise ValueError("its class or version is not text")
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
    """The result of `describe` in words: what the checkpoint generates, and how to call it."""
    (height, width), (rows, cols), cell = about["image_size"], about["grid"], about["sub_region"]
    name, classes, defects = plain(about["checkpoint"]), about["class_names"], about["defect_names"]
    seamless = about["generator"] == "SeamlessGenerator"
    colour = "grey" if about["channels"] == 1 else "colour"
    here = for_shell(about["checkpoint"]) or "RUN"
    option = f" --class-labels {for_shell(classes[0]) or 0}" if classes else ""
    lines = {
        "makes": f"{colour} images of {height} x {width} px",
        "from": f"{rows} x {cols} sub-regions of {cell[0]} x {cell[1]} px, which "
        f"{'agree at their seams by construction' if seamless else 'were trained to agree at their seams by a loss'} "
        f"({plain(about['generator'], 80)})",
        "classes": listed(classes) if classes else "none: it was trained without",
        "defects": listed(defects) if defects else "none: it was trained without",
        "critic": f"there: train --init-from {here} begins with it"
        if about["critic"]
        else "not there: no --init-from",
        "weights": f"{about['bytes'] / 2**20:.1f} MiB" if about["bytes"] else "on the Hub, not here yet",
        "try": f"magical-hub generate --checkpoint {here} --num-images 8{option} --output-dir IMAGES",
    }
    if defects:
        one = repr(defects[0]) if plain(defects[0], 80) == defects[0] else "1"
        lines["and"] = f"pipe(defects={{(0, 0): {one}}}) puts a defect into the first sub-region"
    return "\n".join([name, *(f"  {key:<8} {value}" for key, value in lines.items())])
