"""How defects are put onto good images."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from magical_hub.errors import ConfigError, check_number

Composition = Literal["matched", "copied", "difference", "ratio"]
BoxStyle = Literal["annotated", "tight"]
FACTORS = 0.25, 4.0
"""The smallest and largest factor of size."""


@dataclass(frozen=True)
class PaintSettings:
    """How defects are put onto good images. `DefectBank.from_dataset` proposes values from the data.

    Attributes:
        composition: what is added to the target. "difference": the defect minus its reference; "ratio": the defect
            divided by its reference, where light passes through the product; "matched": the pixels of the defect,
            multiplied so that their surroundings are as bright as those of the target; "copied": the pixels of the
            defect as they are.
        mirrors: whether an example may be mirrored, left to right and top to bottom.
        quarter_turns: whether an example may be turned by quarters.
        max_shift: how many pixels an example may be moved from its place in its own image; the target must then have
            the size of that image. None: to wherever `fit` allows.
        scale: smallest and largest factor of size, 0.25 to 4.
        turn: largest angle, in degrees, 0 to 180.
        elastic: largest displacement of an elastic warp, in pixels, 0 to 32.
        strength: smallest and largest factor of the change, 0.1 to 3.
        keep_together: whether the defects of one image stay together.
        together_within: with keep_together, the greatest distance in pixels between two defects that stay together;
            None: all defects of an image.
        fit: greatest mean squared difference between the reference of an example and the target at its place, beyond
            that of their noise, as a share of the variance of the target, 0 to 2; None: its surroundings need not
            match. Not used with max_shift, where places that match about as well as the best are drawn from.
        feather: pixels inside the edge of a defect over which it fades, 0 to 16.
        visible: how far a defect must stand out in the target, as a share of how far it does in its own image, 0 to
            1: by the change that it makes (composition "difference"), or by its contrast to the surroundings. What
            stands out less cannot be recognised and is dropped.
        boxes: "annotated": a box has the margins that its annotation left around the example; "tight": none.
    """

    composition: Composition = "matched"
    mirrors: bool = False
    quarter_turns: bool = False
    max_shift: float | None = None
    scale: tuple[float, float] = (1.0, 1.0)
    turn: float = 0.0
    elastic: float = 0.0
    strength: tuple[float, float] = (1.0, 1.0)
    keep_together: bool = True
    together_within: float | None = None
    fit: float | None = 0.25
    feather: float = 1.0
    visible: float = 0.5
    boxes: BoxStyle = "annotated"

    def __post_init__(self) -> None:
        for name, choices in (("composition", get_args(Composition)), ("boxes", get_args(BoxStyle))):
            if getattr(self, name) not in choices:
                raise ConfigError(f"{name} is {getattr(self, name)!r}: must be one of {', '.join(choices)}")
        for name in ("mirrors", "quarter_turns", "keep_together"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigError(f"{name} is {getattr(self, name)!r}: must be True or False")
        numbers = {"turn": 180, "elastic": 32, "feather": 16, "visible": 1}
        optional = {"max_shift": 10**6, "together_within": 10**6, "fit": 2}
        for name, most in (numbers | optional).items():
            value = getattr(self, name)
            if value is not None or name in numbers:
                check_number(name, value, at_least=0, at_most=most)
                object.__setattr__(self, name, float(value))
        for name, low, high in (("scale", *FACTORS), ("strength", 0.1, 3.0)):
            pair = getattr(self, name)
            if not isinstance(pair, (tuple, list)) or len(pair) != 2:
                raise ConfigError(f"{name} is {pair!r}: must be two numbers, the smallest and the largest factor")
            for value in pair:
                check_number(name, value, at_least=low, at_most=high)
            if pair[0] > pair[1]:
                raise ConfigError(f"{name} is {pair!r}: the smallest factor must come first")
            object.__setattr__(self, name, (float(pair[0]), float(pair[1])))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> PaintSettings:
        """The settings that `dataclasses.asdict` gave, also after JSON.

        Raises:
            ConfigError: where a name is unknown or a value is out of range.
        """
        known = {field.name for field in fields(cls)}
        if unknown := sorted(values.keys() - known):
            raise ConfigError(f"there is no setting {', '.join(unknown)}: give some of {', '.join(sorted(known))}")
        return cls(**values)
