"""The check of a support set by itself: held out in step, the forecast, strangers near and far."""

from dataclasses import fields

import numpy as np
import pytest

from litecli.heads import confidence
from litecli.heads.heads import HEADS
from litecli.heads.labelled import eigenbasis
from litecli.personal import selfcheck

DIM = 48


class World:
    """Objects that are points, their photos noisy copies; some pairs of objects are look-alikes."""

    def __init__(self, objects: int, seed: int, noise: float = 0.75) -> None:
        self.rng = np.random.default_rng(seed)
        self.noise = noise
        self.centres = 1 + self.rng.normal(size=(objects, DIM))
        self.centres[1::4] = self.centres[::4][: len(self.centres[1::4])] + 0.4 * self.rng.normal(
            size=self.centres[1::4].shape
        )

    def shots(self, labels: np.ndarray) -> np.ndarray:
        drawn = self.centres[labels] + self.noise * self.rng.normal(size=(len(labels), DIM))
        return drawn.astype(np.float32)


def greys_of(count: int) -> np.ndarray:
    """Greys of photos of which no two are one view."""
    return np.random.default_rng(5).integers(-64, 64, (count, 256)).astype(np.int8)


def adapted(world: World, counts: list[int]) -> tuple[selfcheck.Check, float]:
    """The check of the first objects, and the true accuracy on thirty new photos of each."""
    labels = np.repeat(np.arange(len(counts)), counts)
    features = world.shots(labels)
    head = HEADS["ridge"]
    check = selfcheck.check_support(features, labels, len(counts), greys_of(len(labels)), head)
    asked = np.repeat(np.arange(len(counts)), 30)
    params = head.fit(features, labels, len(counts), **check.options)
    return check, float(np.mean(head.score(params, world.shots(asked)).argmax(1) == asked))


def expected(check: selfcheck.Check, counts: list[int]) -> float:
    labels = np.repeat(np.arange(len(counts)), counts)
    value = selfcheck.expected_accuracy(labels, check.groups, check.named)
    assert value is not None
    return value


def test_objects_with_few_views_are_held_out_in_step() -> None:
    labels = np.array([0, 0, 1, 1, 1, 2] + [3] * 8)
    groups = np.arange(14)
    together = selfcheck.turns(labels, groups)
    assert together.tolist() == [14, 15, 14, 15, 16, 5, *range(6, 14)]
    groups[1], groups[4] = 0, 3  # two bursts: one view of object 0, two of object 1
    together = selfcheck.turns(labels, groups)
    assert together.tolist() == [0, 0, 14, 15, 15, 5, *range(6, 14)]


@pytest.mark.parametrize("name", ["cosine", "ridge"])
def test_the_check_is_as_many_heads_that_never_saw_the_photos(name: str) -> None:
    counts = [2, 3, 1, 3, 8]
    labels = np.repeat(np.arange(5), counts)
    features = World(5, seed=3, noise=1.1).shots(labels)
    head = HEADS[name]
    check = selfcheck.check_support(features, labels, 5, greys_of(len(labels)), head)
    together = selfcheck.turns(labels, check.groups)
    for photo in np.flatnonzero(check.named >= 0):
        rest = together != together[photo]
        present, numbered = np.unique(labels[rest], return_inverse=True)
        assert len(present) == 5
        lam = check.options["lam"] * float(rest.mean())  # lam / (mean photo count) is kept
        strength = check.options["strength"]
        params = head.fit(features[rest], numbered, 5, strength=strength, lam=lam)
        assert check.named[photo] == head.score(params, features[photo : photo + 1]).argmax()
    assert check.total.tolist() == [2, 3, 0, 3, 8]


@pytest.mark.parametrize("photos", [2, 3, 5, 8])
def test_the_forecast_is_right_on_average(photos: int) -> None:
    """And with two photos, leaving them out one by one is darker than the truth by far."""
    told, true, one_by_one = [], [], []
    for seed in range(60):
        world = World(6, seed, noise=1.0 + 0.02 * seed)
        check, accuracy = adapted(world, [photos] * 6)
        told.append(expected(check, [photos] * 6))
        true.append(accuracy)
        if photos == 2:
            labels = np.repeat(np.arange(6), 2)
            scores = HEADS["ridge"].leave_one_out(world.shots(labels), labels, 6, **check.options)
            one_by_one.append(np.mean(scores.argmax(1) == labels))
    assert 0.6 < np.mean(true) < 0.97
    assert abs(np.mean(told) - np.mean(true)) < 0.03
    if photos == 2:
        assert np.mean(one_by_one) < np.mean(true) - 0.1


def test_the_range_holds_in_random_folders() -> None:
    rng = np.random.default_rng(0)
    holds, widths = [], []
    for seed in range(80):
        counts = rng.integers(1, 13, rng.integers(2, 13)).tolist()
        check, accuracy = adapted(World(len(counts), seed, rng.uniform(0.5, 1.6)), counts)
        low, high = check.forecast
        holds.append(low <= round(10 * accuracy) <= high)
        widths.append(high - low)
    assert np.mean(holds) >= 0.85
    assert np.mean(widths) < 3


@pytest.mark.parametrize(
    ("objects", "photos", "most"), [(5, 5, 0.04), (5, 2, 0.09), (20, 5, 0.045)]
)
def test_confidence_is_calibrated(objects: int, photos: int, most: float) -> None:
    """Expected calibration error, 15 bins; on photos it is smaller (benchmarks/unknowns.py)."""
    shares, right = [], []
    labels, asked = (np.repeat(np.arange(objects), count) for count in (photos, 20))
    head = HEADS["ridge"]
    for seed in range(600 // objects):
        world = World(objects, seed, noise=0.8 + 0.1 * (seed % 8))
        features = world.shots(labels)
        check = selfcheck.check_support(features, labels, objects, greys_of(len(labels)), head)
        params = head.fit(features, labels, objects, **check.options)
        answers = confidence.probabilities(
            head.score(params, world.shots(asked)), check.temperature
        )
        shares.append(answers.max(1))
        right.append(answers.argmax(1) == asked)
    share, hit = np.concatenate(shares), np.concatenate(right)
    bins = (share * 14.99).astype(int)
    gaps = [np.mean(bins == b) * abs(np.mean((share - hit)[bins == b])) for b in np.unique(bins)]
    assert sum(gaps) < most


def test_a_forecast_narrows_with_evidence_and_follows_the_errors() -> None:
    def of(photos: int, wrong: int, objects: int = 4) -> tuple[int, int]:
        labels = np.repeat(np.arange(objects), photos)
        named = labels.copy()
        for label in range(objects):
            named[label * photos : label * photos + wrong] = (label + 1) % objects
        return selfcheck.forecast(labels, np.arange(len(labels)), named)

    assert of(20, 0) == (10, 10)
    assert of(2, 0) == (8, 10)
    # Half wrong with one other view of the object: with two views, 0.5 x (1 - 2.5 / 16) wrong.
    assert of(2, 1, objects=200) == (5, 6)
    assert of(2, 1, objects=6) == (4, 8)  # twelve photos, but the evidence of nine
    for photos, widest in ((2, 5), (5, 3)):
        assert all(high - low <= widest for low, high in (of(photos, k) for k in range(photos)))
    assert of(20, 10)[0] <= 5 <= of(20, 10)[1] < of(20, 2)[0]
    nothing = np.array([-1, -1])
    assert selfcheck.forecast(np.array([0, 1]), np.array([0, 1]), nothing) == (0, 10)
    assert selfcheck.expected_accuracy(np.array([0, 1]), np.array([0, 1]), nothing) is None


def test_an_object_that_could_not_be_checked_darkens_the_forecast() -> None:
    named = np.array([0] * 9 + [1] + [1] * 10 + [-1])  # one mistake in ten, none in ten, one photo
    labels = np.repeat([0, 1, 2], [10, 10, 1])
    groups = np.arange(21)
    told = selfcheck.expected_accuracy(labels, groups, named)
    without = selfcheck.expected_accuracy(labels[:20], groups[:20], named[:20])
    assert told is not None and without is not None
    assert 1 - told == pytest.approx((1 - without) * 4 / 3)
    low = selfcheck.forecast(labels, groups, named)[0]
    assert low < selfcheck.forecast(labels[:20], groups[:20], named[:20])[0]


def test_a_burst_is_weaker_evidence_than_as_many_views() -> None:
    labels = np.repeat([0, 1], 6)
    apart, burst = np.arange(12), np.repeat([0, 1, 6, 7], 3)
    assert (
        selfcheck.forecast(labels, burst, labels)[0] < selfcheck.forecast(labels, apart, labels)[0]
    )


@pytest.mark.parametrize("photos", [1, 3, 5])
def test_false_accepts_near_and_far_come_true(photos: int) -> None:
    """Near: objects of the same world that were withheld. Far: points from somewhere else."""
    told, true = [], []
    rng = np.random.default_rng(1)
    for seed in range(80):
        world = World(12, seed, noise=1.0)
        # Objects of one kind have something in common that makes them alike.
        world.centres = 1.5 * rng.normal(size=DIM) + 0.75 * world.centres
        chosen, left = np.split(rng.permutation(12), [5])
        labels = np.repeat(np.arange(5), photos)
        known = world.shots(np.repeat(chosen, photos))
        threshold = confidence.unknown_threshold(known, labels)
        some, others = 2 * rng.normal(size=(2, 60, DIM)) + 1
        rates = selfcheck.false_accepts(known, labels, threshold, some)
        told.append((rates["withheld_objects"], rates["other_things"]))
        near, far = world.shots(np.repeat(left, 8)), others
        true.append(
            [np.mean(confidence.novelty(q, known, labels) <= threshold) for q in (near, far)]
        )
    near, far = np.mean(true, axis=0)
    assert 0.1 < near < 0.9 and far < near
    # With one photo of each, the threshold comes from the very photos that stand for strangers.
    slack = 0.1 if photos == 1 else 0.05
    np.testing.assert_allclose(np.mean(told, axis=0), (near, far), atol=slack)


def test_withheld_objects_are_met_by_the_others_alone() -> None:
    """The closed form equals learning the other objects anew, for each object."""
    labels = np.repeat(np.arange(4), [4, 5, 3, 4])
    world = World(4, seed=2, noise=1.5)
    features = world.shots(labels)
    threshold = confidence.unknown_threshold(features, labels)
    rates = []
    for label in range(4):
        rest = labels != label
        numbered = np.unique(labels[rest], return_inverse=True)[1]
        lam = confidence.USUAL_LAMBDA
        with pytest.MonkeyPatch.context() as patch:  # lam / (mean photo count) is kept
            patch.setattr(confidence, "USUAL_LAMBDA", lam * (rest.sum() / 3) / (len(labels) / 4))
            level = confidence.novelty(features[~rest], features[rest], numbered)
        rates.append(np.mean(level <= threshold))
    share = 1 - (1 - np.mean(rates)) ** (13 / 12)
    assert 0 < np.mean(rates) < 1
    told = selfcheck.false_accepts(features, labels, threshold)
    assert told == {"withheld_objects": pytest.approx(share, abs=1e-4)}


def test_what_cannot_be_foretold_is_left_out() -> None:
    world = World(3, seed=0)
    strangers = world.shots(np.array([2, 2, 2]))
    two = np.array([0, 1])
    assert selfcheck.false_accepts(world.shots(two), two, 0.0) == {}
    one = np.zeros(5, dtype=np.int64)
    assert selfcheck.false_accepts(world.shots(one), one, 9.0, strangers) == {"other_things": 1.0}
    assert selfcheck.false_accepts(world.shots(one), one, -9.0, strangers) == {"other_things": 0.0}


@pytest.mark.parametrize("looks_closer", [False, True])
def test_the_photos_are_factored_once_for_all_that_is_asked_of_them(monkeypatch, looks_closer):
    world, labels = World(4, 3), np.repeat(np.arange(4), [3, 5, 5, 6])
    features = world.shots(labels)
    crops = np.stack([world.shots(labels) for _ in range(2)], axis=1) if looks_closer else None
    strangers = World(4, 9).shots(labels)
    factored = []

    def eigh(matrix, real=np.linalg.eigh):
        factored.append(matrix)
        return real(matrix)

    monkeypatch.setattr(np.linalg, "eigh", eigh)
    greys = greys_of(len(labels))
    check = selfcheck.check_support(features, labels, 4, greys, None, strangers, crops)
    assert len(factored) == 1
    monkeypatch.setattr(selfcheck, "Eigenbases", lambda: eigenbasis)
    anew = selfcheck.check_support(features, labels, 4, greys, None, strangers, crops)
    assert len(factored) >= 6
    for one in fields(check):
        np.testing.assert_equal(getattr(check, one.name), getattr(anew, one.name), one.name)
