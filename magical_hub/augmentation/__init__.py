"""Labelled synthetic images in the training sets of others: Hugging Face datasets, transforms, a filter."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "albumentations": ["AlbumentationsTransform"],
        "augmenting": ["augment_dataset"],
        "keeping": ["verified"],
        "quality": ["QualityFilter"],
        "settings": ["Filter", "Settings"],
        "torchvision": ["TorchvisionTransform"],
        "transform": ["MagicalTransform"],
        "writing": ["write_augmented"],
    },
)
