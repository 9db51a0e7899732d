"""Packages that only measuring needs, and the one line that says how to get them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from magical_hub.errors import MagicalError


class MissingPackageError(MagicalError):
    """A package of an extra is not installed."""


@contextmanager
def eval_extra() -> Iterator[None]:
    """Around the late imports of what the extra `eval` brings: a missing package becomes a MissingPackageError."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingPackageError(f"{error.name} is not installed: pip install 'magical-hub[eval]'") from error
