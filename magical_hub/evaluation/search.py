"""The search for copies: three views, four tests in each, and what they would find of planted copies.

Three views (features, pixels, sub-regions) and four tests in each, whose alarms are false once in a hundred reports:

- nearer: generated images are nearer to the training images than held-out ones are, and to the training images than
  to the held-out ones. Either alone can happen without copying: the first with a generator that leaves out odd images,
  the second with a split that is not random.
- nearer somewhere: the same among the images around one kind of training image (Meehan et al., AISTATS 2020).
- a crowd: more generated than held-out images are suspiciously near to a training image, and to more training than
  held-out images. Those that are near to the same one count once.
- single images: one is nearer to a training image than generated images ever are to held-out ones, which were not
  used for training. It finds a few copies among many images.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy.cluster.vq import kmeans2, vq
from scipy.stats import binomtest

from magical_hub.data.canvas import digest
from magical_hub.evaluation.evidence import Evidence
from magical_hub.evaluation.views import Matches, View, match, num_parts, views
from magical_hub.metrics import Neighbours
from magical_hub.metrics.copying import crowd_test, holm, membership_test, nearer_test, single_tests

LEVEL = 0.01
"""The chance of a false alarm of all tests together."""
LEAST = 30
"""Images of each kind below which no test says anything."""
KINDS, KIND_SIZE, KIND_SAMPLE = 8, 20, 10_000
"""The most kinds of image, the images of either set that a kind needs, and what the kinds are found from."""
COPIES = 40
"""The most planted copies of each kind."""
SHIFT = 3
"""Pixels of the greatest shift of a planted copy."""
CONTRAST, BRIGHTNESS = 1.1, 12
"""The factor and the offset of a brightened copy's grey levels."""


class Compared(NamedTuple):
    """The distances and scores of one view."""

    view: View
    train: list[np.ndarray]
    generated: Matches
    """Generated images among training images."""
    held_out: Matches
    """Held-out images among training images."""
    unseen: Matches
    """Generated images among held-out images."""
    parts: int

    def p_values(self, matches: Matches) -> np.ndarray:
        """P-values of single images (N,), not yet corrected for their number.

        Generated images that are near to the same held-out image are one yardstick. Where fewer than 30 are left (the
        generator draws a few pictures again and again), an image has to be conspicuous among held-out images beside
        training images too: those are independent of each other, whatever the generator does.
        """
        null_scores = _one_each(self.unseen)
        p_values = self.parts * single_tests(matches.worst, null_scores)
        if len(null_scores) < LEAST:
            p_values = np.maximum(p_values, single_tests(matches.worst, self.held_out.worst))
        return np.minimum(1, p_values)


class Search(NamedTuple):
    """What all views and tests found.

    `tests` are p-values by their names, `alarms` which of them alarm, `bound` the p-value at which a single image
    alarms whatever else is found, and `kinds` how many kinds of image there are.
    """

    compared: list[Compared]
    tests: dict[str, float]
    alarms: dict[str, bool]
    bound: float
    kinds: int

    @property
    def p_values(self) -> np.ndarray:
        """(views, N) of single generated images."""
        return np.stack([one.p_values(one.generated) for one in self.compared])


def search(evidence: Evidence) -> Search:
    """Search for copies among generated images; held-out images must be known."""
    kinds = _kinds(evidence)
    compared = [_compare(view, evidence) for view in views(evidence)]
    tests = {f"{one.view.name}, {name}": p for one in compared for name, p in _tests(one, kinds, evidence).items()}
    alarms = dict(zip(tests, holm(list(tests.values()), LEVEL), strict=True))
    bound = LEVEL / len(tests) / len(evidence.generated)
    return Search(compared, tests, alarms, bound, int(kinds[0].max()) + 1)


def control(evidence: Evidence, searched: Search) -> dict[str, dict[str, Any]]:
    """Plant copies, and count by kind how many the search would have found."""
    return {
        kind: _found(copies, searched.compared, evidence, searched.bound) for kind, copies in plant(evidence).items()
    }


def _kinds(evidence: Evidence) -> tuple[np.ndarray, np.ndarray]:
    """The kind of each generated and each held-out image: the nearest of the means of the training images."""
    features = evidence.cache.features
    some = features(evidence.train.shuffled(evidence.seed).take(KIND_SAMPLE))
    kinds = max(1, min(KINDS, len(evidence.reference) // (2 * KIND_SIZE)))
    means, _ = kmeans2(np.asarray(some, np.float64), kinds, minit="++", rng=np.random.default_rng(evidence.seed))
    made, held_out = (vq(features(images), means)[0] for images in (evidence.compared, evidence.reference))
    return made, held_out


def _compare(view: View, evidence: Evidence) -> Compared:
    train, unseen, made = (view.of(images) for images in (evidence.train, evidence.reference, evidence.generated))
    parts = num_parts(len(evidence.train), len(evidence.reference))
    return Compared(
        view,
        train,
        match(view, made, train, parts, "generated"),
        match(view, unseen, train, parts, "held-out"),
        match(view, made, unseen, 1, "generated, among held-out"),
        parts,
    )


def _tests(one: Compared, kinds: tuple[np.ndarray, np.ndarray], evidence: Evidence) -> dict[str, float]:
    """The p-values of a view."""
    count = len(evidence.compared)
    generated, unseen = one.generated.first(count), one.unseen.first(count)
    somewhere = []
    for kind in np.unique(kinds[0]):
        made, real = (numbers == kind for numbers in kinds)
        if min(made.sum(), real.sum()) >= KIND_SIZE:
            somewhere.append(_nearer(generated.where(made), unseen.where(made), one.held_out.where(real), evidence))
    return {
        "nearer": _nearer(generated, unseen, one.held_out, evidence),
        "nearer somewhere": min(1.0, len(somewhere) * min(somewhere, default=1.0)),
        "a crowd": _crowd(generated, unseen, one.held_out),
        "single images": min(1.0, len(evidence.generated) * float(one.p_values(one.generated).min())),
    }


def _nearer(generated: Matches, unseen: Matches, held_out: Matches, evidence: Evidence) -> float:
    def flat(matches: Matches) -> Neighbours:
        return Neighbours(matches.distances.reshape(-1, 1), matches.nearest.reshape(-1, 1))

    return max(
        nearer_test(generated.distances.mean(0), held_out.distances.mean(0)),
        membership_test(flat(generated), flat(unseen), len(evidence.train), len(evidence.reference), evidence.seed),
    )


def _crowd(generated: Matches, unseen: Matches, held_out: Matches) -> float:
    """Against held-out images alone, a generator that leaves out odd images alarms: among common ones scores differ.
    So the generated ones have to be suspicious more often among parts of training too than among held-out images."""
    among_train = np.concatenate([_one_each(part) for part in generated.by_part()])
    return max(crowd_test(_one_each(generated), _one_each(held_out)), crowd_test(among_train, _one_each(unseen)))


def _one_each(matches: Matches) -> np.ndarray:
    """The lowest score at each training image that is the suspect of some: a picture that is drawn again and again is
    one chance to be near to a training image by chance, and not many."""
    order = np.argsort(matches.worst, kind="stable")
    first = np.unique(matches.worst_suspect[order], return_index=True)[1]
    return matches.worst[order][first]


def _found(planted: Planted, compared: list[Compared], evidence: Evidence, bound: float) -> dict[str, Any]:
    """How many planted copies the tests of single images, or the content hash, would have found."""
    digests = [digest([image]) for image in planted.images]
    found = np.array([sha == evidence.train.digests[row] for sha, row in zip(digests, planted.sources, strict=True)])
    for one in compared:
        matches = match(one.view, one.view.of_pixels(planted.images), one.train, one.parts, "planted")
        found |= (one.p_values(matches) <= bound) & (matches.worst_suspect == planted.sources)
    interval = binomtest(int(found.sum()), len(found)).proportion_ci(0.95, method="exact")
    return {
        "planted": len(found),
        "found": int(found.sum()),
        "share": float(found.mean()),
        "interval_95": [float(interval.low), float(interval.high)],
    }


class Planted(NamedTuple):
    """Copies of one kind: images (n, C, H, W) uint8, and the row of the training image that each is of."""

    images: np.ndarray
    sources: np.ndarray


def plant(evidence: Evidence) -> dict[str, Planted]:
    """Copies of training images chosen at random: exact, shifted, brightened, and generated images with one sub-region
    of a training image."""
    draw = np.random.default_rng(evidence.seed)
    count = min(COPIES, len(evidence.train), len(evidence.generated))
    sources = draw.choice(len(evidence.train), count, replace=False)
    exact = evidence.train.read(sources)
    planted = {"exact": exact, "shifted": _shifted(exact, draw), "brightened": _brightened(exact)}
    grid = evidence.grid
    if evidence.has_grid:
        hosts = evidence.generated.read(draw.choice(len(evidence.generated), count, replace=False))
        for host, copied in zip(hosts, exact, strict=True):
            rows, cols = grid.span(int(draw.integers(grid.num_locations)))
            host[:, rows, cols] = copied[:, rows, cols]
        planted["one sub-region"] = hosts
    return {kind: Planted(images, sources) for kind, images in planted.items()}


def _shifted(images: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    height, width = images.shape[2:]
    wide = np.pad(images, ((0, 0), (0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT)), mode="edge")
    ways = np.array([step for step in range(2 * SHIFT + 1) if step != SHIFT])
    starts = draw.choice(ways, (len(images), 2))
    return np.stack(
        [image[:, top : top + height, left : left + width] for image, (top, left) in zip(wide, starts, strict=True)]
    )


def _brightened(images: np.ndarray) -> np.ndarray:
    return np.clip(images * CONTRAST + BRIGHTNESS, 0, 255).astype(np.uint8)
