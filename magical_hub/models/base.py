"""The base class of the networks: models of diffusers that load from checked safetensors alone."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import torch
from diffusers import ConfigMixin, ModelMixin
from huggingface_hub import split_torch_state_dict_into_shards
from safetensors import SafetensorError

from magical_hub.checkpoint import PULLING, check_weights, check_weights_file, component_files, fetch_network
from magical_hub.errors import CheckpointError, ConfigError, MagicalError, in_one_line
from magical_hub.files import expanded
from magical_hub.safety import read_json

DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


def floating_dtypes(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a `from_pretrained` with a dtype that is given by name ("float16") as torch's own.

    diffusers would load anything else than a `torch.dtype` in float32.

    Args:
        kwargs: `dtype` or `torch_dtype`, of which a pipeline takes a dictionary of components too, and others.

    Raises:
        ConfigError: where it is not a floating-point type of torch.
    """
    changed = dict(kwargs)
    for key in ("dtype", "torch_dtype"):
        value = changed.get(key)
        if isinstance(value, Mapping):
            changed[key] = {part: _floating(each) for part, each in value.items()}
        elif value is not None:
            changed[key] = _floating(value)
    return changed


def _floating(dtype: Any) -> torch.dtype:
    found = getattr(torch, dtype.removeprefix("torch."), None) if isinstance(dtype, str) else dtype
    if not isinstance(found, torch.dtype) or found not in DTYPES:
        names = ", ".join(str(each).removeprefix("torch.") for each in DTYPES)
        raise ConfigError(f"dtype is {dtype!r}: give one of {names}")
    return found


class Network(ModelMixin, ConfigMixin):
    """A diffusers model whose weights are safetensors, always: diffusers itself would fall back to a pickle."""

    renamed: Mapping[str, str] = {}
    """Arguments of the constructor under the names that earlier versions wrote into configurations, and today's."""

    @classmethod
    def from_config(cls, config: Mapping[str, Any], **kwargs: Any) -> Any:
        """Build as `diffusers.ConfigMixin.from_config` does, also from the configurations of earlier versions."""
        return super().from_config({cls.renamed.get(name, name): value for name, value in config.items()}, **kwargs)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike[str], **kwargs: Any) -> Any:
        """Load as `diffusers.ModelMixin.from_pretrained` does, from safetensors alone, and what was checked alone.

        Sizes in the configuration are bounded, and names, shapes and kinds of the weights must be those of the
        configuration, before any memory is taken for them; then they must be finite.

        Raises:
            CheckpointError: where it is missing, damaged, of another kind, or cannot be reached.
            ConfigError: where the dtype is not a floating-point type of torch.
        """
        kwargs = floating_dtypes(kwargs)
        subfolder, variant = str(kwargs.pop("subfolder", None) or ""), kwargs.get("variant")
        where = {key: kwargs.pop(key) for key in PULLING & kwargs.keys()}
        place = fetch_network(pretrained_model_name_or_path, subfolder, variant, **where)
        cls._check(place, variant)
        try:
            network = super().from_pretrained(place, **{**kwargs, "use_safetensors": True})
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            raise CheckpointError(f"{place} cannot be loaded: {in_one_line(error)}") from error
        check_weights(network[0] if isinstance(network, tuple) else network, str(place))
        return network

    @classmethod
    def _check(cls, place: Path, variant: str | None) -> None:
        """Raise a CheckpointError unless the files of a folder are those of such a network."""
        config_file = place / component_files(variant)[0]
        config = read_json(config_file, place)
        if config.get("_class_name") != cls.__name__:
            raise CheckpointError(f"{config_file} is of a {config.get('_class_name')}, not of a {cls.__name__}")
        known = inspect.signature(cls.__init__).parameters
        strange = [key for key in config if not key.startswith("_") and cls.renamed.get(key, key) not in known]
        if strange:
            raise CheckpointError(
                f"{config_file} has {strange[0]!r}, which this version does not know: update magical_hub"
            )
        try:
            with torch.device("meta"):  # no memory: sizes within their bounds can still be large together
                state = cls.from_config(config).state_dict()
        except MagicalError as error:
            raise CheckpointError(f"{config_file}: {error}") from error
        except (ValueError, TypeError, KeyError, RuntimeError, OverflowError, MemoryError) as error:
            raise CheckpointError(f"{config_file} is of no {cls.__name__} ({in_one_line(error)})") from error
        check_weights_file(place, variant, {name: tuple(value.shape) for name, value in state.items()})

    def save_pretrained(
        self,
        save_directory: str | os.PathLike[str],
        variant: str | None = None,
        max_shard_size: int | str = "10GB",
        **kwargs: Any,
    ) -> None:
        """Save as `diffusers.ModelMixin.save_pretrained` does, as safetensors, in one file.

        Args:
            save_directory: made where it is missing.
            variant: part of the name of the weights' file ("fp16"); they are not cast.
            max_shard_size: bytes, or "5GB" and the like.
            kwargs: as of diffusers, which looks for the arguments above by name.

        Raises:
            ConfigError: where the weights are larger than `max_shard_size`, which is not a size, or something is to be
                pushed.
        """
        if kwargs.pop("push_to_hub", False):
            self.push_to_hub(str(save_directory))
        try:
            parts = split_torch_state_dict_into_shards(self.state_dict(), max_shard_size=max_shard_size)
        except (ValueError, TypeError, AttributeError) as error:
            raise ConfigError(f"max_shard_size is {max_shard_size!r}: give a number of bytes, or '5GB'") from error
        if parts.is_sharded:
            size = parts.metadata["total_size"]
            raise ConfigError(
                f"a {type(self).__name__} of {size:,} bytes is one file, and max_shard_size is {max_shard_size}: "
                "give more, or leave it out"
            )
        super().save_pretrained(expanded(save_directory), variant=variant, **{**kwargs, "safe_serialization": True})

    def push_to_hub(self, repo_id: str, **kwargs: Any) -> NoReturn:
        """Refused: what is published goes through the pipeline's `push_to_hub`, with its leakage check."""
        raise ConfigError(
            f"a {type(self).__name__} alone is not pushed to {repo_id}: push its MagicalPipeline, which carries the "
            "card and the leakage check"
        )
