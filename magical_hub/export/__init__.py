"""Generated images on the disk, one format per module."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "imagefolder": ["write_imagefolder"],
        "labelled": ["write_dataset"],
        "writing": ["write", "write_series"],
    },
)
