"""history.jsonl as a picture, for people."""

from __future__ import annotations

from pathlib import Path

from magical_hub.files import written_whole
from magical_hub.training.history import read_history

FAMILIES = {
    "adversarial": ("Adversarial losses", "loss"),
    "location": ("Location (and class) losses", "cross-entropy"),
    "penalty": ("Penalty on the critic's gradient", "loss"),
    "boundary": ("Boundary loss", "squared difference"),
    "score": ("The critic's mean scores", "score"),
    "accuracy": ("The critic's accuracy on real locations", "share"),
    "augmentation": ("Augmentation of what the critic sees", "share"),
    "seams": ("Seams beside those of real images", "ratio (1 is right)"),
    "variety": ("Difference to the nearest other image, beside that of real ones", "ratio (1 is right)"),
    "kid": ("KID on the validation part", "KID x 1000"),
    "": ("Other figures", "value"),
}
"""What in a figure's name puts it on a panel, in the order of the panels: the panel's title and what it measures."""


def draw_curves(history: Path, picture: Path) -> None:
    """Draw every figure of a history.jsonl over the steps, a panel a family, as a PNG (whole or not at all).

    Args:
        history: the lines of a run; without one, nothing is drawn.
        picture: where to.
    """
    from matplotlib.figure import Figure  # takes half a second; no window and no global state, unlike pyplot

    lines, _ = read_history(history)
    names = sorted({name for line in lines for name in line} - {"step", "seconds"})
    panels: dict[str, list[str]] = {}
    for name in names:
        panels.setdefault(next(family for family in FAMILIES if _belongs(name, family)), []).append(name)
    if not panels:
        return
    rows = -(-len(panels) // 2)
    figure = Figure(figsize=(12, 3.2 * rows), layout="tight")
    axes = figure.subplots(rows, 2, squeeze=False).flatten()
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    for axis, family in zip(axes, [family for family in FAMILIES if family in panels], strict=False):
        for name in panels[family]:
            points = [(line["step"], line[name]) for line in lines if name in line]
            scale = 1000 if family == "kid" else 1
            axis.plot(
                [step for step, _ in points],
                [scale * value for _, value in points],
                label=name,
                linewidth=1,
                marker="." if len(points) < 30 else None,  # a line of one point can't be seen
            )
        title, unit = FAMILIES[family]
        axis.set(title=title, xlabel="step", ylabel=unit, xlim=(0, 1.02 * lines[-1]["step"]))
        axis.grid(alpha=0.3)
        # Where losses leave room, and accuracies do; "best" would look through all points.
        axis.legend(fontsize="small", loc="lower right" if family == "accuracy" else "upper right")
    with written_whole(picture) as beside:
        figure.savefig(beside, format="png", dpi=100)


def _belongs(name: str, family: str) -> bool:
    return family in name.replace("location_accuracy", "accuracy")
