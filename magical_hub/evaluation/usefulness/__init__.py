"""Does a synthetic image make the detector better? Two detectors, with and without synthetic images.

from magical_hub.evaluation.usefulness import measure_usefulness

result = measure_usefulness(pipe, real_images, real_labels, test_images, test_labels, normal_class=0)
print(result.to_markdown())
"""

from magical_hub.evaluation.usefulness.measure import measure_usefulness
from magical_hub.evaluation.usefulness.result import Comparison, TaskResult, UsefulnessResult
from magical_hub.evaluation.usefulness.section import draw_usefulness

__all__ = ["Comparison", "TaskResult", "UsefulnessResult", "draw_usefulness", "measure_usefulness"]
