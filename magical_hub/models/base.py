"""What every network shares with the others of the Hugging Face world, made safe."""

from __future__ import annotations

import os
from typing import Any

from diffusers import ConfigMixin, ModelMixin


class Network(ModelMixin, ConfigMixin):
    """A diffusers model whose weights are safetensors, always: diffusers itself would fall back to a pickle."""

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike[str], **kwargs: Any) -> Any:
        """Load as `diffusers.ModelMixin.from_pretrained` does, from safetensors alone."""
        return super().from_pretrained(pretrained_model_name_or_path, **{**kwargs, "use_safetensors": True})

    def save_pretrained(self, save_directory: str | os.PathLike[str], **kwargs: Any) -> None:
        """Save as `diffusers.ModelMixin.save_pretrained` does, as safetensors."""
        super().save_pretrained(save_directory, **{**kwargs, "safe_serialization": True})

    def push_to_hub(self, repo_id: str, *, private: bool | None = True, **kwargs: Any) -> str:
        """Push as `diffusers.ModelMixin.push_to_hub` does, but private unless told otherwise."""
        return str(super().push_to_hub(repo_id, private=private, **{**kwargs, "safe_serialization": True}))
