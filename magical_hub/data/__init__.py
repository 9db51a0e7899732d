"""From folders and datasets to sub-regions; the procedural package images."""

import lazy_loader

from magical_hub.packages import package_dataset as package_dataset
from magical_hub.packages import render_package as render_package

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "blends": ["Blend", "cut_and_paste", "perlin_blend", "procedural_defect"],
        "canvas": ["CanvasStore"],
        "images": ["Intensity", "open_image", "read_pixels", "to_canvas"],
        "records": ["Record", "Source"],
        "sources": ["open_dataset", "open_source"],
        "store": ["ImageInfo", "inspect_image", "open_store", "prepare_store"],
    },
)
__all__ += ["package_dataset", "render_package"]
