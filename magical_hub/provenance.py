"""Where images and checkpoints come from: one record, in JSON, beside each, with the record of what it was made from.

A checkpoint's record says on which data, split and configuration it was trained; that of images, from which weights
and seeds they were made, and under "from" the checkpoint's own. So one file leads from an image back to its training
set. Records go out with what is published: they hold neither paths nor names of folders, users or machines.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import re
import struct
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

from magical_hub.checkpoint import BUNDLED, locate, weights_sha256
from magical_hub.errors import DataError
from magical_hub.files import expanded
from magical_hub.safety import parse_json, read_json, read_json_lines
from magical_hub.texts import plain
from magical_hub.version import __version__

FILE = "provenance.json"
"""The name of a record in the folder that it describes."""

ADVICE = "put the right one back, or delete it"
LIBRARIES = ("accelerate", "datasets", "diffusers", "numpy", "pillow", "safetensors", "torch")
"""The libraries whose version may change the images."""


def made_by() -> dict[str, Any]:
    """The program that runs: its version, a hash of its code, its libraries, and the command, if it is the command."""
    code = hashlib.sha256()
    package = Path(__file__).parent
    for file in sorted(package.rglob("*.py")):
        code.update(file.relative_to(package).as_posix().encode() + b"\0" + file.read_bytes() + b"\0")
    return {
        "magical_hub": __version__,
        "code_sha256": code.hexdigest(),
        "python": platform.python_version(),
        "libraries": {name: importlib.metadata.version(name) for name in LIBRARIES},
        "command": _command(sys.argv),
    }


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, as `sha256sum` gives it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _digest(file)


def _digest(file: BinaryIO) -> str:
    sha = hashlib.sha256()  # Python 3.10
    for block in iter(lambda: file.read(2**20), b""):
        sha.update(block)
    return sha.hexdigest()


def origin(name: str | Path, folder: Path) -> dict[str, Any]:
    """What is known of a checkpoint that was loaded by its name.

    Args:
        name: a folder, a bundled checkpoint's name, or an id on the Hub.
        folder: where its files are; of one on the Hub that of the commit in the cache.

    Returns:
        checkpoint and revision, of what has a public name; record, where one came with it.
    """
    place = locate(name)
    record = {"record": read(folder / FILE)}
    if isinstance(place, str):
        return {"checkpoint": place.partition("@")[0], "revision": folder.name, **record}
    return {"checkpoint": place.name, **record} if place.parent == BUNDLED else record


def source_of(pipe: Any) -> str:
    """What rows name as their source: OWNER/NAME@REVISION of the Hub, or the folder's name and a hash of the weights.

    Args:
        pipe: the MagicalPipeline.
    """
    folder = Path(str(pipe.config.get("_name_or_path") or "unsaved"))
    if folder.parent.name == "snapshots":  # of the Hub's cache: models--OWNER--NAME/snapshots/REVISION
        return f"{folder.parent.parent.name.removeprefix('models--').replace('--', '/')}@{folder.name}"
    return f"{folder.name}@{weights_sha256(pipe.generator)[:12]}"


def pipeline_sha256(pipe: Any) -> str:
    """The SHA-256 of the configurations and weights that images and their verification depend on: not the critic's."""
    about = []
    for name, network in sorted(pipe.components.items()):
        if name != "critic" and network is not None:
            config = {key: value for key, value in network.config.items() if key != "_name_or_path"}
            about.append([name, config, weights_sha256(network)])
    return hashlib.sha256(json.dumps(about, sort_keys=True, default=str).encode()).hexdigest()


def of_images(pipe: Any, image: dict[str, Any]) -> dict[str, Any]:
    """The record of images that a pipeline makes.

    Args:
        pipe: the MagicalPipeline.
        image: the request: seed, class, truncation ...
    """
    came = dict(pipe.origin)
    before = came.pop("record", None)
    image = {**image, "weights_sha256": weights_sha256(pipe.generator)}
    return {"made": "images", "image": image, **came, **made_by(), "from": before}


def of_painted(bank: Any, image: dict[str, Any]) -> dict[str, Any]:
    """The record of images that hold pixels of real ones: defects of a bank on good images.

    Args:
        bank: the DefectBank.
        image: the request: seed, number ...
    """
    about = {"classes": bank.classes, "examples": len(bank), "sha256": bank.sha256, "settings": asdict(bank.settings)}
    return {"made": "images", "real_pixels": True, "image": image, "bank": about, **made_by()}


def of_weights(pipe: Any) -> dict[str, Any] | None:
    """The record of a pipeline's weights: the one that it came with, where it describes those.

    Others come "from" it, by whatever happened since. None where it came with none.
    """
    record = pipe.origin.get("record")
    weights = weights_sha256(pipe.generator)
    if record is None or record.get("weights_sha256") == weights:
        return record
    return {"made": "checkpoint", "weights_sha256": weights, **made_by(), "from": record}


def read(path: Path) -> dict[str, Any] | None:
    """A record's file; None where there is none.

    Raises:
        DataError: where it is damaged.
    """
    if not os.path.lexists(path):
        return None
    return _checked(read_json(path, path.parent, DataError, ADVICE), path)


def chain(path: str | Path) -> list[dict[str, Any]]:
    """From an image or a checkpoint back to its training set, a step a dict: an image, its folder, a checkpoint ...

    Args:
        path: a folder with a record (RUN, a checkpoint of it, generated images), a Zarr or tiled TIFF that was written
            here, or an image in a folder of generated ones.

    Raises:
        DataError: where there is no record, or it is damaged.
    """
    path = expanded(path)
    if not path.exists():
        raise DataError(f"there is no {path}: give a folder or an image that was made here")
    steps = []
    record = _own_record(path)
    if record is None:
        steps.append({"made": "image", **_row(path)})
        record = read(path.parent / FILE)
        if record is None or len(steps[0]) == 1:
            raise DataError(f"{path} has no record of where it comes from: it was not made here, or lost its {FILE}")
    return steps + steps_of(record)


def steps_of(record: dict[str, Any] | None) -> list[dict[str, Any]]:
    """The steps of a record, as of `chain`: itself, the record that it came from, and so on."""
    steps = []
    while record is not None:
        before = record.get("from")
        steps.append({key: value for key, value in record.items() if key != "from"})
        if before and "image" in record and record["image"].get("weights_sha256") != before.get("weights_sha256"):
            steps[-1]["doubt"] = "the weights are not those that the record of the checkpoint describes"
        record = before
    return steps


def sessions_of(record: dict[str, Any]) -> Any:
    """The sessions of a run that a checkpoint's record lists; earlier versions called them sittings."""
    return record.get("sessions", record.get("sittings", []))


def steps_text(steps: list[dict[str, Any]]) -> str:
    """A `chain` for people: what each step is, and below it a line for all that its record says."""
    lines: list[str] = []
    for step in steps:
        about = {key: value for key, value in step.items() if key != "made" and value is not None}
        width = min(80, max((len(key) for key in about), default=0))
        made = plain(step["made"], 80)
        lines.append(made if not lines else f"from {made}")
        for key, value in about.items():
            lines.append(
                f"  {plain(key, 80):<{width}}  {plain(value if isinstance(value, str) else json.dumps(value))}"
            )
    return "\n".join(lines)


def _own_record(path: Path) -> dict[str, Any] | None:
    """The record in a folder or in a file."""
    if path.is_dir():
        record = read(path / FILE)
        if record is None and (path / "zarr.json").is_file():
            attributes = read_json(path / "zarr.json", path, DataError, ADVICE).get("attributes")
            own = attributes.get("magical_hub") if isinstance(attributes, dict) else None
            record = None if own is None else _checked(own, path)
        if record is None:
            raise DataError(f"{path} holds no {FILE}: give what this library made, or a folder of such images")
        return record
    if path.suffix.lower() in (".tif", ".tiff"):
        return _described(path)
    return None


def _described(path: Path) -> dict[str, Any] | None:
    """The record in a TIFF's ImageDescription."""
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            record = parse_json(file.pages[0].aspage().description)
    except (OSError, ValueError, LookupError, TypeError, struct.error, tifffile.TiffFileError):
        return None
    return _checked(record, path) if isinstance(record, dict) and "made" in record else None


def _row(path: Path) -> dict[str, Any]:
    """The row of an image in the metadata.jsonl beside it."""
    file = path.parent / "metadata.jsonl"
    rows, damaged = read_json_lines(file)
    row = next((row for row in rows if row.get("file_name") == path.name), {})
    if damaged and not row:
        raise DataError(
            f"{file} has {damaged} lines that cannot be read, and none on {path.name}: put the right one back"
        )
    return row


def _checked(record: Any, path: Path) -> dict[str, Any]:
    """The record, whose every step down to the training set is of the right form.

    Raises:
        DataError: where one is not.
    """
    step = record
    while step is not None:
        right = isinstance(step, dict) and isinstance(step.get("made"), str)
        right = right and all(isinstance(step.get(key, {}), dict) for key in ("image", "data", "configuration"))
        sessions = sessions_of(step) if right else None
        if not isinstance(sessions, list) or not all(
            isinstance(one, dict) and type(one.get("from_step")) is int for one in sessions
        ):
            raise DataError(f"{path} holds no record of this library: {ADVICE}")
        step = step.get("from")
    checked: dict[str, Any] = record
    return checked


def _command(arguments: list[str]) -> str | None:
    """The command line with its options and numbers alone: any other value may be a name of the machine or its owner.

    None where the library was called from Python.
    """
    program = Path(arguments[0])
    if program.stem != "magical-hub" and program.parts[-2:] != ("magical_hub", "cli.py"):
        return None
    return " ".join(["magical-hub", *arguments[1:2], *(_without_names(argument) for argument in arguments[2:])])


def _without_names(argument: str) -> str:
    option, equals, value = argument.partition("=") if argument.startswith("--") else ("", "", argument)
    if argument.startswith("--") and not equals:
        return argument
    return option + equals + (value if re.fullmatch(r"[-+\d.]+(e[-+]?\d+)?", value) else "...")
