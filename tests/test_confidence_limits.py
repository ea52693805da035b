"""The temperature and the unknown threshold by their formulas; measured constants as they are."""

import numpy as np
import pytest

from litecli.heads.confidence import (
    best_temperature,
    fit_novelty,
    fit_temperature,
    held_out_novelty,
    novelty,
    novelty_of,
    unknown_threshold,
)
from litecli.heads.labelled import eigenbasis

from .small_features import photos


@pytest.mark.parametrize("counts", [[2, 2, 2], [3, 0, 7], [1, 4, 4, 2]])
def test_temperature_doubts_a_quarter_of_a_photo_and_expects_more_of_a_new_one(counts):
    labels = np.repeat(np.arange(len(counts)), counts)
    rng = np.random.default_rng(4)
    scores = np.eye(len(counts))[labels] + 0.5 * rng.normal(size=(len(labels), len(counts)))
    alone = np.array(counts)[labels] == 1
    scores[alone, labels[alone]] = -np.inf  # nothing is left of its object
    seen = np.array([count for count in counts if count > 1])
    doubt = 0.25 / (seen.sum() + 1)
    likeliest, _ = best_temperature(scores[~alone], labels[~alone], doubt)
    expected = likeliest * np.sqrt(1 - 1 / seen.mean())  # n - 1 of n photos
    assert fit_temperature(scores, labels) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    "others, expected",
    [
        ([-4.0, 4.0], 0.6 * 4),  # their spread
        ([-5.0, -5.0], 0.1 * 5),  # where they are alike, a part of their size
        ([0.0, 0.0], 1e-6),
    ],
)
def test_temperature_of_one_photo_each_follows_the_other_objects_scores(others, expected):
    """By shares that were measured: this holds them."""
    scores = np.full((2, 2), -np.inf)
    scores[0, 1], scores[1, 0] = others
    assert fit_temperature(scores, np.arange(2)) == pytest.approx(expected)


def test_one_object_alone_has_temperature_one():
    assert fit_temperature(np.array([[3.0], [-9.0], [0.5]]), np.zeros(3, dtype=int)) == 1


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
def test_scores_that_are_always_wrong_get_a_hundred_times_their_spread(size):
    """Nothing would be too hot for them: the search's end is chosen, this holds it."""
    labels = np.array([0, 1, 0, 1])
    scores = size * np.eye(2)[1 - labels]
    spread = size / 2  # half of the scores are the best of their photo, half lie `size` below
    best, value = best_temperature(scores, labels)
    assert best == pytest.approx(100 * spread, rel=1e-6)
    assert value == pytest.approx(-np.log(1 + np.exp(size / best)))
    cold, value = best_temperature(-scores, labels)  # always right
    assert 0 < cold < spread / 100 and value == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("counts", [[2, 2], [1, 3, 6]])
def test_threshold_is_the_upper_end_of_a_normal_interval(counts):
    """95 % lie below 1.645 deviations; four photos of deviation 0.2 are added (measured)."""
    features, labels = photos(counts)
    own = np.array([value for value in held_out_novelty(features, labels)[0] if value == value])
    assert len(own) == sum(count for count in counts if count > 1)
    freedom = len(own) - 1
    variance = (freedom * np.var(own, ddof=1) + 4 * 0.2**2) / (freedom + 4)
    expected = np.mean(own) + 1.645 * np.sqrt(variance)
    assert unknown_threshold(features, labels) == pytest.approx(expected, rel=1e-12)


def test_threshold_of_one_photo_each_lies_a_little_above_the_objects_to_each_other():
    """By 0.1, and never above 0.65: both were measured, this holds them."""
    alike, labels = photos([1] * 4, noise=0.0)
    met = []  # each as a stranger to the other three, in fits of their own
    for photo in range(4):
        params = fit_novelty(np.delete(alike, photo, axis=0), np.arange(3))
        met.append(novelty_of(params, alike[photo : photo + 1])[0])
    assert unknown_threshold(alike, labels) == pytest.approx(np.mean(met) + 0.1, abs=1e-9)
    assert unknown_threshold(alike, labels) < 0.6
    unlike = np.eye(4, dtype=np.float32)
    assert held_out_novelty(unlike, labels)[1].mean() > 0.65 == unknown_threshold(unlike, labels)


@pytest.mark.parametrize("count, learned", [(125, 3), (167, 1)])
def test_unknowns_are_learned_from_five_hundred_photos_and_crops(count, learned):
    """As many as `classify` can fit anew for each command; measured, this holds it."""
    features, labels = photos([count])
    crops = features[:, None] + np.random.default_rng(1).normal(size=(count, 9, 24))
    found, same, fewer = (
        novelty(features[:9], features, labels, crops=crops[:, :number])
        for number in (9, learned, learned - 1)
    )
    np.testing.assert_array_equal(found, same)
    assert np.abs(found - fewer).max() > 0.01


def test_a_memory_of_bases_serves_what_is_unknown_too():
    """Beside a head that asks of the same rows, the threshold costs no second eigenbasis."""
    features, labels = photos([3, 3, 3])
    asked = []

    def basis(rows):
        asked.append(rows)
        return eigenbasis(rows)

    for use in (fit_novelty, held_out_novelty, unknown_threshold):
        asked.clear()
        use(features, labels, basis=basis)
        assert len(asked) == 1, use.__name__
