"""PNG files and a metadata.jsonl beside them: the layout that `datasets.load_dataset("imagefolder")` reads."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from magical_hub.data.images import EXTENSIONS
from magical_hub.errors import ConfigError
from magical_hub.files import write_text, written_whole
from magical_hub.pipeline import MagicalPipeline
from magical_hub.seeds import image_seed


def write_imagefolder(
    pipe: MagicalPipeline,
    folder: str | Path,
    num_images: int = 8,
    *,
    class_labels: Sequence[int | str] | int | str | None = None,
    seed: int = 0,
    truncation_psi: float = 1.0,
    batch_size: int = 8,
) -> list[dict[str, Any]]:
    """Generate images into a folder: 00000.png and so on, exactly as many as asked for.

    Args:
        pipe: makes them.
        folder: made where it is missing; it must hold no images yet.
        num_images: how many.
        class_labels: a class for all, or one an image; None draws by the training set's frequencies.
        seed: image i is made from `image_seed(seed, i)` and nothing else.
        truncation_psi: 1 keeps all variety.
        batch_size: images in memory at a time.

    Returns:
        A row an image: file_name, seed and, where there are classes, class_label and class_name. The rows stand in
        metadata.jsonl too.

    Raises:
        ConfigError: where a number is out of range, or the folder holds images.
    """
    folder = Path(folder)
    if num_images < 1:
        raise ConfigError(f"num_images is {num_images}: give 1 or more")
    if batch_size < 1:
        raise ConfigError(f"batch_size is {batch_size}: give 1 or more")
    many = not isinstance(class_labels, (int, str)) and class_labels is not None
    if many and len(class_labels) != num_images:  # type: ignore[arg-type]
        raise ConfigError(f"{len(class_labels)} class_labels for {num_images} images: give one, or one an image")  # type: ignore[arg-type]
    if folder.is_dir() and any(path.suffix.lower() in EXTENSIONS for path in folder.iterdir()):
        raise ConfigError(f"{folder} holds images already: give a new or an empty folder")
    folder.mkdir(parents=True, exist_ok=True)

    rows: list[dict[str, Any]] = []
    pipe = copy.copy(pipe)
    pipe.set_progress_bar_config(disable=True)  # one bar for all batches instead
    for first in tqdm(range(0, num_images, batch_size), desc="Generating", unit="batch"):
        numbers = range(first, min(first + batch_size, num_images))
        labels = [class_labels[i] for i in numbers] if many else class_labels  # type: ignore[index]
        made = pipe(
            seeds=[image_seed(seed, number) for number in numbers],
            class_labels=labels,
            truncation_psi=truncation_psi,
            batch_size=batch_size,
        )
        annotations = made.annotations or [{}] * len(numbers)
        for number, image, own_seed, annotation in zip(numbers, made.images, made.seeds, annotations, strict=True):
            name = f"{number:05d}.png"
            with written_whole(folder / name) as beside:
                image.save(beside, format="PNG")
            rows.append({"file_name": name, "seed": int(own_seed), **annotation})
    write_text(folder / "metadata.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    return rows
