"""Defects put onto real good images: references, a bank of examples, placing, varying, composing."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "bank": ["DefectBank"],
        "painting": ["Painted"],
        "settings": ["PaintSettings"],
        "tuning": ["Tuned", "tune"],
    },
)
