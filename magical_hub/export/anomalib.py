"""Folders of normal and of abnormal images and of masks: the layout that anomalib's Folder data module reads."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from magical_hub.data.rows import NORMAL
from magical_hub.errors import DataError
from magical_hub.export.samples import Samples, save_image


def check_anomalib(samples: Samples) -> None:
    """Refuse what the layout can't say, before anything is written.

    Raises:
        DataError: where a row says neither by objects, nor a mask, nor its class whether it is normal, there is no
            normal image at all, or some abnormal images have masks and others have none.
    """
    masked: dict[bool, str] = {}
    normal, unknown = {*samples.kinds.good}, {*samples.kinds.unknown}
    for row in samples.unwritten():
        is_another_class = row.label is not None and samples.normal_labels and not row.is_called_normal
        if row.number in unknown and not is_another_class:
            raise DataError(
                f"{row.name} does not say whether it is normal: give it objects, a mask, or a label "
                f"(of classes of which one is called {' or '.join(NORMAL)})"
            )
        if row.number not in normal:
            masked.setdefault(row.stored("mask") is not None, row.name)
        if len(masked) == 2:
            raise DataError(f"{masked[False]} has no mask and others have: give all or none, by mask_column=None")
    if not normal:
        raise DataError("there is no normal image, and anomalib's detectors learn from these alone: add some")


def write_anomalib(samples: Samples, folder: Path) -> None:
    """Write normal/, abnormal/ and masks/ (0 and 255: exactly what the dataset's masks mark).

    An image is normal where it is good by `LabelledRows.kinds`. By its class alone it is abnormal where another class
    is called normal, good or ok.
    """
    normal = {*samples.kinds.good}
    for row in samples.to_write():
        name = f"{samples.stems[row.number]}.png"
        save_image(samples.image(row), folder / ("normal" if row.number in normal else "abnormal") / name)
        if row.number not in normal and row.marked is not None:
            save_image(Image.fromarray(row.marked > 0).convert("L"), folder / "masks" / name)
