"""Do synthetic rows make a detector of boxes or masks better? Measured on a data set of one's own, in one report.

from magical_hub.usefulness import UsefulnessOptions, evaluate_usefulness

report = evaluate_usefulness("boards/", "report/", options=UsefulnessOptions(group_column="board"))
print(report.summary())

For image classes alone, with images of a checkpoint, there is `magical_hub.evaluation.usefulness`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={"measuring": ["evaluate_usefulness", "has_defects"], "options": ["UsefulnessOptions"]},
)
