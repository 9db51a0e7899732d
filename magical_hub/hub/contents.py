"""The contents of a push: a list of what may be published, and files without private names and paths."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from magical_hub import provenance
from magical_hub.checkpoint import check_weights, component_files
from magical_hub.errors import ConfigError
from magical_hub.files import write_text
from magical_hub.pictures import save_picture_grid
from magical_hub.pipeline import MOST_PIXELS, MagicalPipeline
from magical_hub.seeds import image_seed
from magical_hub.training import TrainingConfig

CARD, SAMPLES, REPORT, CONFIG = "README.md", "samples.png", "report.json", "training_config.json"
VARIANT = "fp16"
TOP_LEVEL = {"model_index.json", CARD, SAMPLES, REPORT, CONFIG, provenance.FILE}
"""The files that may be pushed beside those of components."""

MIDDLE = 2048
"""Side in pixels of the part that is shown of an image too large to be made whole."""
SHOWN, THUMBNAIL, LARGE = 16, 256, 2**20
"""Images on the sheet, their side there in pixels at most, and the pixels from which on it shows four."""

PUBLIC_DETAILS = {
    "split": {"train", "holdout", "hash"},
    "fidelity": {
        *("network", "resizing", "generated", "reference", "other", "kid_subsets", "kid_subset_size"),
        *("good_up_to", "weak_up_to"),
    },
    "seams": {"grid", "generated", "reference", "interval", "weak_up_to"},
    "coherence": {"generated", "reference", "pairs", "network", "components", "good_from", "weak_from"},
    "diversity": {"network", "neighbours", "generated", "reference", "coverage_by_class"},
    "leakage": {
        *("level", "tests", "single_image_bound", "generated", "train", "held_out", "parts_of_train", "kinds"),
        "positive_control",
    },
    "usefulness": {"verdicts", "tasks", "settings"},
}
"""The details of a report's sections that are published: no name of a real image."""
PUBLIC_ABOUT = {
    *("weights_sha256", "seed", "image_size", "channels", "grid", "resizing_of_real_images", "network", "counts"),
    *("reference_is", "versions"),
}


def may_be_pushed(name: str, components: Iterable[str]) -> bool:
    """Whether a path in the repository is one of those that a push writes, and so one that it may take away."""
    of_components = {
        f"{part}/{file}" for part in components for variant in (None, VARIANT) for file in component_files(variant)
    }
    return name in TOP_LEVEL | of_components


def write_weights(pipe: MagicalPipeline, folder: Path, with_critic: bool) -> MagicalPipeline:
    """Write every component of a pipeline, float32 and fp16; returns what was written, on the CPU.

    The critic goes on request only: generating does not need it, and its scores show which images were trained on.
    """
    parts = {
        name: None if network is None or (name == "critic" and not with_critic) else copy.deepcopy(network)
        for name, network in pipe.components.items()
    }
    networks: dict[str, Any] = {name: network and network.float().cpu().eval() for name, network in parts.items()}
    whole = MagicalPipeline(**networks)
    whole.origin = {"record": _public_record(pipe.origin.get("record"))}
    whole.save_pretrained(folder)
    for name, network in whole.components.items():
        if network is None:
            continue
        half = copy.deepcopy(network).half()
        check_weights(half, f"{name} in {VARIANT}")
        half.save_pretrained(folder / name, variant=VARIANT)
    for file in folder.rglob("*.json"):  # diffusers notes where a network was loaded from
        kept = {key: value for key, value in json.loads(file.read_text()).items() if key != "_name_or_path"}
        write_text(file, as_json(kept))
    return whole


PRIVATE = {"command", "dataset", "checkpoint", "revision"}
"""Keys of a record with private names: of the data of earlier versions, of the repository that a run began with."""


def _public_record(record: Any) -> Any:
    """A record of where weights come from, without private names."""
    if isinstance(record, list):
        return [_public_record(value) for value in record]
    if not isinstance(record, dict):
        return record
    kept = {key: _public_record(value) for key, value in record.items() if key not in PRIVATE}
    if isinstance(kept.get("configuration"), dict):
        kept["configuration"] = TrainingConfig.public_of(kept["configuration"])
    return kept


def write_samples(pipe: MagicalPipeline, folder: Path) -> None:
    """A sheet of generated images, and no real ones, by the seeds that the command uses too."""
    grid = pipe.generator.grid
    count = SHOWN if grid.height * grid.width <= LARGE else 4
    pipe.set_progress_bar_config(disable=True)
    images = []
    for number in range(count):  # one at a time, since a canvas may be large
        image = _sample(pipe, image_seed(0, number))
        image.thumbnail((THUMBNAIL, THUMBNAIL))
        pixels = np.asarray(image)
        images.append(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1))
    save_picture_grid(np.stack(images), folder / SAMPLES, columns=4 if count == SHOWN else 2)


def _sample(pipe: MagicalPipeline, seed: int) -> Any:
    """An image; of one that is too large to be made whole, the middle."""
    grid = pipe.generator.grid
    if grid.height * grid.width <= MOST_PIXELS:
        return pipe(seeds=[seed]).images[0]
    height, width = min(grid.height, MIDDLE), min(grid.width, MIDDLE)
    return pipe.region((grid.height - height) // 2, (grid.width - width) // 2, height, width, seed=seed)


def as_json(values: dict[str, Any]) -> str:
    """Values as JSON, the same text for the same values, so that pushing them again changes nothing."""
    return json.dumps(values, indent=2, sort_keys=True, allow_nan=False) + "\n"


def public_report(report: dict[str, Any]) -> dict[str, Any]:
    """The part of a report that may be published: no names of images, and no reasons that may hold a path."""
    sections = {}
    for name, section in report["sections"].items():
        left_out = section["verdict"] == "left out"
        allowed = PUBLIC_DETAILS.get(name, set())
        sections[name] = {
            **{key: section[key] for key in ("question", "verdict")},
            "scores": {key: None if value is None else _number(value) for key, value in section["scores"].items()},
            "statement": "Left out." if left_out else section["statement"],
            "details": {key: value for key, value in section["details"].items() if key in allowed},
        }
    about = {key: value for key, value in report["about"].items() if key in PUBLIC_ABOUT}
    return {**{key: report[key] for key in ("format", "verdict", "statement")}, "about": about, "sections": sections}


def _number(value: Any) -> float:
    if not isinstance(value, (int, float)):
        raise TypeError(f"{value!r} is not a figure")
    return value


PATHS = re.compile(
    r"(?:(?<![\w.:/<-])/(?:home|Users|Volumes|root|tmp|var|mnt|data|opt|srv|media|private)/|\b[A-Za-z]:\\\\?"
    r"|\bfile:/+|(?<![\w\\])\\{2,4}(?=\w[\w.-]*\\)|(?<![\w.])~\w*/)[\w.-]+"
)


def check_contents(folder: Path, components: Iterable[str]) -> list[str]:
    """The files of a repository that was written to a folder.

    Raises:
        ConfigError: where one is not among those that may be published, or holds an absolute path.
    """
    components, home = list(components), str(Path.home())
    names = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())
    for name in names:
        if not may_be_pushed(name, components):
            raise ConfigError(f"not pushed: {name} is not among the files that may be published")
        if not name.endswith((".md", ".json")):
            continue
        text = (folder / name).read_text()
        found = PATHS.search(text)
        if found or (len(home) > 1 and re.search(rf"{re.escape(home)}\b", text)):
            what = found.group() if found else home
            raise ConfigError(
                f"not pushed: {name} holds a path of this machine ({what}): take it out of names and texts"
            )
    return names
