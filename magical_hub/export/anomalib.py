"""Folders of normal and of abnormal images and of masks: the layout that anomalib's Folder data module reads."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from magical_hub.errors import DataError
from magical_hub.export.samples import Sample, Samples, save_image

NORMAL = ("normal", "good", "ok")
"""Names of a class that stand for no defect, in lower case."""


def write_anomalib(samples: Samples, folder: Path) -> None:
    """Write normal/00000.png, abnormal/00001.png and masks/00001.png (0 and 255), and so on.

    An image is normal where it has no objects; where that isn't known, where its mask is empty; else where its class
    is called normal, good or ok.

    Raises:
        DataError: where none of the three is known of a row, there is no normal image at all, or some abnormal images
            have masks and others have none.
    """
    named = any(name.lower() in NORMAL for name in samples.labels)
    masked: dict[bool, str] = {}
    count = 0
    for sample in samples:
        normal = _is_normal(sample, named)
        count += normal
        name = f"{sample.stem}.png"
        save_image(sample.image, folder / ("normal" if normal else "abnormal") / name)
        if normal:
            continue
        masked[sample.mask is not None] = sample.stem
        if len(masked) == 2:
            raise DataError(
                f"row {int(masked[False])} has no mask and others have: give all or none, by mask_column=None"
            )
        if sample.mask is not None:
            save_image(Image.fromarray(sample.mask > 0).convert("L"), folder / "masks" / name)
    if not count:
        raise DataError("there is no normal image, and anomalib's detectors learn from these alone: add some")


def _is_normal(sample: Sample, named: bool) -> bool:
    if sample.objects is not None:
        return not sample.objects
    if sample.mask is not None:
        return not sample.mask.any()
    if sample.label is None or not named:
        raise DataError(
            f"row {int(sample.stem)} does not say whether it is normal: give it objects, a mask, or a label "
            f"(of classes of which one is called {' or '.join(NORMAL)})"
        )
    return sample.label.lower() in NORMAL
