"""What the photos decide: the head, its options, and the temperature of its scores."""

import numpy as np
import pytest

from litecli.heads.choice import AUTO_HEADS, choose_head
from litecli.heads.confidence import best_temperature
from litecli.heads.heads import HEADS
from litecli.heads.labelled import eigenbasis, unit_rows
from litecli.heads.photo_counts import USUAL, count_correction_strength
from litecli.heads.ridge import LAMBDAS, USUAL_LAMBDA

from .small_features import photos


def collection(seed):
    """Few photos that suit one head or another, by seed."""
    rng = np.random.default_rng(seed)
    features, labels = photos(rng.integers(2, 9, size=2 + seed % 3), 6, 0.9, seed)
    if seed % 4 == 1:  # brightness says nothing: cosine
        features = features * rng.uniform(0.3, 3, size=(len(labels), 1))
    elif seed % 4 == 2:  # length says it all: euclidean
        features = unit_rows(features) * (1 + labels[:, None])
    elif seed % 4 == 3:  # one direction is loud in every object: ridge
        features = features + 8 * rng.normal(size=(len(labels), 1)) / np.sqrt(6)
    return features.astype(np.float32), labels, int(labels.max()) + 1


def likelihood(scores, labels, temperature, doubt=0.0):
    """Mean log-likelihood, photo by photo; a share `doubt` goes to the best other object."""
    values = []
    for row, label in zip(scores / temperature, labels, strict=True):
        logs = row - np.logaddexp.reduce(row)
        rival = np.delete(logs, label).max()
        share = doubt if np.isfinite(rival) else 0.0
        values.append((1 - share) * logs[label] + (share * rival if share else 0.0))
    return np.mean(values)


def test_choose_head_takes_the_best_by_object_then_by_likelihood():
    """Against a table of all heads, in sets where no two are equally good."""
    winners, by_likelihood = set(), 0
    for seed in (0, 1, 2, 3, 5, 7, 8, 9, 10, 11, 13, 16):
        features, labels, num_classes = collection(seed)
        table = {}
        for name in AUTO_HEADS:
            scores = HEADS[name].leave_one_out(features, labels, num_classes).astype(float)
            right = [scores[labels == c].argmax(1) == c for c in range(num_classes)]
            accuracy = np.mean([own.mean() for own in right])
            temperatures = np.std(scores) * np.geomspace(1e-3, 1e3, 121)
            table[accuracy, max(likelihood(scores, labels, t) for t in temperatures)] = name
        assert choose_head(features, labels, num_classes)[0].name == table[max(table)], seed
        winners.add(table[max(table)])
        by_likelihood += sum(accuracy == max(table)[0] for accuracy, _ in table) > 1
    assert winners == set(AUTO_HEADS) and by_likelihood


def test_ridge_where_nothing_tells_the_heads_apart():
    features, labels = photos([4, 5, 6], dim=24, noise=0.01)  # each head is right throughout
    assert choose_head(features, labels, 3)[0].name == "ridge"
    assert choose_head(features[:4], labels[:4], 1)[0].name == "ridge"
    features, labels, num_classes = collection(8)
    assert choose_head(features, labels, num_classes)[0].name != "ridge"
    # Each object is one burst, or one photo: nothing can be left out.
    assert choose_head(features, labels, num_classes, groups=labels)[0].name == "ridge"
    first = np.unique(labels, return_index=True)[1]
    assert choose_head(features[first], labels[first], num_classes)[0].name == "ridge"


@pytest.mark.parametrize("name", HEADS)
def test_a_burst_decides_no_options(name):
    """Groups reach every choice: where each object is one burst, the usual values are left."""
    features, labels = photos([1, 6, 6, 6], dim=32, noise=2.0, seed=2 if name == "ridge" else 1)
    head = HEADS[name]
    lam = USUAL_LAMBDA if name == "ridge" else 0.0
    assert head.options(features, labels, 4, groups=labels) == {"strength": USUAL, "lam": lam}
    free = head.options(features, labels, 4)
    assert free["strength"] != USUAL and (free["lam"] != lam) == (name == "ridge")
    for found, expected, other in (
        (
            head.fit(features, labels, 4, groups=labels),
            head.fit(features, labels, 4, strength=USUAL, lam=lam),
            head.fit(features, labels, 4),
        ),
        (
            {"scores": head.leave_one_out(features, labels, 4, groups=labels)},
            {
                "scores": head.leave_one_out(
                    features, labels, 4, strength=USUAL, lam=lam, groups=labels
                )
            },
            {"scores": head.leave_one_out(features, labels, 4, **free, groups=labels)},
        ),
    ):
        assert all(np.array_equal(found[key], expected[key]) for key in expected)
        assert not all(np.array_equal(found[key], other[key]) for key in expected)


def test_the_strength_is_chosen_for_the_lam_that_is_given():
    features, labels = photos([1, 6, 6], dim=24, noise=1.5)
    head = HEADS["ridge"]
    strengths = [head.options(features, labels, 3, lam=lam)["strength"] for lam in LAMBDAS]
    assert strengths == [
        count_correction_strength(head, features, labels, 3, lam=lam) for lam in LAMBDAS
    ]
    assert strengths[0] > strengths[-1]  # scores of a strong penalty are small


@pytest.mark.parametrize("doubt", [0.0, 0.1])
def test_best_temperature_is_the_likeliest(doubt):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 200)
    scores = np.eye(4)[labels] + 0.8 * rng.normal(size=(200, 4))
    scores[:20][rng.random((20, 4)) < 0.5] = -np.inf  # objects without another photo
    scores[0] = -np.inf  # nor has this one a rival
    scores[np.arange(20), labels[:20]] = 0.3
    best, value = best_temperature(scores, labels, doubt)
    assert value == pytest.approx(likelihood(scores, labels, best, doubt))
    for other in (best * 1.02, best / 1.02):
        assert likelihood(scores, labels, best, doubt) > likelihood(scores, labels, other, doubt)
    for factor in (1e-6, 7, 1e6):
        assert best_temperature(scores * factor, labels, doubt) == (
            pytest.approx(best * factor),
            pytest.approx(value),
        )


def test_scores_that_say_little_get_a_high_temperature():
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 4, 400)
    scores = 0.2 * np.eye(4)[labels] + rng.normal(size=(400, 4))
    best, _ = best_temperature(scores, labels)
    assert 3 < best < 50
    for other in (best * 1.05, best / 1.05):
        assert likelihood(scores, labels, best) > likelihood(scores, labels, other)


def test_two_thousand_photos_settle_the_temperature():
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 3, 4001)
    scores = np.eye(3)[labels] + rng.normal(size=(4001, 3))
    assert best_temperature(scores, labels) == best_temperature(scores[::3], labels[::3])
    few = best_temperature(scores[:2000], labels[:2000])
    assert few[1] == pytest.approx(likelihood(scores[:2000], labels[:2000], few[0]))


def bursts_with_crops(seed):
    """Features, labels, bursts of two photos, and crops that show the object better."""
    labels = np.repeat(np.arange(4), [2, 4, 6, 8])
    rng = np.random.default_rng(seed)
    bursts = np.arange(20) // 2
    objects = 1 + rng.normal(size=(4, 10))[labels]
    loud = 3 * rng.normal(size=(10, 1))[bursts] / np.sqrt(10)  # in every object alike
    features = objects + loud + rng.normal(size=(10, 10))[bursts] + rng.normal(size=(20, 10))
    crops = objects[:, None] + loud[:, None] + 0.7 * rng.normal(size=(20, 3, 10))
    return features.astype(np.float32), labels, bursts, crops.astype(np.float32)


def test_bursts_and_crops_reach_the_choice_of_the_head_and_its_options():
    sways = set()
    for seed in range(12):
        features, labels, groups, crops = bursts_with_crops(seed)
        ways = {
            "": {"groups": groups, "crops": crops},
            "groups": {"groups": None, "crops": crops},
            "crops": {"groups": groups, "crops": None},
        }
        head, options = choose_head(features, labels, 4, **ways[""])
        assert options == head.options(features, labels, 4, **ways[""])
        accuracies = {}
        for name in AUTO_HEADS:
            own = HEADS[name].options(features, labels, 4, **ways[""])
            scores = HEADS[name].leave_one_out(features, labels, 4, **ways[""], **own)
            right = scores.argmax(1) == labels
            accuracies[name] = np.mean([right[labels == c].mean() for c in range(4)])
        assert accuracies[head.name] == max(accuracies.values()), seed
        for way in ("groups", "crops"):
            other = choose_head(features, labels, 4, **ways[way])
            sways |= {(way, "head")} if other[0] != head else set()
            other = head.options(features, labels, 4, **ways[way])
            sways |= {(way, "options")} if other != options else set()
    assert sways == {(way, what) for way in ("groups", "crops") for what in ("head", "options")}


def test_the_choice_asks_for_no_eigenbasis_twice():
    """Options that are found once are used, and a memory of bases serves all of the choice."""
    features, labels = photos([3, 3, 3])
    asked = []

    def basis(rows):
        asked.append(rows)
        return eigenbasis(rows)

    HEADS["ridge"].options(features, labels, 3, basis=basis)
    HEADS["ridge"].leave_one_out(features, labels, 3, strength=0.0, lam=0.1, basis=basis)
    alone = len(asked)
    choose_head(features, labels, 3, basis=basis)
    assert len(asked) == 2 * alone > 0
