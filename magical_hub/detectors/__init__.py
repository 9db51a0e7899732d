"""Small detectors that are trained from nothing on a CPU, to measure what images are worth: boxes and masks.

train = read_labelled(dataset, objects_column="objects")
detector = train_detector(train, None, DetectorOptions(), seed=0)
average_precision(detector, test).mean
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "batches": ["check_packages"],
        "boxes": ["BoxDetector", "Detections"],
        "labelled": ["LabelledImages"],
        "masks": ["MaskDetector"],
        "options": ["DetectorOptions"],
        "reading": ["labelled_arrays", "labelled_rows", "longer_side_of", "read_labelled", "stacked"],
        "scoring": ["Score", "average_precision"],
        "training": ["train_detector"],
    },
)
