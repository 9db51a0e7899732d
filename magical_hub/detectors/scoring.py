"""How well a detector finds the defects of other images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from magical_hub.detectors.boxes import BoxDetector
from magical_hub.detectors.labelled import LabelledImages
from magical_hub.detectors.masks import MaskDetector
from magical_hub.errors import DataError
from magical_hub.metrics.average_precision import box_average_precision, pixel_average_precision


@dataclass(frozen=True)
class Score:
    """Average precision of a detector, 0 to 1.

    Attributes:
        measure: "mAP" (over intersections over union from 0.5 to 0.95) or "pixel AP".
        classes: of each class that the test images have.
    """

    measure: str
    classes: dict[str, float]

    @property
    def mean(self) -> float:
        """Over the classes."""
        return float(np.mean(list(self.classes.values())))


def average_precision(detector: BoxDetector | MaskDetector, test: LabelledImages) -> Score:
    """Of a detector on labelled images.

    Raises:
        DataError: where these have no defect, or no labels of the detector's kind.
    """
    if isinstance(detector, BoxDetector):
        if test.boxes is None or test.categories is None:
            raise DataError("a detector of boxes is tested on images with boxes")
        values = box_average_precision(
            detector.detect(test.images), test.boxes, test.categories, len(test.class_names)
        ).mean(1)
    else:
        if test.masks is None:
            raise DataError("a detector of masks is tested on images with masks")
        values = pixel_average_precision(detector.probabilities(test.images), test.masks)
    classes = {name: float(value) for name, value in zip(test.class_names, values, strict=True) if value >= 0}
    if not classes:
        raise DataError("the test images have no defect: there is nothing to find")
    return Score("mAP" if isinstance(detector, BoxDetector) else "pixel AP", classes)
