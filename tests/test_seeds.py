"""The seed of image i of a series."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from magical_hub.errors import ConfigError
from magical_hub.seeds import image_seed


@given(st.integers(0, 2**63 - 1), st.integers(0, 10**9))
def test_a_seed_is_the_documented_hash(seed, index):
    bits = "".join(f"{byte:08b}" for byte in hashlib.blake2b(f"{seed}:{index}".encode(), digest_size=8).digest())
    assert image_seed(seed, index) == int(bits[:63], 2)
    assert 0 <= image_seed(seed, index) < 2**63


def test_seeds_stay_what_they_are():
    """Images that people have made must be made again by later versions."""
    assert [image_seed(0, 0), image_seed(0, 1), image_seed(7, 123)] == [
        7689419447139100721,
        8724540124617128742,
        2107909234125892846,
    ]


@pytest.mark.parametrize("seed", [7.9, 7.0, True, np.True_, "7", None, np.float64(7)])
def test_other_things_are_no_seeds(seed):
    with pytest.raises(ConfigError, match=r"a seed is .*, which is not a whole number"):
        image_seed(seed, 0)


def test_whole_numbers_of_numpy_and_torch_are_seeds():
    assert {image_seed(seed, 3) for seed in (7, np.uint8(7), np.int64(7), torch.tensor(7))} == {image_seed(7, 3)}


def test_seeds_differ():
    assert len({image_seed(seed, index) for seed in range(20) for index in range(200)}) == 4000
