"""The check of a support set by itself: held out in step, calibrated, strangers near and far."""

from dataclasses import fields, replace

import numpy as np
import pytest

from litecli.heads import confidence
from litecli.heads.heads import HEADS
from litecli.heads.labelled import eigenbasis
from litecli.personal import selfcheck

from .small_features import DIM, World, greys_of


def test_objects_with_few_views_are_held_out_in_step() -> None:
    labels = np.array([0, 0, 1, 1, 1, 2] + [3] * 8)
    groups = np.arange(14)
    together = selfcheck.turns(labels, groups)
    assert together.tolist() == [14, 15, 14, 15, 16, 5, *range(6, 14)]
    groups[1], groups[4] = 0, 3  # two bursts: one view of object 0, two of object 1
    together = selfcheck.turns(labels, groups)
    assert together.tolist() == [0, 0, 14, 15, 15, 5, *range(6, 14)]
    six_and_seven = selfcheck.turns(np.repeat([0, 1], [6, 7]), np.arange(13))
    assert six_and_seven.tolist() == [*range(13, 19), *range(6, 13)]


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


def test_a_burst_decides_no_options_of_the_models_own_head() -> None:
    labels, head = np.repeat([0, 1, 2], 4), HEADS["ridge"]
    features, greys = World(3, seed=1, noise=1.5).shots(labels), greys_of(12)
    features[1::4], greys[1::4] = features[::4], greys[::4]
    check = selfcheck.check_support(features, labels, 3, greys, head)
    assert check.options == head.options(features, labels, 3, groups=check.groups)
    assert check.options != head.options(features, labels, 3)


@pytest.mark.parametrize(("wrong", "shown"), [(3, "0, 1, 2"), (4, "0, 1, 2, ...")])
def test_three_of_an_objects_mistaken_photos_are_named(wrong: int, shown: str) -> None:
    labels = np.repeat([0, 1], 5)
    features = World(2, seed=0).shots(labels)
    check = selfcheck.check_support(features, labels, 2, greys_of(10), HEADS["cosine"])
    mistaken = replace(check, named=np.array([1] * wrong + [0] * (5 - wrong) + [1] * 5))
    told = selfcheck.notes(mistaken, labels, ("a", "b"), tuple(map(str, range(10))), 0)
    assert told == [f'{wrong} photos look more like "b": {shown}']


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
