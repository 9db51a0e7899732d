"""Checkpoints of a run: written beside and renamed, in safetensors and JSON alone, so that no pickle is ever read.

A checkpoint is a folder `step-00001000` with generator, critics, EMA weights and the optimizers, a file each. An
optimizer's tensors are stored as "NUMBER.NAME"; its settings, and what of its state is not a tensor, as JSON in the
file's metadata. There are no random states: what is random depends only on the seed and the step (see sampler.py).
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from magical_hub import provenance
from magical_hub.checkpoint import as_os_error, not_finite
from magical_hub.errors import CheckpointError
from magical_hub.files import folder_written_whole, remove_folder, remove_leftovers, write_text
from magical_hub.safety import parse_json, read_json

ADVICE = "delete it, and --resume takes the one before"
LARGEST = 1e300
"""Larger numbers of a checkpoint are refused: arithmetic with them would overflow."""


def last_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint below `folder`, or None."""
    return max(_checkpoints(folder), default=None, key=checkpoint_step)


def checkpoint_step(checkpoint: Path) -> int:
    """The step that a checkpoint's name says."""
    return int(checkpoint.name.removeprefix("step-"))


def save_checkpoint(
    folder: Path,
    step: int,
    about: dict[str, Any],
    modules: dict[str, dict[str, torch.Tensor]],
    optimizers: Mapping[str, torch.optim.Optimizer],
    keep: int,
    record: dict[str, Any],
) -> Path:
    """Write a checkpoint and remove the oldest ones beyond `keep`, but never the best.

    Args:
        folder: of the checkpoints of the run.
        step: steps done.
        about: what else is restored; JSON. The checkpoint with the lowest "kid" in it, if any has one, is the best.
        modules: state dicts by name.
        optimizers: by the names of what they train.
        keep: how many checkpoints to leave, this one included.
        record: where the weights come from (see provenance.py).
    """
    target = folder / f"step-{step:08d}"
    remove_leftovers(folder)
    with folder_written_whole(target) as beside:
        _write(beside, {"step": step, **about}, modules, optimizers)
        write_text(beside / provenance.FILE, json.dumps(record, indent=2))
        if target.exists():
            remove_folder(target)
    own = [path for path in _checkpoints(folder) if (path / "about.json").is_file()]
    scores = {path: kid for path in own if (kid := _score(path)) is not None}
    best = min(scores, key=lambda path: scores[path], default=None)
    for old in sorted(own, key=checkpoint_step)[:-keep]:
        if old != best:
            remove_folder(old)
    return target


def _write(
    folder: Path,
    about: dict[str, Any],
    modules: dict[str, dict[str, torch.Tensor]],
    optimizers: Mapping[str, torch.optim.Optimizer],
) -> None:
    try:
        for name, state in modules.items():
            # clone: safetensors refuses tensors that share memory, and averaged weights may.
            tensors = {key: value.detach().cpu().clone().contiguous() for key, value in state.items()}
            save_file(tensors, folder / f"{name}.safetensors")
        for name, optimizer in optimizers.items():
            _save_optimizer(optimizer, folder / f"{name}_optimizer.safetensors")
    except SafetensorError as error:
        raise as_os_error(error) from error
    (folder / "about.json").write_text(json.dumps(about))
    for file in folder.iterdir():  # on the disk before the name says that it is whole
        with open(file, "rb") as handle:
            os.fsync(handle.fileno())


def load_about(checkpoint: Path) -> dict[str, Any]:
    """The `about` of a checkpoint, with its step.

    Raises:
        CheckpointError: where it is missing or damaged.
    """
    about = read_json(checkpoint / "about.json", checkpoint, advice=f"{checkpoint.name} is damaged: {ADVICE}")
    if about.get("step") != checkpoint_step(checkpoint):
        raise CheckpointError(f"checkpoint {checkpoint} says that it is of step {about.get('step')}: {ADVICE}")
    return about


def check_like(value: Any, own: Any, checkpoint: Path, name: str = "about.json") -> None:
    """Refuse state that a checkpoint has and this program's own is not like: other keys, or other kinds of values.

    Args:
        value: of the checkpoint.
        own: of this program, at any other step.
        checkpoint: for the error.
        name: of the value, for the error.

    Raises:
        CheckpointError: naming the first such value.
    """
    if isinstance(own, dict):
        right = isinstance(value, dict) and own.keys() <= value.keys()
        pairs = [(key, value[key], own[key]) for key in own] if right else []
    elif isinstance(own, list):
        right = isinstance(value, list) and len(value) == len(own)
        pairs = [(str(number), *pair) for number, pair in enumerate(zip(value, own, strict=True))] if right else []
    else:
        right, pairs = _is_like(value, own), []
    if not right:
        lacking = [key for key in own if key not in value] if isinstance(own, dict) and isinstance(value, dict) else []
        what = f"lacks {lacking[0]!r}" if lacking else f"is {str(value)[:40]}"
        raise CheckpointError(f"{checkpoint} does not fit this run ({name} {what}): {ADVICE}, or start a new run")
    for key, part, own_part in pairs:
        check_like(part, own_part, checkpoint, f"{name}, {key}")


def _is_like(value: Any, own: Any) -> bool:
    if own is None or value is None:
        return value is None or isinstance(value, (int, float, dict))
    if isinstance(own, (bool, str)) or isinstance(value, bool):
        return type(value) is type(own)
    return isinstance(value, (int, float)) and abs(value) < LARGEST


def _score(checkpoint: Path) -> float | None:
    try:
        kid = load_about(checkpoint).get("kid")
    except CheckpointError:
        return None  # damaged: --resume says so
    return float(kid) if isinstance(kid, (int, float)) else None


def load_module_state(checkpoint: Path, name: str) -> dict[str, torch.Tensor]:
    """A state dict of a checkpoint.

    Raises:
        CheckpointError: where it is missing or damaged, or holds weights that are not finite.
    """
    try:
        state = load_file(checkpoint / f"{name}.safetensors")
        if (key := not_finite(state)) is not None:
            raise ValueError(f"{key} of {name} has weights that are not finite")
    except (OSError, SafetensorError, ValueError) as error:
        raise CheckpointError(_damaged(checkpoint, error)) from error
    return state


def load_optimizer(checkpoint: Path, name: str, optimizer: torch.optim.Optimizer) -> None:
    """Bring the optimizer of the module `name` back to the bit.

    Raises:
        CheckpointError: where its file is missing or damaged.
    """
    try:
        with safe_open(checkpoint / f"{name}_optimizer.safetensors", "pt") as file:
            settings = parse_json(file.metadata()["settings"])
            state: dict[int, dict[str, Any]] = {int(key): dict(values) for key, values in settings["state"].items()}
            for key in file.keys():  # noqa: SIM118 - safe_open is not a dict
                number, entry = key.split(".", 1)
                state.setdefault(int(number), {})[entry] = file.get_tensor(key)
        # A file does not keep the memory layout, and a fused Adam reads weights and moments in their order there.
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        for position, parameter in enumerate(parameters):
            for entry, value in state.get(position, {}).items():
                if isinstance(value, torch.Tensor) and value.shape == parameter.shape:
                    state[position][entry] = torch.empty_like(parameter, requires_grad=False).copy_(value)
        own = json.loads(_settings_of(optimizer))["param_groups"]
        check_like(settings["param_groups"], own, checkpoint, "the optimizer's settings")
        # These choose how Adam is computed and are not part of its state: earlier versions had others.
        kernels = {key: optimizer.defaults[key] for key in ("foreach", "fused", "capturable")}
        groups = [{**group, "betas": tuple(group["betas"]), **kernels} for group in settings["param_groups"]]
        optimizer.load_state_dict({"state": state, "param_groups": groups})
    except CheckpointError:
        raise
    except (OSError, SafetensorError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(_damaged(checkpoint, error)) from error


def _save_optimizer(optimizer: torch.optim.Optimizer, path: Path) -> None:
    whole = optimizer.state_dict()
    tensors: dict[str, torch.Tensor] = {}
    for number, values in whole["state"].items():
        tensors |= {
            f"{number}.{key}": v.cpu().contiguous() for key, v in values.items() if isinstance(v, torch.Tensor)
        }
    save_file(tensors, path, metadata={"settings": _settings_of(optimizer)})


def _settings_of(optimizer: torch.optim.Optimizer) -> str:
    whole = optimizer.state_dict()
    rest = {
        number: {key: value for key, value in values.items() if not isinstance(value, torch.Tensor)}
        for number, values in whole["state"].items()
    }
    return json.dumps({"param_groups": whole["param_groups"], "state": rest})


def _checkpoints(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return [path for path in folder.iterdir() if re.fullmatch(r"step-\d{1,15}", path.name) and path.is_dir()]


def _damaged(checkpoint: Path, error: Exception) -> str:
    return f"checkpoint {checkpoint} is damaged ({error}): {ADVICE}"
