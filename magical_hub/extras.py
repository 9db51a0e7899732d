"""Packages that only some need, and the one line that says how to get them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from magical_hub.errors import MissingPackageError


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Around the late imports of what an extra brings: a missing package becomes a MissingPackageError."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            f"{error.name} is not installed: pip install 'magical-hub[{name}]', or '.[{name}]' in a clone"
        ) from error
