"""The split: nothing of a group, and no equal image, on both sides of it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from magical_hub.errors import DataError
from magical_hub.training import Split

PARTS = ("train", "validation", "holdout")


@st.composite
def images(draw):
    """Groups of at least three names, and digests, some of which stand twice, in one group or in several."""
    count = draw(st.integers(3, 40))
    names = draw(st.integers(3, 12))
    groups = [f"board {n}" for n in range(3)] + [f"board {draw(st.integers(0, names))}" for _ in range(count - 3)]
    digests = [f"own {n}" for n in range(3)] + [
        draw(st.sampled_from([f"own {n}", "twice 1", "twice 2"])) for n in range(3, count)
    ]
    order = draw(st.permutations(range(count)))
    fractions = draw(st.tuples(st.sampled_from([0.0, 0.1, 0.3]), st.sampled_from([0.0, 0.1, 0.3])))
    return [groups[n] for n in order], [digests[n] for n in order], fractions


def part_of(split: Split) -> dict[int, str]:
    return {number: part for part in PARTS for number in getattr(split, part)}


@given(images())
def test_parts_are_disjoint_and_cover_everything(case):
    groups, digests, fractions = case
    try:
        split = Split.cut(groups, digests, *fractions)
    except DataError:
        return  # too few groups, once those that share an image are one
    numbers = split.train + split.validation + split.holdout
    assert sorted(numbers) == list(range(len(groups)))
    assert split.train and split.digests == digests
    assert bool(split.validation) == (fractions[0] > 0) and bool(split.holdout) == (fractions[1] > 0)


@given(images())
def test_groups_stay_whole_and_equal_images_together(case):
    groups, digests, fractions = case
    try:
        parts = part_of(Split.cut(groups, digests, *fractions))
    except DataError:
        return
    for key in (groups, digests):
        seen: dict[str, str] = {}
        for number, name in enumerate(key):
            assert seen.setdefault(name, parts[number]) == parts[number], name


@given(images(), st.randoms(use_true_random=False))
def test_the_order_of_the_images_does_not_matter(case, random):
    groups, digests, fractions = case
    order = list(range(len(groups)))
    random.shuffle(order)
    try:
        parts = part_of(Split.cut(groups, digests, *fractions))
    except DataError:
        with pytest.raises(DataError):
            Split.cut([groups[n] for n in order], [digests[n] for n in order], *fractions)
        return
    shuffled = part_of(Split.cut([groups[n] for n in order], [digests[n] for n in order], *fractions))
    assert {order[place]: part for place, part in shuffled.items()} == parts


def test_equal_images_of_two_boards_join_the_boards():
    """Whatever the names: a chain of three boards, each sharing an image with the next, is one group."""
    for names in ("abc", "cab", "bca", "acb"):
        groups = [names[0], names[0], names[1], names[1], names[2], "d", "e"]
        digests = ["1", "x", "x", "y", "y", "2", "3"]
        parts = part_of(Split.cut(groups, digests, 0.3, 0.3))
        assert len({parts[n] for n in range(5)}) == 1


def test_the_fractions_are_of_the_groups():
    names = [f"board {n}" for n in range(100)]
    split = Split.cut(names, names, 0.2, 0.1)
    assert (len(split.train), len(split.validation), len(split.holdout)) == (70, 20, 10)
    assert split == Split.cut(names, names, 0.2, 0.1)


def test_chance_decides_and_not_the_name():
    names = [f"{n:03d}" for n in range(100)]
    holdout = Split.cut(names, names, 0.0, 0.5).holdout
    assert 15 < sum(number < 50 for number in holdout) < 35


def test_too_few_groups_are_refused():
    with pytest.raises(DataError, match="2 groups of images are too few"):
        Split.cut(["a", "a", "b"], ["1", "2", "3"], 0.1, 0.1)
    assert Split.cut(["a", "a", "b"], ["1", "2", "3"], 0.0, 0.0).train == [0, 1, 2]


def test_saving_and_loading(tmp_path):
    split = Split.cut(list("abcde"), list("12345"), 0.2, 0.2)
    split.save(tmp_path / "split.json")
    assert Split.load(tmp_path / "split.json") == split
    assert {*json.loads((tmp_path / "split.json").read_text())} == {*PARTS, "digests"}
    assert [file.name for file in tmp_path.iterdir()] == ["split.json"]
    for content in ("", "{", "[]", '{"train": []}'):
        (tmp_path / "split.json").write_text(content)
        with pytest.raises(DataError, match="put the right one back, or start a new run"):
            Split.load(tmp_path / "split.json")
