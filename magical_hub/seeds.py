"""The seed of image i of a series, so that any image can be made alone, elsewhere, in any order."""

from __future__ import annotations

import hashlib


def image_seed(seed: int, index: int) -> int:
    """seed_i = the first 63 bits of BLAKE2b("SEED:INDEX"), in decimal digits, big-endian; from 0 to 2**63 - 1."""
    digest = hashlib.blake2b(f"{seed}:{index}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
