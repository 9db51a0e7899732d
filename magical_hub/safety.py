"""Reading files that a stranger wrote: bounded, never run, never outside their folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NoReturn

from safetensors import SafetensorError, safe_open

from magical_hub.errors import CheckpointError

MOST_BYTES = 2**24
"""Of a JSON file; most have a few hundred, but how often each defect stands at each of 1,024 places takes millions."""


def check_inside(path: Path, folder: Path) -> None:
    """Refuse a path that leaves a folder by `..`, or through a symbolic link.

    The client's cache is links from snapshots/COMMIT to blobs/ beside it: those are let through.

    Raises:
        CheckpointError: naming the path.
    """
    try:
        real, root = path.resolve(), folder.resolve()
    except (OSError, RuntimeError) as error:  # links that go in a circle
        raise CheckpointError(f"{path} is a link that leads nowhere: take another checkpoint") from error
    roots = [root, *(above.parent.parent / "blobs" for above in (root, *root.parents) if _is_snapshot(above))]
    if not any(real.is_relative_to(allowed) for allowed in roots):
        raise CheckpointError(f"{path} leads out of its folder: put the file itself there")


def _is_snapshot(folder: Path) -> bool:
    return folder.parent.name == "snapshots" and folder.parent.parent.name.startswith(("models--", "datasets--"))


def read_json(path: Path, folder: Path) -> dict[str, Any]:
    """The object in a JSON file that lies in a folder.

    Raises:
        CheckpointError: where it is missing, leads out of the folder, is too large, or holds anything else.
    """
    check_inside(path, folder)
    if not path.is_file():  # nor a pipe, which would be waited for
        raise CheckpointError(f"{path} is missing: take another checkpoint")
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise CheckpointError(f"{path} has more than {MOST_BYTES} bytes: take another checkpoint")
        value = json.loads(content.decode("utf-8"), parse_constant=_no_number)
    except CheckpointError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise CheckpointError(f"{path} is no JSON that can be read ({reason}): take another checkpoint") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} holds a {type(value).__name__} and no object: take another checkpoint")
    return value


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number")


def read_header(path: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """The dtype and the shape of every tensor of a safetensors file, without the tensors.

    Raises:
        CheckpointError: where it is truncated, oversized, or no safetensors file at all.
    """
    try:
        with safe_open(path, framework="pt") as file:
            parts = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
            return {name: (part.get_dtype(), tuple(part.get_shape())) for name, part in parts.items()}
    except (OSError, SafetensorError) as error:
        reason = str(error).partition("\n")[0]
        raise CheckpointError(f"{path} is no whole safetensors file ({reason}): take another checkpoint") from error
