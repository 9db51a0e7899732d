"""YOLO's text files: a line a box, its sides as shares of the image's."""

from __future__ import annotations

import json
from pathlib import Path

from magical_hub.export.samples import Samples, save_image


def write_yolo(samples: Samples, folder: Path) -> None:
    """Write images/train/, labels/train/ and data.yaml.

    A line of a label file is the number of the class in the dataset, then centre x, centre y, width and height from 0
    to 1; an image without defects has an empty file.

    Raises:
        DataError: where a row does not say whether it has objects.
    """
    samples.check_boxes("yolo")
    numbers = {name: number for number, name in enumerate(samples.categories)}
    labels = folder / "labels" / "train"
    labels.mkdir(parents=True)
    for sample in samples:
        save_image(sample.image, folder / "images" / "train" / f"{sample.stem}.png")
        lines = []
        for (x, y, width, height), category in sample.objects or ():
            across, down = sample.image.size
            shares = (x + width / 2) / across, (y + height / 2) / down, width / across, height / down
            lines.append(" ".join([str(numbers[category]), *(f"{share:.6f}" for share in shares)]))
        (labels / f"{sample.stem}.txt").write_text("".join(line + "\n" for line in lines))
    names = "".join(f"  {number}: {json.dumps(name)}\n" for name, number in numbers.items())  # JSON is YAML
    (folder / "data.yaml").write_text(
        "path: .  # this folder\n"
        "train: images/train\n"
        "val: images/val  # yours to fill: real images alone, that nothing was trained on\n"
        f"names:\n{names}"
    )
