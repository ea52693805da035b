"""The photo-count correction against a slow choice, photo by photo, and its variance by loops."""

from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from litecli.heads import photo_counts
from litecli.heads.labelled import held_out_batches
from litecli.heads.photo_counts import USUAL, count_correction_strength, held_out_offsets

STRENGTHS = [number / 8 for number in range(13)]
Split = tuple[list[int], list[int]]


@dataclass
class Recorder:
    """A head whose features are the photos' numbers: it tells which were kept and which tested."""

    labels: np.ndarray
    seed: int = 0
    splits: list[Split] = field(default_factory=list)
    given: set[tuple] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Scores at strength 0, a row a photo: an object's own photos are a little ahead."""
        own = 0.6 * np.eye(self.labels.max() + 1)[self.labels]
        self.plain = own + 0.5 * np.random.default_rng(self.seed).normal(size=own.shape)

    def fit(self, features, labels, num_classes, *, strength, lam, crops):
        kept = features[:, 0].tolist()
        assert labels.tolist() == self.labels[kept].tolist() and strength == 1.0
        assert crops is None or crops[:, 0].tolist() == kept
        self.given.add((num_classes, lam, crops is None))
        counts = np.bincount(labels, minlength=num_classes)
        return {"kept": features[:, 0], "offsets": 0.3 / counts}

    def score(self, params, queries):
        photos = queries[:, 0].tolist()
        self.splits.append((params["kept"].tolist(), photos))
        return self.plain[photos] + params["offsets"]


def shuffled(counts: list[int], seed: int = 0) -> np.ndarray:
    """Labels of so many photos of each object, in no order."""
    return np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))


def choose(head: Recorder, groups: np.ndarray | None = None, **options) -> float:
    numbers = np.arange(len(head.labels))[:, None]
    objects = int(head.labels.max()) + 1
    return count_correction_strength(head, numbers, head.labels, objects, groups=groups, **options)


def cuts(labels: np.ndarray) -> list[tuple[Split, list[int]]]:
    """What is kept and tested in each cut, by the rule, and the objects that are cut."""
    own = [np.flatnonzero(labels == label).tolist() for label in range(labels.max() + 1)]
    rarest = min(map(len, own))
    larger = [label for label, photos in enumerate(own) if len(photos) > rarest]
    folds = min(10, len(larger))
    found, tested = [], 0
    for number in range(folds * min(max(map(len, own)), max(1, 40 // folds))):
        turn, cut = number // folds, larger[number % folds :: folds]
        kept, test = [], []
        for label, photos in enumerate(own):
            by = turn % len(photos)
            turned = photos[by:] + photos[:by]
            left = rarest if label in cut else max(rarest, len(photos) - 1)
            kept, test = kept + turned[:left], test + turned[left:]
        found.append(((kept, test), cut))
        tested += len(test)
        if tested > 3000:
            break
    return found


def slow_choice(head: Recorder) -> float:
    """The strength whose mean accuracy over the cuts, less the caution, is the best."""
    gains = np.zeros(len(STRENGTHS))
    for (kept, test), cut in cuts(head.labels):
        offsets = 0.3 / np.bincount(head.labels[kept])
        for number, strength in enumerate(STRENGTHS):
            right: dict[int, list[bool]] = {}
            for photo in test:
                scores = head.plain[photo] + strength * offsets
                label = int(head.labels[photo])
                right.setdefault(label, []).append(int(scores.argmax()) == label)
            rare = [np.mean(right[label]) for label in right if label in cut]
            others = [np.mean(right[label]) for label in right if label not in cut]
            weight = np.sqrt(len(rare) / len(right))
            gain = weight * np.mean(rare) + ((1 - weight) * np.mean(others) if others else 0)
            gains[number] += gain
    gains = gains / len(cuts(head.labels)) - 0.1 * (np.array(STRENGTHS) - 1.125) ** 2
    return STRENGTHS[int(gains.argmax())]


@pytest.mark.parametrize(
    "counts",
    [
        *([1, 4], [2, 3, 5], [1, 1, 6, 2], [3, 9, 50], [1, 50], [1, *[3] * 11], [1, *[2] * 45]),
        *([2, *[900] * 4], [1, 3001], [1, 3002]),  # three thousand tests are enough
    ],
    ids=lambda counts: f"{counts[:4]}",
)
def test_every_larger_object_is_cut_in_its_turn(counts: list[int]) -> None:
    """As docstrings say: to the rarest's count, and of every other one photo is tested as well."""
    head = Recorder(shuffled(counts))
    choose(head)
    assert head.splits == [split for split, _ in cuts(head.labels)]
    assert head.given == {(len(counts), None, True)}


@pytest.mark.parametrize(
    "counts", [[1, 4, 6], [1, 8, 2], [2, 2, 3, 7, 7, 5], [1, *[3] * 12]], ids=str
)
def test_the_best_strength_on_the_cuts_is_chosen(counts: list[int]) -> None:
    found = set()
    for seed in range(8):
        head = Recorder(shuffled(counts, seed), seed)
        found.add(expected := slow_choice(head))
        assert choose(head) == expected
    assert len(found) > 2


def test_equal_counts_ask_for_no_fit() -> None:
    head = Recorder(shuffled([3, 3]))
    assert choose(head) == 0.0 and head.splits == []


def test_what_is_given_reaches_every_fit() -> None:
    head = Recorder(shuffled([1, 3, 4]))
    choose(head, lam=0.3, crops=np.arange(8)[:, None])
    assert head.given == {(3, 0.3, False)}


def test_the_twin_of_a_kept_photo_is_no_test() -> None:
    labels = np.array([0, 1, 1, 1, 1, 2, 2, 2])
    groups = np.array([7, 3, 3, 5, 6, 1, 1, 1])
    head = Recorder(labels)
    choose(head, groups)
    expected = []
    for (kept, test), _ in cuts(labels):
        fresh = [photo for photo in test if groups[photo] not in groups[kept]]
        expected += [(kept, fresh)] if fresh else []
    assert head.splits == expected and len(expected) < len(cuts(labels))
    assert choose(Recorder(labels), labels) == USUAL == 1.125  # nothing is left to test


def variance(features: np.ndarray, labels: np.ndarray) -> float:
    """Trace of the pooled covariance within the objects that there are."""
    objects = np.unique(labels)
    squares = [((own - own.mean(0)) ** 2).sum() for own in (features[labels == c] for c in objects)]
    return sum(squares) / max(1, len(labels) - len(objects))


@pytest.mark.parametrize("library", [np.asarray, torch.as_tensor])
@pytest.mark.parametrize(
    "groups", [None, [0, 0, 1, 1, 2, 3, 4, 4, 5], [0, 1, 1, 1, 1, 1, 1, 2, 2], [0] * 9]
)
def test_offsets_without_a_photos_group_are_those_of_a_new_fit(groups, library) -> None:
    labels = np.array([0, 0, 1, 2, 2, 2, 3, 3, 0])
    features = 0.1 * np.random.default_rng(4).normal(size=(9, 5)) + 3
    batches = held_out_batches(labels, None if groups is None else np.array(groups))
    groups = np.arange(9) if groups is None else np.array(groups)
    found = np.asarray(held_out_offsets(library(features), library(np.eye(4)[labels]), batches))
    for photo in range(9):
        rest = groups != groups[photo]
        for label in set(labels[rest].tolist()):
            expected = variance(features[rest], labels[rest]) / np.sum(labels[rest] == label)
            assert found[photo, label] == pytest.approx(expected, abs=1e-9)


def test_the_variance_of_one_photo_each_is_none() -> None:
    features, targets = np.random.default_rng(0).normal(size=(3, 4)), np.eye(3)
    assert photo_counts.spread(features, targets) == 0
    assert photo_counts.spread(features, np.eye(2)[[0, 1, 1]]) == pytest.approx(
        ((features[1] - features[2]) ** 2).sum() / 2
    )
    labels = np.array([0, 1, 1, 1])
    two = np.random.default_rng(1).normal(size=(4, 6))
    assert photo_counts.spread(two, np.eye(2)[labels]) == pytest.approx(variance(two, labels))
    found = photo_counts.mean_offsets(two, np.eye(2)[labels], {})
    np.testing.assert_allclose(found, variance(two, labels) / np.array([1, 3]))
