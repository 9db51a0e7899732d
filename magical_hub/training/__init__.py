"""Training: one configuration, the split of the data, the trainer on Accelerate and its checkpoints."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "config": ["TrainingConfig"],
        "planning": ["Plan", "plan"],
        "run.split": ["Split"],
        "trainer": ["TrainingResult", "train"],
    },
)
