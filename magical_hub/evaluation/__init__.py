"""Are the generated images good, coherent, varied, and free of copies? One call, one report."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "comparing": ["Comparison", "compare"],
        "evaluating": ["evaluate"],
        "report": ["EvaluationReport"],
        "section": ["Section", "Verdict"],
    },
)
