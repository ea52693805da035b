"""The forecast of a check: right on average, wider and darker where little is known."""

import numpy as np
import pytest

from litecli.heads.heads import HEADS
from litecli.personal import selfcheck

from .small_features import World, greys_of


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


def test_no_more_than_all_new_photos_are_expected_to_be_mistaken() -> None:
    labels, named = np.array([0] * 10 + [1]), np.array([1] * 10 + [-1])
    assert selfcheck.expected_accuracy(labels, np.arange(11), named) == 0


def test_a_burst_is_weaker_evidence_than_as_many_views() -> None:
    labels = np.repeat([0, 1], 6)
    apart, burst = np.arange(12), np.repeat([0, 1, 6, 7], 3)
    assert (
        selfcheck.forecast(labels, burst, labels)[0] < selfcheck.forecast(labels, apart, labels)[0]
    )
