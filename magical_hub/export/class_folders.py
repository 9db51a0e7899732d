"""One folder per class and metadata.jsonl: the layout that `datasets.load_dataset("imagefolder")` reads."""

from __future__ import annotations

import json
import re
import unicodedata
from pathlib import Path
from typing import Any

from magical_hub.data.images import read_image
from magical_hub.data.rows import LabelledRow
from magical_hub.errors import DataError
from magical_hub.export.names import file_stems
from magical_hub.export.samples import Samples, plain, save_image

_SPLIT = re.compile(r"(^|[-._ 0-9])(train(ing)?|valid(ation)?|dev|val|test(ing)?|eval(uation)?)([-._ 0-9]|$)")
"""Names in which `datasets` finds a split, of which it then reads these files and no others."""


def check_class_folders(samples: Samples) -> None:
    """Refuse names of classes that can't be a folder's, before anything is written.

    Raises:
        DataError: naming the first one.
    """
    wrong = next((name for name in samples.labels.values() if not _can_be_a_folder(name)), None)
    if wrong is not None:
        raise DataError(f"a folder can't be named after the class {wrong!r}: rename the class")


def write_class_folders(samples: Samples, folder: Path) -> None:
    """Write LABEL/NAME.png and so on, masks/ and metadata.jsonl.

    A row of metadata.jsonl has file_name, the dataset's columns of classes (by name), text and numbers, its objects
    (bbox x, y, w, h in pixels, category, and what else they hold), and mask_file_name where there are masks, which are
    kept as they are.
    Null stays null, which is "unknown"; the image of an unknown class is in no class folder. Columns of names that
    the layout has a meaning for come as "original_NAME". Where an image's own file name would be taken for a split's
    ("test_01.png"), its file has its number; original_name says what it was.
    """
    columns = samples.columns
    names = samples.names_beside(lambda name: _is_key(name, columns.mask is not None))
    stems = file_stems([None if name is None or _SPLIT.search(name) else name for name in samples.files])
    with (folder / "metadata.jsonl").open("w") as metadata:
        for row, stem in zip(samples.to_write(), stems, strict=True):
            name = Path(row.label or "", f"{stem}.png").as_posix()
            save_image(samples.image(row), folder / name)
            line: dict[str, Any] = {"file_name": name, **_own(samples, row, names)}
            mask = row.stored("mask")
            if columns.mask is not None:
                line["mask_file_name"] = None if mask is None else f"masks/{stem}.png"
            if mask is not None:
                save_image(read_image(*mask), folder / line["mask_file_name"])
            metadata.write(json.dumps(line, default=str) + "\n")


def _own(samples: Samples, row: LabelledRow, names: dict[str, str]) -> dict[str, Any]:
    """The values of the dataset's own columns."""
    own = {names[column]: value for column, value in samples.more_of(row).items()}
    columns = samples.columns
    if columns.label is not None:
        own[names[columns.label]] = row.label
    if columns.objects is not None:
        own[names[columns.objects]] = row.objects and [
            {**plain(item.more), "bbox": item.box, "category": item.category} for item in row.objects
        ]
    if samples.has_file_names:
        own.setdefault("original_name", samples.files[row.number])
    return own


def _is_key(name: str, masked: bool) -> bool:
    """Whether the layout has a meaning for a name: files, and the columns that `datasets` makes of them."""
    return (
        name in ("file_name", "file_names", "image")
        or name.endswith(("_file_name", "_file_names"))
        or (masked and name == "mask")
    )


def _can_be_a_folder(name: str) -> bool:
    hidden = name.startswith((".", "__")) or name.lower() == "masks"
    unsafe = any(letter in '/\\<>:"|?*' or unicodedata.category(letter)[0] == "C" for letter in name)
    return bool(name) and not (hidden or unsafe or name != name.strip(" .") or _SPLIT.search(name))
