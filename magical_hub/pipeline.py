"""MagicalPipeline: latents, locations and labels in, stitched full images out."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import diffusers
import numpy as np
import torch
from diffusers import DiffusionPipeline
from diffusers.image_processor import VaeImageProcessor
from diffusers.pipelines import pipeline_loading_utils
from diffusers.utils import BaseOutput
from safetensors import SafetensorError
from scipy import ndimage

from magical_hub import provenance
from magical_hub.annotations import DefectObject, annotate, find_defects, join_masks
from magical_hub.checkpoint import COMPONENTS, PULLING, as_os_error, fetch, saved_whole
from magical_hub.conditions import Conditioning, Defects, LabelNames, draw_conditioning, is_int64, is_one_each
from magical_hub.errors import CheckpointError, ConfigError, check_number, in_one_line
from magical_hub.files import expanded, write_text
from magical_hub.grid import Window
from magical_hub.models import Generator, LabelVerifier, MagicalCritic
from magical_hub.models.base import floating_dtypes
from magical_hub.seeds import whole_number

if TYPE_CHECKING:
    from magical_hub.hub import PushResult

MOST_PIXELS = 2**26
"""The most pixels of a whole image in memory: 8192 x 8192, which takes some gigabytes. A checkpoint of a few
kilobytes can have any size, and larger images are written tile by tile (see export/)."""
MAX_SUB_REGIONS = 256
"""The most sub-regions in one forward pass, so that a fine grid needs no more memory than a coarse one."""


@dataclass
class MagicalPipelineOutput(BaseOutput):
    """Output of a call of the pipeline.

    Args:
        images: N images: PIL images, or (N, H, W, C) NumPy or (N, C, H, W) torch floats in [0, 1]. With `regions`, a
            list of sub-regions an image, or one more axis after N.
        latents: (N, L).
        seeds: (N,) int64: `seeds=[...]` makes an image again, alone or in any batch.
        annotations: one dict per image: "class_label" and "class_name" where there are classes; "objects", a list of
            {"bbox": (x, y, width, height) in pixels, "category": name}, where there are defects. A defect of the map
            that is not visible in the image has no box. None without classes and defects.
        defects: (N, R, K) int64 defect maps, the conditioning of each sub-region: 0 none, 1 the first class; None
            without defects.
        masks: (N, H, W) uint8, 0 where no defect is visible, else the number of its class; None unless `masks=True`.
    """

    images: list[Any] | np.ndarray | torch.Tensor
    latents: torch.Tensor
    seeds: torch.Tensor
    annotations: list[dict[str, Any]] | None = None
    defects: torch.Tensor | None = None
    masks: np.ndarray | None = None


class MagicalPipeline(DiffusionPipeline):
    """Generates full images by joining the sub-regions that a generator makes from one latent.

    Args:
        generator: the network, by the name of its folder in every saved pipeline. The random generator of diffusers
            is an argument of a call and no component.
        critic: the network that it was trained against; needed to continue training, and for nothing else.
        verifier: classifies classes and defects of sub-regions; needed by `augment_dataset`, and by nothing else.
    """

    _optional_components = ["critic", "verifier"]  # noqa: RUF012 - diffusers' own protocol

    def __init__(
        self, generator: Generator, critic: MagicalCritic | None = None, verifier: LabelVerifier | None = None
    ) -> None:
        super().__init__()
        for part, kinds in COMPONENTS.items():
            network = {"generator": generator, "critic": critic, "verifier": verifier}[part]
            if not (type(network).__name__ in kinds or (network is None and part in self._optional_components)):
                raise ConfigError(f"the {part} is a {type(network).__name__}: give a {' or '.join(sorted(kinds))}")
        self.register_modules(generator=generator, critic=critic, verifier=verifier)
        self.origin: dict[str, Any] = {}
        """The place that it was loaded from, and the record that came with it: see `provenance.origin`."""

    @torch.inference_mode()
    def __call__(
        self,
        num_images: int = 1,
        class_labels: Sequence[int | str] | int | str | None = None,
        defects: Defects | Sequence[Defects | None] | None = None,
        generator: torch.Generator | None = None,
        seeds: Sequence[int] | torch.Tensor | None = None,
        latents: torch.Tensor | None = None,
        truncation_psi: float = 1.0,
        images_per_batch: int = 8,
        output_type: str = "pil",
        return_dict: bool = True,
        regions: Sequence[int] | None = None,
        masks: bool = False,
        batch_size: None = None,
    ) -> MagicalPipelineOutput:
        """Generate images. An image depends only on its seed: not on its batch, its order or its process.

        Args:
            num_images: N; `seeds`, `latents` or a list of `class_labels` set it too.
            class_labels: a class for all, or one per image, by number or name. None draws by the training set's
                frequencies, from the image's own seed.
            defects: of sub-regions: {(row, column): name or number} or a map (R, K), 0 for none, for all images; or
                one of these an image. {} is none at all. None draws them by the training set's frequencies at each
                location, from the image's own seed.
            generator: draws one int64 seed an image, before anything else. None: torch's global one.
            seeds: (N,) one per image, instead.
            latents: (N, L); None draws them from the seeds.
            truncation_psi: 1 is as trained; towards 0 images come nearer to the mean of their class, up to 2 farther
                from it: 1.2 may bring back some of the variety that training lost (docs/quality.md).
            images_per_batch: images in one forward pass at most; it changes memory and speed, and no image.
            output_type: "pil", "np" or "pt".
            return_dict: whether to return a `MagicalPipelineOutput` instead of a plain tuple.
            regions: locations of the only sub-regions to generate, which come without boxes; None generates and joins
                all of them.
            masks: whether to return masks of the defects.
            batch_size: refused, since in diffusers it is the number of images, which is `num_images` here.

        Returns:
            A `MagicalPipelineOutput`; with `return_dict=False` a tuple of its values that are not None, the images
            first.

        Raises:
            ConfigError: where arguments are out of range or contradict each other.
            GridError: where a region is outside the grid.
        """
        _check_output_type(output_type)
        if batch_size is not None:
            raise ConfigError(
                f"batch_size is {batch_size}: give num_images for the number of images, images_per_batch for how many "
                "are generated at a time"
            )
        check_number("images_per_batch", images_per_batch, at_least=1, whole=True)
        if masks and (regions is not None or not self.generator.config.num_defects):
            why = "this checkpoint was trained without defects" if regions is None else "regions come without"
            raise ConfigError(f"masks are of the defects of whole images, and {why}: leave masks out")
        if latents is not None:
            _check_latents(latents)
        maps = defects if isinstance(defects, (list, tuple)) or np.ndim(defects) == 3 else None  # type: ignore[arg-type]
        count = _count(num_images, seeds, latents, class_labels, maps)
        own_seeds = _seeds(count, seeds, generator)
        conditioning = draw_conditioning(self.generator, own_seeds, class_labels, defects)
        if latents is not None:
            if latents.shape != conditioning.latents.shape:
                raise ConfigError(
                    f"latents have the shape {tuple(latents.shape)}: give {tuple(conditioning.latents.shape)}"
                )
            conditioning = replace(conditioning, latents=latents)
        if regions is None:
            self._check_pixels()
        window, locations, stitch = self._plan(regions)

        with_defects = conditioning.defect_labels is not None and regions is None
        images, objects = [], list[list[DefectObject]]()
        with self.progress_bar(total=count) as bar:
            for first in range(0, count, images_per_batch):
                batch = slice(first, min(first + images_per_batch, count))
                windows = self._windows(conditioning[batch], locations, window, truncation_psi)
                images.append(VaeImageProcessor.denormalize(stitch(windows)))
                if with_defects:
                    objects += self._find_defects(images[-1], conditioning[batch], truncation_psi)
                bar.update(batch.stop - batch.start)
        names = LabelNames.of(self.generator.config)
        output = MagicalPipelineOutput(
            images=_convert(torch.cat(images), output_type),
            latents=conditioning.latents,
            seeds=own_seeds,
            annotations=annotate(names, conditioning, objects if with_defects else None),
            defects=conditioning.defect_labels,
            masks=join_masks(objects, self.generator.grid) if masks and with_defects else None,
        )
        return output if return_dict else output.to_tuple()

    @torch.inference_mode()
    def region(
        self,
        top: int,
        left: int,
        height: int,
        width: int,
        seed: int = 0,
        class_label: int | str | None = None,
        defects: Defects | None = None,
        output_type: str = "pil",
        truncation_psi: float = 1.0,
    ) -> Any:
        """One rectangle of the image that `seeds=[seed]` gives, generated alone, in the memory of the rectangle.

        Args:
            top, left, height, width: in pixels; the rectangle must be inside the image.
            seed: of the image.
            class_label: its class, by number or name; None draws it from the seed.
            defects: its defects, as in a call; None draws them from the seed.
            output_type: "pil"; "np", (height, width, C); or "pt", (C, height, width), floats in [0, 1].
            truncation_psi: as in a call.

        Raises:
            ConfigError, GridError: where arguments are out of range.
        """
        _check_output_type(output_type)
        conditioning = draw_conditioning(self.generator, _seeds(1, [seed], None), class_label, defects)
        latents, labels, maps, seeds = self._on_device(conditioning)
        images = self.generator.region(latents, top, left, height, width, labels, maps, seeds, truncation_psi)
        return _convert(VaeImageProcessor.denormalize(_finite(images.float().cpu())), output_type)[0]

    def annotation(self, seed: int, class_label: int | str | None = None) -> dict[str, Any]:
        """The class of the image of a seed, as in a call's `annotations`, without the image; {} without classes.

        Raises:
            ConfigError: where the seed is out of range, or there is no such class.
        """
        conditioning = draw_conditioning(self.generator, _seeds(1, [seed], None), class_label)
        annotations = annotate(LabelNames.of(self.generator.config), conditioning, None)
        return annotations[0] if annotations else {}

    def _check_pixels(self) -> None:
        grid = self.generator.grid
        if grid.height * grid.width > MOST_PIXELS:
            raise ConfigError(
                f"images of {grid.height} x {grid.width} px are more than whole images in memory may have "
                f"({MOST_PIXELS} px): write them tile by tile, by `magical-hub generate --format tiff` or zarr, or "
                "make parts of them by pipe.region"
            )

    def _plan(
        self, regions: Sequence[int] | None
    ) -> tuple[Window, torch.Tensor, Callable[[torch.Tensor], torch.Tensor]]:
        """Size and locations of the windows to generate, and what joins them: for the whole image, or `regions`."""
        grid = self.generator.grid
        if regions is None:  # in windows as large as they may be: a seamless generator computes each with a halo
            window = grid.largest_window(MAX_SUB_REGIONS)
            coarse, starts = grid.tiles(window)
            return window, torch.from_numpy(starts), coarse.stitch
        numbers: Any = regions.tolist() if isinstance(regions, (np.ndarray, torch.Tensor)) else regions
        if not is_one_each(numbers) or not len(numbers) or not all(map(is_int64, numbers)):
            raise ConfigError(
                "regions is empty or no plain list of whole numbers: give locations, or None for the whole image"
            )
        locations = torch.tensor([int(number) for number in numbers])
        grid.check_locations(locations)
        return (1, 1), locations, lambda windows: windows

    def _windows(
        self,
        conditioning: Conditioning,
        locations: torch.Tensor,
        window: Window,
        truncation_psi: float,
    ) -> torch.Tensor:
        """The windows at `locations` of each image: (B, n, C, h, w) floats on the CPU in [-1, 1]."""
        images, places = len(conditioning.latents), len(locations)
        which = torch.arange(images).repeat_interleave(places)
        where = locations.repeat(images)
        at_once = max(1, MAX_SUB_REGIONS // (window[0] * window[1]))
        windows = []
        for some, there in zip(which.split(at_once), where.split(at_once), strict=True):
            latents, labels, maps, seeds = self._on_device(conditioning[some])
            cells = self.generator(latents, there.to(self.device), labels, maps, seeds, window, truncation_psi)
            windows.append(_finite(cells.float().cpu()))
        return torch.cat(windows).unflatten(0, (images, places))

    def _on_device(
        self, conditioning: Conditioning
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None, torch.Tensor]:
        latents, seeds = conditioning.latents.to(self.device, self.generator.dtype), conditioning.seeds.to(self.device)
        labels, maps = (
            None if x is None else x.to(self.device) for x in (conditioning.class_labels, conditioning.defect_labels)
        )
        return latents, labels, maps, seeds

    def _find_defects(
        self, images: torch.Tensor, conditioning: Conditioning, truncation_psi: float
    ) -> list[list[DefectObject]]:
        """The visible defects of each image, found by generating the sub-regions near them again without defects.

        Args:
            images: (B, C, H, W) in [0, 1], with their defects.
        """
        grid, objects = self.generator.grid, list[list[DefectObject]]()
        assert conditioning.defect_labels is not None
        defect_free = replace(conditioning, defect_labels=torch.zeros_like(conditioning.defect_labels))
        for number, defect_map in enumerate(conditioning.defect_labels.numpy()):
            if not defect_map.any():
                objects.append([])
                continue
            # A defect reaches the next sub-region at most.
            near = torch.from_numpy(np.flatnonzero(ndimage.binary_dilation(defect_map > 0, np.ones((3, 3)))))
            cells = self._windows(defect_free[number : number + 1], near, (1, 1), truncation_psi)
            cells = VaeImageProcessor.denormalize(cells)[0]
            image = images[number].numpy()
            without = image.copy()
            for location, cell in zip(near.tolist(), cells.numpy(), strict=True):
                without[(slice(None), *grid.span(location))] = cell
            objects.append(find_defects(image, without, defect_map, grid))
        return objects

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike[str], **kwargs: Any) -> MagicalPipeline:
        """Load a pipeline from a folder, a bundled checkpoint's name, or an id on the Hub.

        Takes what `diffusers.DiffusionPipeline.from_pretrained` takes (revision, variant, dtype, token, cache_dir,
        local_files_only ...). Weights are safetensors, always: a pickle is never loaded, and no code of a repository
        is ever run. A dtype may be a string ("float16").

        Raises:
            CheckpointError: where it is missing, damaged, of another kind, or cannot be reached.
            ConfigError: where the dtype is not a floating-point type of torch.
        """
        given = pretrained_model_name_or_path
        name = given if isinstance(given, str) else str(expanded(given))  # a Path would drop the ./ of a folder
        for unsafe in ("custom_pipeline", "trust_remote_code"):
            if kwargs.get(unsafe):
                raise CheckpointError(f"{unsafe} would run a repository's code: leave it out, none is needed")
        kwargs = floating_dtypes(kwargs)
        where = {key: kwargs.pop(key) for key in PULLING & kwargs.keys()}
        folder, _ = fetch(name, kwargs.get("variant"), **where)
        try:
            pipe = super().from_pretrained(folder, **{**kwargs, "use_safetensors": True})
        except CheckpointError:
            raise
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, AttributeError) as error:
            raise CheckpointError(f"{name} cannot be loaded: {in_one_line(error)}") from error
        pipe.origin = provenance.origin(name, folder)
        return pipe

    def save_pretrained(self, save_directory: str | os.PathLike[str], **kwargs: Any) -> None:
        """Save as a pipeline folder, whole: a kill leaves the pipeline of before or this one, and no mixture.

        The record that the pipeline came with (provenance.json) goes along; where weights changed since, in one of
        their own.

        Takes what `diffusers.DiffusionPipeline.save_pretrained` takes (`variant` names the weights' files, as "fp16"
        does; they are cast by `pipe.to` beforehand). Weights are safetensors, always, and one file per network.

        Raises:
            ConfigError: where a network's weights are larger than `max_shard_size`.
        """
        if kwargs.pop("push_to_hub", False):
            raise ConfigError("save_pretrained does not push: call push_to_hub, which is private by default")
        try:
            with saved_whole(expanded(save_directory)) as beside:
                super().save_pretrained(beside, **{**kwargs, "safe_serialization": True})
                record = provenance.of_weights(self)
                if record is not None:
                    write_text(beside / provenance.FILE, json.dumps(record, indent=2))
        except SafetensorError as error:
            raise as_os_error(error) from error

    def push_to_hub(self, repo_id: str, **kwargs: Any) -> PushResult:
        """Publish on the Hub: privately by default, and not without a leakage check.

        Takes what `magical_hub.push` takes, which this is.
        """
        from magical_hub.hub import push  # the one upward call, so that its leakage gate holds here too

        return push(self, repo_id, **kwargs)


def _check_output_type(output_type: str) -> None:
    if output_type not in ("pil", "np", "pt"):
        raise ConfigError(f"output_type is {output_type!r}: give 'pil', 'np' or 'pt'")


def _count(num_images: int, *many: Any) -> int:
    given = {len(some) for some in many if is_one_each(some)}
    if len(given) > 1:
        raise ConfigError(
            f"seeds, latents, class_labels and defects are for {sorted(given)} images: give one of each an image"
        )
    count = given.pop() if given else num_images
    if num_images not in (1, count):
        raise ConfigError(
            f"num_images is {num_images}, and seeds, latents, class_labels or defects are for {count}: let them agree"
        )
    check_number("num_images", count, at_least=1, whole=True)
    return count


def _check_latents(latents: Any) -> None:
    if not isinstance(latents, torch.Tensor) or not latents.is_floating_point():
        kind = latents.dtype if isinstance(latents, torch.Tensor) else type(latents).__name__
        raise ConfigError(f"latents are of the kind {kind}: give a torch.Tensor of floats, one row per image")
    if not bool(torch.isfinite(latents).all()):
        raise ConfigError("latents hold numbers that are not finite: give finite ones, or leave latents out")


def _seeds(count: int, seeds: Sequence[int] | torch.Tensor | None, generator: torch.Generator | None) -> torch.Tensor:
    if generator is not None and not isinstance(generator, torch.Generator):
        raise ConfigError(
            f"generator is a {type(generator).__name__}: give a torch.Generator, or seeds, one per image"
        )
    if generator is not None and seeds is not None:
        raise ConfigError("generator and seeds are both given, and either gives every image its seed: leave one out")
    if seeds is None:
        device = generator.device if generator is not None else "cpu"
        return torch.randint(0, 2**63 - 1, (count,), generator=generator, device=device).cpu()
    if not is_one_each(seeds) or getattr(seeds, "ndim", 1) != 1:
        raise ConfigError(f"seeds is {seeds!r}: give a list of whole numbers, one per image")
    numbers = [whole_number(seed) for seed in seeds]
    if any(not 0 <= seed < 2**63 for seed in numbers):
        raise ConfigError("a seed is out of range: give whole numbers from 0 to 2**63 - 1")
    return torch.tensor(numbers, dtype=torch.int64)


def _finite(pixels: torch.Tensor) -> torch.Tensor:
    """The pixels, where all are numbers: others would become black."""
    if not bool(torch.isfinite(pixels).all()):
        raise CheckpointError(
            "the generator gives pixels that are not finite, since its weights are too large for its dtype: load it "
            "with dtype float32, or take another checkpoint"
        )
    return pixels


def _convert(images: torch.Tensor, output_type: str) -> Any:
    """Convert (N, C, H, W) in [0, 1] to the output type; sub-regions (N, n, C, h, w) keep their two axes."""
    if images.dim() == 5 and output_type == "pil":
        return [_convert(cells, output_type) for cells in images]
    if output_type == "pt":
        return images
    arrays = images.movedim(-3, -1).numpy()
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
    diffusers.MagicalPipeline = MagicalPipeline


_register()
