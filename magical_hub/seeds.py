"""The seed of image i of a series, so that any image can be made alone, elsewhere, in any order."""

from __future__ import annotations

import hashlib
import operator
from typing import Any

from magical_hub.errors import ConfigError


def image_seed(seed: int, index: int) -> int:
    """seed_i = the first 63 bits of BLAKE2b("SEED:INDEX"), in decimal digits, big-endian; from 0 to 2**63 - 1.

    Raises:
        ConfigError: where the seed is not a whole number.
    """
    digest = hashlib.blake2b(f"{whole_number(seed)}:{index}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def whole_number(seed: Any) -> int:
    """A seed as Python's int: whole numbers of NumPy and torch are some too; bools, floats and strings are not.

    Raises:
        ConfigError: naming what it is instead.
    """
    kind = str(getattr(seed, "dtype", type(seed).__name__))
    try:
        if "bool" in kind:
            raise TypeError
        return operator.index(seed)
    except TypeError as error:
        raise ConfigError(f"a seed is {seed!r}, which is not a whole number: give one from 0 to 2**63 - 1") from error
