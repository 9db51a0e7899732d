"""The pictures as a `datasets.Dataset`."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from PIL import Image

from magical_hub.errors import DataError, check_number
from magical_hub.packages.render import DEFECTS, PACKAGES, PackageImage, check_request, render_package

if TYPE_CHECKING:
    import datasets

NORMAL = "normal"
_BLOCK = 64  # images per Arrow block: one binary array holds 2 GiB at most


def package_dataset(
    num_images: int, image_size: int = 128, seed: int = 0, defect_rate: float = 0.5
) -> datasets.Dataset:
    """Pictures of semiconductor packages, good and defective, with class labels and boxes.

    Row i is `render_package(i, image_size, seed, defect_rate)`, so a longer dataset begins with a shorter one. The
    dataset is in memory, as PNG bytes.

    Columns:
        image: RGB picture, `image_size` pixels a side.
        label: "normal" (0) or the defect.
        package: "QFN", "BGA" or "SOIC".
        objects: list of {"bbox": x, y, w, h in pixels, "category": the names of `label`}; empty when normal.

    Args:
        num_images: number of rows, 1 or more.
        image_size: side of the square picture in pixels, 64 to 2048.
        seed: number of the series, 0 or more.
        defect_rate: probability of a defect, 0 to 1.

    Raises:
        DataError: an argument is out of its range.
    """
    from datasets import ClassLabel, Dataset, Features, List, Value, concatenate_datasets
    from datasets import Image as ImageFeature

    check_number("num_images", num_images, at_least=1, whole=True, error=DataError)
    check_request(image_size, seed, defect_rate)
    kinds = ClassLabel(names=[NORMAL, *DEFECTS])
    features = Features(
        {
            "image": ImageFeature(),
            "label": kinds,
            "package": ClassLabel(names=list(PACKAGES)),
            "objects": List({"bbox": List(Value("float32"), length=4), "category": kinds}),
        }
    )
    blocks = []
    for start in range(0, num_images, _BLOCK):
        indices = range(start, min(start + _BLOCK, num_images))
        rows = [_row(render_package(index, image_size, seed, defect_rate)) for index in indices]
        columns = {name: [row[name] for row in rows] for name in features}
        blocks.append(Dataset.from_dict(columns, features=features))
    return concatenate_datasets(blocks)


def _row(picture: PackageImage) -> dict:
    label = picture.defect or NORMAL
    return {
        "image": {"bytes": _png(picture), "path": None},
        "label": label,
        "package": picture.package,
        "objects": [{"bbox": list(box), "category": label} for box in picture.boxes],
    }


def _png(picture: PackageImage) -> bytes:
    target = io.BytesIO()
    # Sensor noise hardly compresses: a higher level costs time and gains little.
    Image.fromarray(picture.image).save(target, "PNG", compress_level=1)
    return target.getvalue()
