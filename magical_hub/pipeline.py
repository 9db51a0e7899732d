"""MagicalPipeline: latents, locations and labels in, stitched full images out."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Sequence, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from diffusers import DiffusionPipeline, ModelMixin
from diffusers.image_processor import VaeImageProcessor
from diffusers.pipelines import pipeline_loading_utils
from diffusers.utils import BaseOutput
from huggingface_hub.errors import HfHubHTTPError
from safetensors import SafetensorError

import magical_hub
from magical_hub.checkpoint import as_os_error, check_weights, locate
from magical_hub.errors import CheckpointError, ConfigError
from magical_hub.grid import Window
from magical_hub.models import Generator, MagicalCritic

MAX_SUB_REGIONS = 256
"""Sub-regions in one forward pass at the most, so that a fine grid needs no more memory than a coarse one."""


@dataclass
class MagicalPipelineOutput(BaseOutput):
    """What a call of the pipeline gives.

    Args:
        images: N images: PIL images, or (N, H, W, C) NumPy or (N, C, H, W) torch floats in [0, 1]. With `regions`, a
            list of sub-regions an image, or one more axis after N.
        latents: (N, L).
        seeds: (N,) int64: `seeds=[...]` makes an image again, alone or in any batch.
        annotations: a dict an image with "class_label" and "class_name"; None where there are no classes.
    """

    images: list[Any] | np.ndarray | torch.Tensor
    latents: torch.Tensor
    seeds: torch.Tensor
    annotations: list[dict[str, Any]] | None = None


class MagicalPipeline(DiffusionPipeline):
    """Generates full images by joining the sub-regions that a generator makes from one latent.

    Args:
        generator: the network.
        critic: the network that it was trained against; only training on needs it.
    """

    _optional_components = ["critic"]  # noqa: RUF012 - diffusers' own protocol

    def __init__(self, generator: Generator, critic: MagicalCritic | None = None) -> None:
        super().__init__()
        self.register_modules(generator=generator, critic=critic)

    @torch.inference_mode()
    def __call__(
        self,
        num_images: int = 1,
        class_labels: Sequence[int | str] | int | str | None = None,
        defects: None = None,
        generator: torch.Generator | None = None,
        seeds: Sequence[int] | torch.Tensor | None = None,
        latents: torch.Tensor | None = None,
        truncation_psi: float = 1.0,
        batch_size: int = 8,
        output_type: str = "pil",
        regions: Sequence[int] | None = None,
    ) -> MagicalPipelineOutput:
        """Generate images. An image hangs on its own seed alone: not on its batch, its order or its process.

        Args:
            num_images: N; `seeds`, `latents` or a list of `class_labels` set it too.
            class_labels: a class for all, or one an image, by number or name. None draws by the training set's
                frequencies, from the image's own seed.
            defects: this version's generators know none: None.
            generator: draws one int64 seed an image, before anything else. None: torch's global one.
            seeds: (N,) one an image, instead.
            latents: (N, L); None draws them from the seeds.
            truncation_psi: 1 keeps all variety; towards 0 images draw near the mean of their class.
            batch_size: images at a time.
            output_type: "pil", "np" or "pt".
            regions: locations of the only sub-regions to make; None makes and joins them all.

        Raises:
            ConfigError: where arguments are out of range or contradict each other.
            GridError: where a region lies outside the grid.
        """
        _check_request(defects, output_type)
        if batch_size < 1:
            raise ConfigError(f"batch_size is {batch_size}: give 1 or more")
        count = _count(num_images, seeds, latents, class_labels)
        own_seeds = _seeds(count, seeds, generator)
        drawn_latents, drawn_labels = self._draw(own_seeds)
        latents = drawn_latents if latents is None else latents
        if latents.shape != drawn_latents.shape:
            raise ConfigError(f"latents have the shape {tuple(latents.shape)}: give {tuple(drawn_latents.shape)}")
        labels = drawn_labels if class_labels is None else self._labels(class_labels, count)
        window, locations, stitch = self._plan(regions)

        pieces = []
        with self.progress_bar(total=count) as bar:
            for first in range(0, count, batch_size):
                batch = slice(first, min(first + batch_size, count))
                some = None if labels is None else labels[batch]
                made = self._windows(latents[batch], locations, window, some, own_seeds[batch], truncation_psi)
                pieces.append(stitch(made))
                bar.update(batch.stop - batch.start)
        return MagicalPipelineOutput(
            images=_convert(torch.cat(pieces), output_type),
            latents=latents,
            seeds=own_seeds,
            annotations=None if labels is None else self._annotations(labels),
        )

    @torch.inference_mode()
    def region(
        self,
        top: int,
        left: int,
        height: int,
        width: int,
        seed: int = 0,
        class_label: int | str | None = None,
        defects: None = None,
        output_type: str = "pil",
    ) -> Any:
        """One rectangle of the image that `seeds=[seed]` gives, made alone, in the memory of the rectangle.

        Args:
            top, left, height, width: in pixels; the rectangle must lie in the image.
            seed: the image's.
            class_label: its class, by number or name; None draws it from the seed.
            defects: this version's generators know none: None.
            output_type: "pil"; "np", (height, width, C); or "pt", (C, height, width), floats in [0, 1].

        Raises:
            ConfigError, GridError: where arguments are out of range.
        """
        _check_request(defects, output_type)
        network, device = self.generator, self.device
        seeds = _seeds(1, [seed], None)
        latents, labels = self._draw(seeds)
        if class_label is not None:
            labels = self._labels(class_label, 1)
        made = network.region(
            latents.to(device, network.dtype),
            *(top, left, height, width),
            class_labels=None if labels is None else labels.to(device),
            seeds=seeds.to(device),
        )
        return _convert(made.float().cpu(), output_type)[0]

    def _plan(
        self, regions: Sequence[int] | None
    ) -> tuple[Window, torch.Tensor, Callable[[torch.Tensor], torch.Tensor]]:
        """The windows to make, where, and what joins them: of the whole image, or the sub-regions asked for."""
        grid = self.generator.grid
        if regions is None:  # in pieces as large as they may be: a seamless generator makes each with a halo
            window = grid.largest_window(MAX_SUB_REGIONS)
            coarse, starts = grid.tiles(window)
            return window, torch.from_numpy(starts), coarse.stitch
        locations = torch.as_tensor(regions).long()
        if locations.dim() != 1 or not len(locations):
            raise ConfigError("regions is empty or no plain list: give locations, or None for the whole image")
        grid.check_locations(locations)
        return (1, 1), locations, lambda made: made

    def _windows(
        self,
        latents: torch.Tensor,
        locations: torch.Tensor,
        window: Window,
        labels: torch.Tensor | None,
        seeds: torch.Tensor,
        truncation_psi: float,
    ) -> torch.Tensor:
        """The windows at `locations` of each image: (B, n, C, h, w) floats on the CPU in [-1, 1]."""
        network, device = self.generator, self.device
        images, places = (len(latents), len(locations))
        which = torch.arange(images).repeat_interleave(places)
        where = locations.repeat(images)
        at_once = max(1, MAX_SUB_REGIONS // (window[0] * window[1]))
        made = []
        for some, there in zip(which.split(at_once), where.split(at_once), strict=True):
            cells = network(
                latents[some].to(device, network.dtype),
                there.to(device),
                None if labels is None else labels[some].to(device),
                seeds=seeds[some].to(device),
                window=window,
                truncation_psi=truncation_psi,
            )
            made.append(cells.float().cpu())
        return torch.cat(made).unflatten(0, (images, places))

    def _draw(self, seeds: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """What each image draws from its own seed: a latent, then a class."""
        config = self.generator.config
        latents, labels = [], []
        for seed in seeds.tolist():
            source = torch.Generator().manual_seed(seed)
            latents.append(torch.randn(config.latent_dim, generator=source))
            if config.num_classes:
                frequencies = config.class_frequencies or [1.0] * config.num_classes
                labels.append(torch.multinomial(torch.tensor(frequencies), 1, generator=source))
        return torch.stack(latents), torch.cat(labels) if labels else None

    def _labels(self, class_labels: Sequence[int | str] | int | str, count: int) -> torch.Tensor:
        config = self.generator.config
        if not config.num_classes:
            raise ConfigError("this checkpoint has no classes: leave class_labels out")
        if isinstance(class_labels, (np.integer, np.ndarray, torch.Tensor)):
            class_labels = class_labels.tolist()
        many = [class_labels] * count if isinstance(class_labels, (int, str)) else list(class_labels)
        names = config.class_names or [str(number) for number in range(config.num_classes)]
        numbers = [
            names.index(label) if label in names else int(label) if str(label).isdigit() else label for label in many
        ]
        for number in numbers:
            if not isinstance(number, int) or not 0 <= number < config.num_classes:
                raise ConfigError(f"there is no class {number!r}: give one of {', '.join(names)}, or its number")
        return torch.tensor(numbers)

    def _annotations(self, labels: torch.Tensor) -> list[dict[str, Any]]:
        names = self.generator.config.class_names
        return [{"class_label": n, "class_name": names[n] if names else str(n)} for n in labels.tolist()]

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike[str], **kwargs: Any) -> MagicalPipeline:
        """Load a pipeline from a folder, a bundled checkpoint's name, or an id on the Hub.

        Takes what `diffusers.DiffusionPipeline.from_pretrained` takes (revision, variant, dtype, token, cache_dir,
        local_files_only ...). Weights are safetensors, always: a pickle is never loaded, and no code of a repository
        is ever run.

        Raises:
            CheckpointError: where it is missing, damaged, of another kind, or cannot be reached.
        """
        place = locate(Path(pretrained_model_name_or_path))
        if isinstance(place, str) and "@" in place:  # OWNER/NAME@REVISION
            place, _, revision = place.partition("@")
            kwargs.setdefault("revision", revision)
        for unsafe in ("custom_pipeline", "trust_remote_code"):
            if kwargs.get(unsafe):
                raise CheckpointError(f"{unsafe} would run a repository's code: leave it out, none is needed")
        try:
            pipe = super().from_pretrained(place, **{**kwargs, "use_safetensors": True})
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError, HfHubHTTPError) as error:
            if isinstance(error, CheckpointError):
                raise
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise CheckpointError(f"{pretrained_model_name_or_path} cannot be loaded: {reason}") from error
        if not isinstance(pipe, MagicalPipeline):
            raise CheckpointError(f"{pretrained_model_name_or_path} is a {type(pipe).__name__}, no MagicalPipeline")
        check_weights(pipe.generator, f"{pretrained_model_name_or_path}/generator")
        if pipe.critic is not None:
            check_weights(pipe.critic, f"{pretrained_model_name_or_path}/critic")
        return pipe

    def save_pretrained(self, save_directory: str | os.PathLike[str], **kwargs: Any) -> None:
        """Save as a pipeline folder; files that stand there are replaced whole, `model_index.json` last.

        Takes what `diffusers.DiffusionPipeline.save_pretrained` takes; weights are safetensors, always.
        """
        if kwargs.pop("push_to_hub", False):
            raise ConfigError(
                "save_pretrained does not push: call push_to_hub, which is private unless told otherwise"
            )
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=".incomplete-", dir=folder))
        try:
            super().save_pretrained(beside, **{**kwargs, "safe_serialization": True})
            files = [path for path in beside.rglob("*") if path.is_file()]
            for file in sorted(files, key=lambda path: path.name == "model_index.json"):
                target = folder / file.relative_to(beside)
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(file, target)
        except SafetensorError as error:
            raise as_os_error(error) from error
        finally:
            shutil.rmtree(beside)

    def push_to_hub(self, repo_id: str, *, private: bool | None = True, **kwargs: Any) -> str:
        """Push to the Hub as `diffusers` does, but private unless told otherwise, and in safetensors alone."""
        return str(super().push_to_hub(repo_id, private=private, **{**kwargs, "safe_serialization": True}))


def _check_request(defects: None, output_type: str) -> None:
    if defects is not None:
        raise ConfigError("this checkpoint was trained without defects: leave defects out")
    if output_type not in ("pil", "np", "pt"):
        raise ConfigError(f"output_type is {output_type!r}: give 'pil', 'np' or 'pt'")


def _count(num_images: int, *many: Any) -> int:
    given = {len(some) for some in many if isinstance(some, Sized) and not isinstance(some, str)}
    if len(given) > 1:
        raise ConfigError(f"seeds, latents and class_labels are for {sorted(given)} images: give one of each an image")
    count = given.pop() if given else num_images
    if num_images not in (1, count):
        raise ConfigError(
            f"num_images is {num_images}, and seeds, latents or class_labels are for {count}: let them agree"
        )
    if count < 1:
        raise ConfigError(f"num_images is {count}: give 1 or more")
    return count


def _seeds(count: int, seeds: Sequence[int] | torch.Tensor | None, generator: torch.Generator | None) -> torch.Tensor:
    if seeds is None:
        device = generator.device if generator is not None else "cpu"
        return torch.randint(0, 2**63 - 1, (count,), generator=generator, device=device).cpu()
    if isinstance(seeds, torch.Tensor):
        seeds = seeds.tolist()
    if any(not 0 <= seed < 2**63 for seed in seeds):
        raise ConfigError("a seed is out of range: give whole numbers from 0 to 2**63 - 1")
    return torch.tensor(list(seeds), dtype=torch.int64)


def _convert(images: torch.Tensor, output_type: str) -> Any:
    """From [-1, 1] to what was asked for; sub-regions (N, n, C, h, w) keep their two axes."""
    if images.dim() == 5 and output_type == "pil":
        return [_convert(cells, output_type) for cells in images]
    unit = VaeImageProcessor.denormalize(images)
    if output_type == "pt":
        return unit
    arrays = unit.movedim(-3, -1).numpy()
    return arrays if output_type == "np" else VaeImageProcessor.numpy_to_pil(arrays)


def _register() -> None:
    """Make diffusers load our components and our pipeline from `model_index.json` with no remote code.

    The table is private to diffusers, so it is touched here and nowhere else, and checked.
    """
    loadable = getattr(pipeline_loading_utils, "LOADABLE_CLASSES", None)
    if not isinstance(loadable, dict):
        raise ImportError(
            f"diffusers {diffusers.__version__} has no LOADABLE_CLASSES any more: "
            "install the diffusers of this package's constraints.txt"
        )
    loadable["magical_hub"] = {"ModelMixin": ["save_pretrained", "from_pretrained"]}
    magical_hub.ModelMixin = ModelMixin
    diffusers.MagicalPipeline = MagicalPipeline


_register()
