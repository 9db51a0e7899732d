"""False alarms over many independent splits, and what is found where there is copying."""

import numpy as np
import pytest

from magical_hub.metrics import nearest
from magical_hub.metrics.copying import crowd_test, holm, membership_test, memorisation, nearer_test, single_tests

TRAIN, OTHERS, NEIGHBOURS = 400, 100, 8


def features(draw, count, spread=1.0):
    """Points of 12 dimensions in a space of 64, some kinds of them odder than others."""
    axes = np.random.default_rng(99).normal(size=(12, 64))
    points = spread * draw.normal(size=(count, 12)) * np.exp(0.3 * draw.normal(size=(count, 1)))
    return (points @ axes).astype(np.float32)


def p_values(train, held_out, generated):
    ours, theirs = (nearest(some, train, NEIGHBOURS) for some in (generated, held_out))
    unseen = nearest(generated, held_out, NEIGHBOURS)
    parts = len(train) // len(held_out)
    scores, held_out_scores = (
        np.min([memorisation(nearest(some, train[part::parts], NEIGHBOURS)) for part in range(parts)], axis=0)
        for some in (generated, held_out)
    )
    single = parts * single_tests(scores, memorisation(unseen))
    return {
        "nearer": nearer_test(ours.distances[:, 0], theirs.distances[:, 0]),
        "membership": membership_test(ours, unseen, len(train), len(held_out)),
        "crowd": crowd_test(scores, held_out_scores),
        "single": min(1.0, len(generated) * single.min()),
    }


def test_false_alarms_over_a_hundred_splits():
    found = []
    for seed in range(100):
        draw = np.random.default_rng(seed)
        found.append(p_values(*(features(draw, count) for count in (TRAIN, OTHERS, OTHERS))))
    for name in found[0]:
        # Of a hundred fair chances of 5 in 100 more than 13 come up once in a thousand times.
        assert sum(one[name] <= 0.05 for one in found) <= 13, name
    alarms = sum(any(holm(list(one.values()), 0.01)) for one in found)
    assert alarms <= 4  # of 1 in 100: more than 4 come up three times in a thousand


def test_a_generator_without_odd_images_passes_for_a_copier_in_one_test_alone():
    draw = np.random.default_rng(0)
    train, held_out, generated = features(draw, TRAIN), features(draw, OTHERS), features(draw, OTHERS, spread=0.6)
    found = p_values(train, held_out, generated)
    assert found["nearer"] < 1e-6
    assert min(found["membership"], found["single"]) > 0.01


@pytest.mark.parametrize(
    ("share", "noise", "alarms"),
    [
        (1.0, 0.5, {"nearer", "membership"}),  # all learned by heart, loosely
        (0.2, 0.1, {"crowd", "single"}),
        (0.03, 0.02, {"single"}),  # a few blatant copies
    ],
)
def test_copies_are_found(share, noise, alarms):
    draw = np.random.default_rng(1)
    train, held_out, generated = (features(draw, count) for count in (TRAIN, OTHERS, OTHERS))
    copied = round(share * OTHERS)
    generated[:copied] = train[:copied] + noise * features(draw, copied)
    found = p_values(train, held_out, generated)
    assert all(found[name] < 0.0025 for name in alarms), found


def test_exact_copies_score_nothing_and_have_no_chance():
    draw = np.random.default_rng(2)
    train, generated = features(draw, TRAIN), features(draw, OTHERS)
    scores = memorisation(nearest(np.concatenate([train[:3], generated]), train, NEIGHBOURS))
    assert (scores[:3] == 0).all() and (scores[3:] > 0.3).all() and (scores <= 1).all()
    assert (single_tests(scores, scores[3:])[:3] < 1e-9).all()


def test_what_looks_the_same_in_many_images_is_nobodys():
    train = np.repeat(features(np.random.default_rng(3), 1), 20, axis=0)
    scores = memorisation(nearest(train[:1], train, NEIGHBOURS))
    assert scores == [1] and single_tests(scores, np.linspace(0.5, 1, 60)) == [1]
    assert (single_tests(np.zeros(3), np.zeros(60)) == 1).all()


def test_the_chance_of_a_crowd_is_that_of_shuffling():
    held_out, generated = np.arange(40.0), np.concatenate([np.full(6, 0.5), np.full(24, 100.0)])
    draw = np.random.default_rng(4)  # three held-out images are called suspicious: how often do six precede the third?
    shuffled = draw.permuted(np.tile(np.arange(70) < 40, (20_000, 1)), axis=1)
    before = np.array([np.flatnonzero(one)[2] - 2 for one in shuffled])
    assert crowd_test(generated, held_out) == pytest.approx((before >= 6).mean(), abs=0.01)
    assert crowd_test(np.full(10, 1000.0), held_out) == 1


def test_holm_by_hand():
    assert holm([0.04, 0.001, 0.02], 0.05) == [True, True, True]
    assert holm([0.04, 0.001, 0.03], 0.05) == [False, True, False]
    assert holm([1.0], 0.05) == [False]
