"""A folder a class and metadata.jsonl: the layout that `datasets.load_dataset("imagefolder")` reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PIL import Image

from magical_hub.errors import DataError
from magical_hub.export.samples import Samples, save_image


def write_class_folders(samples: Samples, folder: Path) -> None:
    """Write LABEL/00000.png and so on, masks/ and metadata.jsonl.

    A row of metadata.jsonl has file_name, the dataset's columns of classes (by name), text and numbers, its objects
    (bbox x, y, w, h in pixels, and category), and mask_file_name where there are masks. Null stays null: "unknown".

    Raises:
        DataError: where the name of a class can't be a folder's.
    """
    wrong = [name for name in samples.labels if name in ("", ".", "..", "masks") or "/" in name or "\\" in name]
    if wrong:
        raise DataError(f"a folder can't be named after the class {wrong[0]!r}: rename the class")
    with (folder / "metadata.jsonl").open("w") as metadata:
        for sample in samples:
            name = Path(sample.label or "", f"{sample.stem}.png").as_posix()
            save_image(sample.image, folder / name)
            row: dict[str, Any] = {"file_name": name, **sample.more}
            if samples.columns.label is not None:
                row[samples.columns.label] = sample.label
            if samples.columns.objects is not None:
                row[samples.columns.objects] = sample.objects and [
                    {"bbox": box, "category": its} for box, its in sample.objects
                ]
            if samples.columns.mask is not None:
                row["mask_file_name"] = None if sample.mask is None else f"masks/{sample.stem}.png"
            if sample.mask is not None:
                save_image(Image.fromarray(sample.mask), folder / row["mask_file_name"])
            metadata.write(json.dumps(row, default=str) + "\n")
