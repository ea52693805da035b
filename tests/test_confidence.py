"""Temperature, probabilities, novelty and the unknown threshold."""

import subprocess
import sys

import numpy as np
import pytest

from litecli.heads import confidence
from litecli.heads.confidence import (
    best_temperature,
    fit_novelty,
    fit_temperature,
    held_out_novelty,
    novelty,
    novelty_of,
    probabilities,
    unknown_threshold,
)
from litecli.heads.heads import HEADS


def world(counts, asked=20, dim=64, noise=1.6, seed=0):
    """Known photos and labels, new photos of them, and photos of eight other objects."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(counts)), counts)
    centres, others = rng.normal(size=(len(counts), dim)), rng.normal(size=(8, dim))

    def shots(middle):
        return (1 + middle + noise * 0.3 * rng.normal(size=middle.shape)).astype(np.float32)

    new_labels = np.repeat(np.arange(len(counts)), asked)
    strangers = shots(others[np.repeat(np.arange(8), asked)])
    return shots(centres[labels]), labels, shots(centres[new_labels]), new_labels, strangers


def test_probabilities_sum_to_one_and_keep_the_order():
    scores = np.array([[0.1, 0.9, 0.4], [-1e6, 0.0, 1e6]], dtype=np.float32)
    shares = probabilities(scores, 0.01)
    np.testing.assert_allclose(shares.sum(1), 1)
    assert (shares.argsort(1) == scores.argsort(1)).all()
    np.testing.assert_allclose(probabilities(scores[:1], 1e9), 1 / 3, atol=1e-6)


def test_temperature_of_plenty_of_photos_is_the_likeliest():
    rng = np.random.default_rng(1)
    labels = np.repeat(np.arange(4), 200)
    scores = np.eye(4)[labels] + 0.7 * rng.normal(size=(800, 4))
    assert fit_temperature(scores, labels) == pytest.approx(
        best_temperature(scores, labels)[0], rel=0.03
    )
    assert fit_temperature(scores * 9, labels) == pytest.approx(9 * fit_temperature(scores, labels))


def test_few_faultless_photos_do_not_make_certainty():
    few = np.array([0, 0, 1, 1])
    scores = np.where(np.eye(2, dtype=bool)[few], 1.0, 0.0)
    sure = probabilities(scores, fit_temperature(scores, few)).max()
    many = np.repeat([0, 1], 50)
    scores = np.where(np.eye(2, dtype=bool)[many], 1.0, 0.0)
    surer = probabilities(scores, fit_temperature(scores, many)).max()
    assert 0.8 < sure < 0.99 < surer < 1


@pytest.mark.parametrize("name", tuple(HEADS))
@pytest.mark.parametrize("counts", [[1, 1], [1, 1, 1, 1, 1], [1], [1, 4, 4], [2, 2]])
def test_any_counts_give_a_usable_temperature(name, counts):
    features, labels, new, new_labels, _ = world(counts)
    head = HEADS[name]
    options = head.options(features, labels, len(counts))
    loo = head.leave_one_out(features, labels, len(counts), **options)
    temperature = fit_temperature(loo, labels)
    scores = head.score(head.fit(features, labels, len(counts), **options), new)
    shares = probabilities(scores, temperature)
    assert temperature > 0
    right = shares[np.arange(len(new)), new_labels].mean()
    assert right > 1 / len(counts) or counts == [1]


@pytest.mark.parametrize("dim", [5, 40])
@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("number", [0, 2, 9])
def test_held_out_novelty_equals_new_fits(dim, grouped, number, monkeypatch):
    labels = np.array([0, 0, 0, 1, 1, 2, 3, 3, 3, 3, 0, 1])
    groups = np.array([0, 0, 1, 1, 2, 3, 4, 4, 5, 6, 7, 8]) if grouped else np.arange(12)
    rng = np.random.default_rng(0)
    features = rng.normal(size=(12, dim)) + 1
    crops = features[:, None] + rng.normal(size=(12, number, dim)) if number else None
    own, stranger = held_out_novelty(features, labels, groups, crops=crops)
    lam = confidence.USUAL_LAMBDA
    for photo in range(12):
        rest = groups != groups[photo]
        left, renumbered = np.unique(labels[rest], return_inverse=True)
        monkeypatch.setattr(confidence, "USUAL_LAMBDA", lam * rest.sum() / len(left) / 3)
        kept = None if crops is None else crops[rest]
        photos = features[photo : photo + 1], features[rest], renumbered
        alone = novelty(*photos, crops=kept)[0]
        met, other = (own, stranger) if labels[photo] in left else (stranger, own)
        assert met[photo] == pytest.approx(alone, abs=1e-9)
        assert np.isnan(other[photo])


def test_novelty_tells_strangers_from_the_objects():
    features, labels, new, _, strangers = world([5] * 5)
    known, unknown = novelty(new, features, labels), novelty(strangers, features, labels)
    assert np.mean(known[:, None] < unknown[None, :]) > 0.95  # AUROC


@pytest.mark.parametrize("number", [0, 4, 11])
def test_novelty_is_that_of_a_gaussian_process(number):
    features, labels, new, _, _ = world([3, 1, 4])
    noise = np.random.default_rng(3).normal(size=(8, number, features.shape[1]))
    crops = (2 * features[:, None] + noise).astype(np.float32)  # their lengths are not learned
    known, asked, parts = (
        rows / np.linalg.norm(rows, axis=-1, keepdims=True) for rows in (features, new, crops)
    )
    # A photo's crops are photos of its object; together with it they weigh as much as one.
    rows = np.concatenate([known[:, None], parts], axis=1).reshape(-1, features.shape[1])
    of = np.repeat(labels, number + 1)
    penalty = confidence.USUAL_LAMBDA * (number + 1) * np.array([3, 1, 4])[of] * 3 / 8
    inverse = np.linalg.inv((rows @ rows.T + np.diag(penalty)).astype(np.float64))
    near = asked.astype(np.float64) @ rows.T
    means = [known[labels == c].mean(0) for c in range(3)]
    squares = [np.sum((known[labels == c] - means[c]) ** 2) for c in range(3)]
    mean = near @ inverse @ np.eye(3)[of] + sum(squares) / 5 / np.array([3, 1, 4])
    variance = 1 - np.sum((near @ inverse) * near, axis=1)
    np.testing.assert_allclose(
        novelty(new, features, labels, crops=crops if number else None),
        confidence.VARIANCE_WEIGHT * variance - mean.max(1),
        atol=1e-5,
    )


def test_novelty_of_one_photo_does_not_depend_on_the_batch():
    features, labels, new, _, _ = world([3, 3, 3])
    params = fit_novelty(features, labels)
    rows = np.concatenate([novelty_of(params, new[i : i + 1]) for i in range(len(new))])
    np.testing.assert_allclose(novelty_of(params, new), rows, atol=1e-12)
    np.testing.assert_array_equal(novelty(new, features, labels), novelty(new, features, labels))


@pytest.mark.parametrize("counts", [[2] * 5, [3] * 5, [5] * 5, [1, 6, 6, 6, 6], [5] * 2, [6]])
def test_threshold_keeps_the_objects_own_photos(counts):
    kept, accepted = [], []
    for seed in range(10):
        features, labels, new, _, strangers = world(counts, seed=seed)
        threshold = unknown_threshold(features, labels)
        kept.append(np.mean(novelty(new, features, labels) <= threshold))
        accepted.append(np.mean(novelty(strangers, features, labels) <= threshold))
    assert np.mean(kept) > 0.88
    assert np.mean(accepted) < 0.4


def test_one_photo_of_each_object_still_has_a_threshold():
    features, labels, new, _, _ = world([1] * 5, noise=0.5)
    threshold = unknown_threshold(features, labels)
    assert threshold <= confidence.ONE_PHOTO
    assert np.mean(novelty(new, features, labels) <= threshold) > 0.8
    assert unknown_threshold(features[:1], labels[:1]) == confidence.ONE_PHOTO
    # Objects without anything in common: a poor photo of one is still known, another object is not.
    features, labels, new, _, strangers = world([1] * 5, noise=2.3)
    threshold = unknown_threshold(features - 1, labels)
    assert np.mean(novelty(new - 1, features - 1, labels) <= threshold) > 0.9
    assert np.mean(novelty(strangers - 1, features - 1, labels) <= threshold) < 0.05


def test_one_photo_of_each_object_lets_few_strangers_pass():
    features, labels, alike, _, strangers = world([1] * 5, noise=2.0)
    for count in (1, 5):  # of one object too, which has no other to be compared with
        known, own = features[:count], labels[:count]
        free, strict = (unknown_threshold(known, own, strangers=s) for s in (None, alike))
        passed = np.mean(novelty(alike, known, own) <= strict)
        assert strict < free and passed == pytest.approx(confidence.STRANGERS_KNOWN, abs=0.02)
        # Never laxer for it: things unlike anything do not widen what is known.
        assert unknown_threshold(known, own, strangers=-strangers) == free
    many, labels, alike, *_ = world([3] * 5)
    assert unknown_threshold(many, labels, strangers=alike) == unknown_threshold(many, labels)


def test_a_burst_is_one_view():
    features, labels, _, _, _ = world([3, 3, 3])
    burst = features[[0, 0, 0, 3, 3, 3, 6, 6, 6]] + 1e-4 * features
    flattered = unknown_threshold(burst, labels)
    honest = unknown_threshold(burst, labels, groups=labels)
    assert honest > flattered + 0.3  # twins left in make every photo look well known


def test_a_photo_of_the_support_set_is_known():
    features, labels, _, _, _ = world([4, 4])
    assert (novelty(features, features, labels) <= unknown_threshold(features, labels)).all()


def test_no_torch():
    code = "import sys, litecli.heads.confidence; raise SystemExit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
