"""The photo-count correction of every head: no rare object is forgotten, equal counts need none."""

from dataclasses import replace

import numpy as np
import pytest

from litecli.heads.heads import HEADS
from litecli.heads.photo_counts import USUAL, count_correction_strength

from .small_features import NAMES, photos


@pytest.mark.parametrize("name", NAMES)
def test_no_correction_is_computed_where_none_is_asked_for(name):
    """Training's case: it would cost time in every task, and Mahalanobis' has no gradient."""

    def refuse(*_):
        raise AssertionError("computed")

    head = replace(HEADS[name], full_offsets=refuse, held_out_offsets=refuse)
    features, labels = photos([2, 3])
    params = head.fit(features, labels, 2, strength=0.0, lam=0.1)
    assert (params["offsets"] == 0).all()
    head.leave_one_out(features, labels, 2, strength=0.0, lam=0.1)
    with pytest.raises(AssertionError, match="computed"):
        head.fit(features, labels, 2, strength=0.1, lam=0.1)


@pytest.mark.parametrize("name", NAMES)
def test_equal_counts_need_no_correction(name):
    features, labels = photos([3, 3, 3])
    assert count_correction_strength(HEADS[name], features, labels, 3) == 0.0
    params = HEADS[name].fit(features, labels, 3)
    assert (params["offsets"] == 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_the_rare_object_is_not_forgotten(name):
    """One photo against ten: recall with the correction comes near that of the others."""
    rare_named, others_named = {}, {}  # by strength of the correction: recalls
    # The Mahalanobis metric forgets less, and needs less noise where dimensions are few.
    noise, gain = (1.5, 0.1) if name == "mahalanobis" else (2.2, 0.3)
    for seed in range(12):
        features, labels = photos([11, 20, 20, 20, 20], dim=64, noise=noise, seed=seed)
        known = np.concatenate([[0], *(np.flatnonzero(labels == c)[:10] for c in range(1, 5))])
        asked = np.setdiff1d(np.arange(len(labels)), known)
        head = HEADS[name]
        for strength in (0.0, None, USUAL):
            params = head.fit(features[known], labels[known], 5, strength=strength, lam=0.1)
            named = head.score(params, features[asked]).argmax(1)
            rare = labels[asked] == 0
            rare_named.setdefault(strength, []).append(np.mean(named[rare] == 0))
            right = named[~rare] == labels[asked][~rare]
            others_named.setdefault(strength, []).append(np.mean(right))
    assert np.mean(rare_named[None]) > np.mean(rare_named[0.0]) + gain
    assert np.mean(rare_named[None]) > 0.5
    assert np.mean(others_named[None]) > 0.75
    # Where photos cannot say how strong it should be, the rare object still does not take it all.
    assert np.mean(others_named[USUAL]) > 0.3


@pytest.mark.parametrize("name", ["cosine", "euclidean", "mahalanobis"])
def test_a_score_of_strength_one_does_not_depend_on_the_photo_count(name):
    """Two objects that look the same, one photo against ten: neither scores higher on average."""
    rng, labels, head = np.random.default_rng(0), np.repeat([0, 1], [1, 10]), HEADS[name]
    middle = np.eye(16)[0]
    higher = {0.0: [], 1.0: []}  # by strength: how much higher the one with one photo scores
    for _ in range(300):
        known, asked = (middle + 0.1 * rng.normal(size=(n, 16)) for n in (11, 20))
        for strength, differences in higher.items():
            params = head.fit(known, labels, 2, strength=strength)
            scores = head.score(params, asked)
            differences.append(np.mean(scores[:, 0] - scores[:, 1]))
    assert np.mean(higher[0.0]) < 0
    # Of the Mahalanobis distance, whose metrics differ as well, a quarter is left.
    assert abs(np.mean(higher[1.0])) < -0.3 * np.mean(higher[0.0])


def test_two_objects_where_no_cut_can_tell():
    features, labels = photos([1, 4])  # cut to one photo, the counts are equal: nothing to learn
    strength = count_correction_strength(HEADS["cosine"], features, labels, 2)
    assert strength == USUAL


def test_a_burst_does_not_test_itself():
    features, labels = photos([1, 10, 10, 10, 10], dim=64, noise=2.2)
    assert count_correction_strength(HEADS["cosine"], features, labels, 5) != USUAL
    # Each object is one burst: no photo is left to test another.
    assert count_correction_strength(HEADS["cosine"], features, labels, 5, groups=labels) == USUAL
