"""Heads against slow loops, numpy against torch, gradients, and odd sizes."""

from typing import Any

import numpy as np
import pytest
import torch

from litecli.heads.heads import HEADS
from litecli.heads.labelled import Eigenbases, eigenbasis, held_out_batches

from .small_features import NAMES, photos

LABELS = np.array([0, 0, 0, 1, 1, 2, 3, 3, 3, 3, 0, 1])  # class 2 has one photo
GROUPS = np.array([0, 0, 1, 1, 2, 3, 4, 4, 5, 6, 7, 8])  # group 1 spans two classes
OPTIONS: Any = {"strength": 0.7, "lam": 0.3}


def refitted(head, features, labels, groups, num_classes):
    """Leave-one-out by brute force: as many fits as photos."""
    rows = []
    for photo in range(len(labels)):
        rest = groups != groups[photo]
        left, renumbered = np.unique(labels[rest], return_inverse=True)
        mean_count = len(labels) / num_classes
        lam = OPTIONS["lam"] * (rest.sum() / len(left)) / mean_count
        params = head.fit(
            features[rest], renumbered, len(left), strength=OPTIONS["strength"], lam=lam
        )
        row = np.full(num_classes, -np.inf)
        row[left] = head.score(params, features[photo : photo + 1])[0]
        rows.append(row)
    return np.stack(rows)


def test_a_head_is_found_by_its_name():
    assert [head.name for head in HEADS.values()] == list(HEADS)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dim", [5, 40])  # fewer and more than the 12 photos
@pytest.mark.parametrize("grouped", [False, True])
def test_leave_one_out_equals_new_fits(name, dim, grouped):
    features = np.random.default_rng(1).normal(size=(12, dim)) + 1
    groups = GROUPS if grouped else np.arange(12)
    closed = HEADS[name].leave_one_out(
        features, LABELS, 4, groups=groups if grouped else None, **OPTIONS
    )
    np.testing.assert_allclose(
        closed, refitted(HEADS[name], features, LABELS, groups, 4), atol=1e-9
    )
    assert closed[5, 2] == -np.inf  # the only photo of class 2
    assert np.isfinite(np.delete(closed, 5, axis=0)).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_class_whose_photos_are_one_group(name):
    features, labels = photos([2, 3, 3])
    groups = np.array([0, 0, 1, 2, 3, 4, 5, 6])
    scores = HEADS[name].leave_one_out(features, labels, 3, groups=groups, **OPTIONS)
    assert np.isneginf(scores[:2, 0]).all()
    assert np.isfinite(scores[2:]).all()


def test_held_out_batches_hold_every_photo_once():
    batches = held_out_batches(LABELS, GROUPS)
    held = np.concatenate([batch.members.ravel() for batch in batches])
    assert sorted(held) == list(range(12))
    for batch in batches:
        for label, columns in batch.columns():
            assert (LABELS[batch.members[:, columns]] == label).all()
        assert (np.ptp(GROUPS[batch.members], axis=1) == 0).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dim", [5, 40])
def test_torch_equals_numpy(name, dim):
    features = np.random.default_rng(2).normal(size=(12, dim)) + 1
    queries = np.random.default_rng(3).normal(size=(7, dim)) + 1
    head = HEADS[name]
    there, labels = torch.from_numpy(features), torch.from_numpy(LABELS)
    params = head.fit(features, LABELS, 4, **OPTIONS)
    other = head.fit(there, labels, 4, **OPTIONS)
    np.testing.assert_allclose(
        head.score(other, torch.from_numpy(queries)), head.score(params, queries), atol=1e-10
    )
    np.testing.assert_allclose(
        head.leave_one_out(there, labels, 4, groups=torch.from_numpy(GROUPS), **OPTIONS),
        head.leave_one_out(features, LABELS, 4, groups=GROUPS, **OPTIONS),
        atol=1e-9,
    )
    assert head.options(there, labels, 4) == head.options(features, LABELS, 4)


def test_scores_are_cosines_and_squared_distances():
    """Class by class and photo by photo, by the definitions."""
    features, labels = photos([2, 3, 4])
    queries, _ = photos([2, 2], seed=7)
    for name, unit_length in (("cosine", True), ("euclidean", False)):
        head = HEADS[name]
        scores = head.score(head.fit(features, labels, 3, strength=0.0), queries)
        for photo, row in zip(queries, scores, strict=True):
            for label in range(3):
                own = features[labels == label]
                if unit_length:
                    mean = np.mean([x / np.linalg.norm(x) for x in own], axis=0)
                    value = photo @ mean / np.linalg.norm(photo) / np.linalg.norm(mean)
                else:
                    value = -(np.linalg.norm(photo - own.mean(0)) ** 2)
                assert row[label] == pytest.approx(value, rel=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_leave_one_out_is_computed_in_float64_and_answered_in_the_photos_own(name):
    features = torch.from_numpy(photos([2, 3, 4])[0])
    labels = torch.from_numpy(photos([2, 3, 4])[1])
    exact = HEADS[name].leave_one_out(features.double(), labels, 3, **OPTIONS)
    scores = HEADS[name].leave_one_out(features, labels, 3, **OPTIONS)
    assert scores.dtype == torch.float32 and torch.equal(scores, exact.float())
    other = HEADS[name].leave_one_out(features.numpy(), labels.numpy(), 3, **OPTIONS)
    assert other.dtype == np.float32


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dim", [3, 9])  # primal and dual
def test_gradients_flow_through_fit_and_score(name, dim):
    generator = torch.Generator().manual_seed(0)
    support = torch.randn(6, dim, generator=generator, dtype=torch.float64, requires_grad=True)
    queries = torch.randn(3, dim, generator=generator, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 0, 0, 1, 1, 2])
    head = HEADS[name]
    # Training corrects no photo counts; the Mahalanobis correction has no gradient.
    options = OPTIONS | {"strength": 0.0} if name == "mahalanobis" else OPTIONS

    def scores(support, queries):
        return head.score(head.fit(support, labels, 3, **options), queries)

    assert torch.autograd.gradcheck(scores, (support, queries))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("num_classes", [1, 2, 6, 60])
def test_any_number_of_classes(name, num_classes):
    features, labels = photos([3] * num_classes, dim=64, noise=0.2)
    head = HEADS[name]
    params = head.fit(features, labels, num_classes)
    assert params["weights"].dtype == params["offsets"].dtype == np.float32
    scores = head.score(params, features)
    assert scores.shape == (len(labels), num_classes)
    assert (scores.argmax(1) == labels).all()
    checked = head.leave_one_out(features, labels, num_classes)
    assert (checked.argmax(1) == labels).mean() > 0.95


@pytest.mark.parametrize("name", NAMES)
def test_one_photo_of_each_object(name):
    features, labels = photos([1] * 5, noise=0.0)
    params = HEADS[name].fit(features, labels, 5)
    assert (HEADS[name].score(params, features).argmax(1) == labels).all()
    held = HEADS[name].leave_one_out(features, labels, 5)
    assert np.isneginf(np.diagonal(held)).all()
    assert np.isfinite(held[~np.eye(5, dtype=bool)]).all()


@pytest.mark.parametrize("name", NAMES)
def test_one_photo_of_one_object(name):
    features, labels = photos([1])
    params = HEADS[name].fit(features, labels, 1)
    scores = HEADS[name].score(params, features)
    assert scores.shape == (1, 1) and np.isfinite(scores).all()
    assert np.isneginf(HEADS[name].leave_one_out(features, labels, 1)).all()


def test_a_gap_in_the_labels_is_refused():
    features, labels = photos([2, 2])
    with pytest.raises(AssertionError, match="without photos"):
        HEADS["cosine"].fit(features, labels * 2, 3)
    with pytest.raises(AssertionError, match="outside"):
        HEADS["cosine"].fit(features, labels, 1)


@pytest.mark.parametrize("name", NAMES)
def test_a_photo_scores_the_same_alone_and_in_a_batch(name):
    features, labels = photos([4, 4, 4], dim=256)
    queries, _ = photos([10, 10, 10], dim=256, seed=5)
    head = HEADS[name]
    params = head.fit(features, labels, 3)
    batch = head.score(params, queries)
    rows = np.concatenate([head.score(params, queries[i : i + 1]) for i in range(30)])
    again = np.concatenate([head.score(params, queries[i : i + 1]) for i in range(30)])
    np.testing.assert_array_equal(rows, again)
    np.testing.assert_allclose(batch, rows, rtol=1e-5, atol=1e-5)
    refit = head.fit(features, labels, 3)
    assert all(np.array_equal(params[key], refit[key]) for key in params)


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_the_photos_changes_nothing(name):
    features, labels = photos([1, 4, 2], dim=40)
    queries, _ = photos([2, 2, 2], dim=40, seed=5)
    order = np.random.default_rng(2).permutation(len(labels))
    head = HEADS[name]
    scores, again = (
        head.score(head.fit(features[rows], labels[rows], 3, **OPTIONS), queries)
        for rows in (np.arange(len(labels)), order)
    )
    np.testing.assert_allclose(again, scores, rtol=1e-4, atol=1e-5)


def test_a_thousand_objects():
    features, labels = photos([2] * 1000, dim=64, noise=0.1)
    for head in HEADS.values():
        scores = head.leave_one_out(features, labels, 1000, lam=0.1)
        assert scores.shape == (2000, 1000)
        assert (scores.argmax(1) == labels).mean() > 0.95


def test_a_memory_of_bases_tells_rows_of_one_shape_apart():
    basis = Eigenbases()
    one, other = photos([3, 3])[0], photos([3, 3], seed=1)[0]
    for rows in (one, other, one.astype(np.float64), one):
        for found, expected in zip(basis(rows), eigenbasis(rows), strict=True):
            np.testing.assert_array_equal(found, expected, strict=True)
    assert basis(one.copy())[0] is basis(one)[0]
