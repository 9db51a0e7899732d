"""Folders of normal and of abnormal images and of masks: the layout that anomalib's Folder data module reads."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from magical_hub.errors import DataError
from magical_hub.export.samples import NORMAL, Sample, Samples, save_image


def check_anomalib(samples: Samples) -> None:
    """Refuse what the layout can't say, before anything is written.

    Raises:
        DataError: where a row says neither by objects, nor a mask, nor its class whether it is normal, there is no
            normal image at all, or some abnormal images have masks and others have none.
    """
    masked: dict[bool, str] = {}
    count = 0
    for sample in samples.unwritten():
        normal = _is_normal(sample, samples.tells_normal)
        count += normal
        if not normal:
            masked.setdefault(sample.has_mask, sample.name)
        if len(masked) == 2:
            raise DataError(f"{masked[False]} has no mask and others have: give all or none, by mask_column=None")
    if not count:
        raise DataError("there is no normal image, and anomalib's detectors learn from these alone: add some")


def write_anomalib(samples: Samples, folder: Path) -> None:
    """Write normal/, abnormal/ and masks/ (0 and 255: exactly what the dataset's masks mark).

    An image is normal where it has no objects; where that isn't known, where its mask is empty; else where its class
    is called normal, good or ok.
    """
    for sample in samples:
        normal = _is_normal(sample, samples.tells_normal)
        name = f"{sample.stem}.png"
        save_image(sample.image, folder / ("normal" if normal else "abnormal") / name)
        if not normal and sample.mask_classes is not None:
            save_image(Image.fromarray(sample.mask_classes > 0).convert("L"), folder / "masks" / name)


def _is_normal(sample: Sample, named: bool) -> bool:
    if sample.objects is not None:
        return not sample.objects
    if sample.mask_classes is not None:
        return not sample.mask_classes.any()
    if sample.label is None or not named:
        raise _unknown(sample.name)
    return sample.is_called_normal


def _unknown(name: str) -> DataError:
    return DataError(
        f"{name} does not say whether it is normal: give it objects, a mask, or a label "
        f"(of classes of which one is called {' or '.join(NORMAL)})"
    )
