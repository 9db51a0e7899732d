"""The errors that a user can correct: one line each, saying what is wrong, where, and what to do."""

from __future__ import annotations

import operator
import re
from numbers import Integral, Real
from typing import Any

from magical_hub.texts import plain


class MagicalError(ValueError):
    """Root of every error that this library raises for a user's mistake (exit code 2 of the command).

    Names in it may come from others: the message is one plain line, whatever they hold.
    """

    def __init__(self, *arguments: object) -> None:
        super().__init__(*(plain(argument) if isinstance(argument, str) else argument for argument in arguments))


class GridError(MagicalError):
    """An image size, a location or a window that does not fit the grid."""


class DataError(MagicalError):
    """A folder, a file, a column or a dataset that cannot be used."""


class ConfigError(MagicalError):
    """A setting out of its range, or settings that do not go together."""


class CheckpointError(MagicalError):
    """A checkpoint that is missing, corrupt, unsafe or of another kind."""


class HubError(MagicalError):
    """A push that the Hub refused, or that could not reach it."""


class LeakageError(MagicalError):
    """A push of a model that copies its training images, or was never checked for it (exit code 3 of the command)."""


class TrainingError(MagicalError):
    """Training that cannot continue: for instance, a loss is not finite."""


class AugmentationError(MagicalError):
    """Synthetic images that cannot be made: for instance, all are dropped."""


class MissingPackageError(MagicalError):
    """A package of an extra is not installed."""


class TrainingStopped(Exception):
    """Training was stopped by a signal, after it wrote a checkpoint: not a mistake of the user."""


def check_number(
    name: str,
    value: Any,
    *,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
    whole: bool = False,
    error: type[MagicalError] = ConfigError,
) -> None:
    """Raise an error where an argument is out of its range, as NaN always is.

    Args:
        name: of the argument.
        value: a number.
        at_least, above, at_most, below: the ends of the range; None where there is none.
        whole: whether it must be a whole number.
        error: what is raised.
    """
    bounds = {
        "at least": (operator.ge, at_least),
        "above": (operator.gt, above),
        "at most": (operator.le, at_most),
        "below": (operator.lt, below),
    }
    given = {word: (compare, bound) for word, (compare, bound) in bounds.items() if bound is not None}
    kind = "whole number" if whole else "number"
    right = isinstance(value, Integral if whole else Real) and not isinstance(value, bool)
    if not right or not all(compare(value, bound) for compare, bound in given.values()):
        allowed = " and ".join(f"{word} {bound}" for word, (_, bound) in given.items())
        raise error(
            f"{name} is {value!r}: it must be {', '.join(filter(None, ['' if right else f'a {kind}', allowed]))}"
        )


def first_line(error: BaseException) -> str:
    """The part of another library's error that goes into one of ours: its first line, or its kind without one."""
    return plain((str(error).strip().splitlines() or [type(error).__name__])[0])


def in_one_line(error: BaseException) -> str:
    """The message of an error, without line breaks and without anything that looks like a token."""
    text = " ".join(str(error).split()) or type(error).__name__
    return plain(re.sub(r"hf_\w+", "***", text), 400)
