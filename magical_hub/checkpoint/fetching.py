"""From a name to checked files: the name is located, files are pulled from the Hub, the index is read and checked."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from magical_hub.checkpoint.pulling import pull
from magical_hub.checkpoint.saving import finish_save
from magical_hub.checkpoint.weights import component_files
from magical_hub.errors import CheckpointError
from magical_hub.files import expanded
from magical_hub.safety import check_inside, read_json

BUNDLED = Path(__file__).parents[1] / "checkpoints"
"""Checkpoints that come with the package, a folder each."""
COMPONENTS = {
    "generator": {"MagicalGenerator", "SeamlessGenerator"},
    "critic": {"MagicalCritic"},
    "verifier": {"LabelVerifier"},
}
"""The components of a pipeline, and the networks of `magical_hub.models` that each may be."""


def bundled_names() -> list[str]:
    """Names of the bundled checkpoints."""
    return sorted(path.name for path in BUNDLED.iterdir() if path.is_dir()) if BUNDLED.is_dir() else []


def locate(name: str | Path) -> Path | str:
    """A folder that holds a pipeline, or an id on the Hub.

    A folder of that name comes before a bundled checkpoint, and that before the Hub.

    Raises:
        CheckpointError: where the folder is not a pipeline, or the name can be none of the three.
    """
    if name == "" or "://" in str(name):
        what = "an address" if name else "empty"
        raise CheckpointError(f"{name!r} is {what}: give a folder, or the id on the Hub alone (OWNER/NAME)")
    folder = expanded(name)
    if folder.is_dir():
        finish_save(folder)
        if (folder / "model_index.json").is_file():
            return folder
        if (folder / "checkpoints").is_dir():
            raise CheckpointError(f"{name} is a training that has not ended: let it end, or continue with --resume")
        raise CheckpointError(
            f"{name} is not a checkpoint (it has no model_index.json): give the folder that training wrote"
        )
    if str(name) in bundled_names():
        return BUNDLED / str(name)
    if _is_id(name):
        return str(name)
    raise CheckpointError(
        f"there is no checkpoint {name}: give a folder, an id on the Hub (OWNER/NAME), "
        f"or a bundled one ({', '.join(bundled_names()) or 'none in this build'})"
    )


def _is_id(name: str | os.PathLike[str]) -> bool:
    """Whether a name that is not a folder may be an id on the Hub, for which it is looked up there.

    Raises:
        CheckpointError: where it has the form of one, but begins with a folder that exists here.
    """
    if not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*(@[\w./-]+)?", str(name)):
        return False
    owner = str(name).partition("/")[0]
    if "@" not in str(name) and Path(owner).is_dir():
        raise CheckpointError(
            f"there is no checkpoint {name}, and {owner} is a folder here: give the folder that training wrote, or "
            f"{name}@main for an id on the Hub"
        )
    return True


def fetch(name: str | Path, variant: str | None = None, **where: Any) -> tuple[Path, dict[str, str]]:
    """The folder of a pipeline whose index was checked; of an id on the Hub the files that are needed, and no others.

    Args:
        name: as `locate` takes it.
        variant: of the weights, as in diffusers ("fp16").
        where: what `pulling.pull` takes.

    Returns:
        The folder, and the class of each component in it.

    Raises:
        CheckpointError: as `locate`, or where the files are damaged, unsafe or cannot be fetched.
    """
    place = locate(name)
    folder = pull(place, ["model_index.json"], **where) if isinstance(place, str) else place
    index = read_index(folder, name)
    if isinstance(place, str):
        files = [f"{part}/{file}" for part in sorted(index) for file in component_files(variant)]
        repo_id = place.partition("@")[0]
        where["revision"] = folder.name
        folder = pull(repo_id, ["model_index.json", *files], optional=["provenance.json"], **where)
    for part in index:
        check_inside(folder / part, folder)
    return folder, index


def fetch_network(name: str | os.PathLike[str], subfolder: str = "", variant: str | None = None, **where: Any) -> Path:
    """The folder of one network; of an id on the Hub its configuration and weights, and no other files.

    Args:
        name: a folder, or an id on the Hub (OWNER/NAME, OWNER/NAME@REVISION).
        subfolder: of the network in it.
        variant, where: as of `fetch`.

    Raises:
        CheckpointError: where the files cannot be fetched, or the subfolder leads out of the folder.
    """
    folder = expanded(name)
    if not folder.is_dir():
        if not _is_id(name):
            raise CheckpointError(f"there is no folder {name}: give one, or an id on the Hub (OWNER/NAME)")
        folder = pull(str(name), [f"{subfolder}/{file}".lstrip("/") for file in component_files(variant)], **where)
    check_inside(folder / subfolder, folder)
    return folder / subfolder


def read_index(folder: Path, name: str | Path) -> dict[str, str]:
    """The class of each component that a pipeline folder says it has.

    Raises:
        CheckpointError: where the index is damaged, or names anything but networks of this library.
    """
    index = read_json(folder / "model_index.json", folder)
    if index.get("_class_name") != "MagicalPipeline":
        raise CheckpointError(f"{name} is a {str(index.get('_class_name'))[:100]}, no MagicalPipeline")
    found = {}
    for part, source in index.items():
        if part.startswith("_") or source == [None, None]:
            continue
        if part not in COMPONENTS:
            raise CheckpointError(f"{name} has a {part[:100]!r}, which this version does not know: update magical_hub")
        if source not in [["magical_hub", network] for network in COMPONENTS[part]]:
            raise CheckpointError(
                f"{name} has {str(source)[:100]} as the {part}: only networks of magical_hub are loaded there "
                f"({', '.join(sorted(COMPONENTS[part]))})"
            )
        found[part] = source[1]
    if "generator" not in found:
        raise CheckpointError(f"{name} has no generator: take another checkpoint")
    return found
