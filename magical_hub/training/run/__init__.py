"""The RUN folder: its layout, the split of its images, checkpoints, records, figures and samples."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "layout": ["check_free", "read_settings", "source_of"],
        "split": ["Split"],
    },
)
