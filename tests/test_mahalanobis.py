"""The Mahalanobis head against the dense formula: values, odd counts, small files."""

import numpy as np
import pytest
import torch

from litecli.heads.labelled import held_out_batches, one_hot
from litecli.heads.mahalanobis import (
    BLOCK,
    TORCH_BLOCK,
    _inverse_of_lower,
    dense_is_sooner,
    mahalanobis_classes,
    mahalanobis_offsets,
    mahalanobis_scores,
)
from litecli.heads.mahalanobis_dense import dense_classes, dense_scores

from .small_features import COUNTS, dense, fitted, task
from .small_features import MAHALANOBIS as HEAD

# Photos on both sides of the switches of form, with 24 features
SWITCHES = {
    "few photos": ([1, 2, 3, 6], False),
    "enough": ([1, 2, 3, 7], True),
    "more than features, few classes": ([1, 2, 3] * 4 + [1, 2], True),
    "more than features, many classes": ([1, 2, 3] * 5, False),
    "as many of each, few classes": ([4] * 5, True),
    "as many of each, many classes": ([4] * 6, False),
}


@pytest.mark.parametrize("counts", COUNTS.values(), ids=COUNTS.keys())
@pytest.mark.parametrize("dim", [5, 150])  # fewer and more than the photos
def test_scores_equal_the_dense_formula(counts, dim):
    support, labels, queries = task(counts, dim)
    expected = dense(support, labels, queries)
    low_rank = HEAD.score(fitted(support, labels), queries)
    torch.testing.assert_close(low_rank, expected, rtol=1e-10, atol=1e-10)
    with_gradient = HEAD.score(fitted(support.requires_grad_(), labels), queries)
    torch.testing.assert_close(with_gradient, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("counts", COUNTS.values(), ids=COUNTS.keys())
@pytest.mark.parametrize("dim", [5, 150])
def test_float32_equals_the_dense_form(counts, dim):
    support, labels, queries = task(counts, dim, dtype=torch.float32)
    expected = dense(support.double(), labels, queries.double())
    for features in (support, support.clone().requires_grad_()):
        scores = HEAD.score(fitted(features, labels), queries)
        assert scores.dtype == torch.float32
        torch.testing.assert_close(scores.double(), expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize(("counts", "is_dense"), SWITCHES.values(), ids=SWITCHES.keys())
def test_both_forms_agree_where_one_takes_over(counts, is_dense):
    support, labels, queries = task(counts, 24)
    num_classes = len(counts)
    targets = one_hot(labels, num_classes, support)
    assert dense_is_sooner(support, targets) == is_dense
    assert ("factors" in fitted(support, labels)) == is_dense
    assert not dense_is_sooner(support.numpy(), targets.numpy())  # nor where a gradient is wanted:
    assert not dense_is_sooner(support.clone().requires_grad_(), targets)
    weight = torch.randn(len(queries), num_classes, generator=torch.Generator().manual_seed(1))
    found = []
    for classes, score in (
        (mahalanobis_classes, mahalanobis_scores),
        (dense_classes, dense_scores),
        (lambda photos, _: fitted(photos, labels), HEAD.score),
        (lambda photos, _: fitted(photos.clone().requires_grad_(), labels), HEAD.score),
    ):
        leaf = queries.clone().requires_grad_()
        params = classes(support, targets)
        scores = score({"offsets": torch.zeros(num_classes), **params}, leaf)
        (scores * weight).sum().backward()
        found.append((scores.detach(), leaf.grad))
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("counts", [counts for counts, _ in SWITCHES.values()], ids=SWITCHES.keys())
def test_leave_one_out_equals_new_fits_where_one_form_takes_over(counts):
    support, labels, _ = task(counts, 24)
    scores = HEAD.leave_one_out(support, labels, len(counts), strength=0.7, lam=0.0)
    for photo in range(len(labels)):
        rest = torch.arange(len(labels)) != photo
        left, renumbered = labels[rest].unique(return_inverse=True)
        params = HEAD.fit(support[rest], renumbered, len(left), strength=0.7, lam=0.0)
        expected = torch.full((len(counts),), -torch.inf, dtype=torch.float64)
        expected[left] = HEAD.score(params, support[photo : photo + 1])[0]
        torch.testing.assert_close(scores[photo], expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("counts", [[1, 17, 34, 50, 66, 83, 99], [50] * 7])
def test_float32_equals_the_dense_form_with_almost_as_many_photos_as_features(counts):
    """Then some eigenvalues are far smaller than the largest, and their directions inexact."""
    rng = np.random.default_rng(0)
    labels, centres = (
        torch.arange(7).repeat_interleave(torch.tensor(counts)),
        rng.normal(size=(7, 384)),
    )
    asked = torch.arange(7).repeat_interleave(5)
    support, queries = (
        torch.from_numpy(centres[which] + rng.normal(size=(len(which), 384))).float()
        for which in (labels, asked)
    )
    expected = dense(support.double(), labels, queries.double())
    for features in (support, support.clone().requires_grad_()):
        scores = HEAD.score(fitted(features, labels), queries)
        torch.testing.assert_close(scores.double(), expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("dim", [4, 60])
def test_leave_one_out_equals_new_fits_of_the_dense_form(dim):
    counts = [1, 2, 3, 6, 8]
    support, labels, _ = task(counts, dim, seed=2)
    groups = torch.tensor([0, 1, 1, 2, 3, 3, 4, 4, 4, 5, 5, 6, 7, 8, 9, 10, 11, 12, 12, 2])
    scores = HEAD.leave_one_out(support, labels, 5, strength=0.0, lam=0.0, groups=groups)
    for photo in range(len(labels)):
        rest = groups != groups[photo]
        left, renumbered = labels[rest].unique(return_inverse=True)
        expected = torch.full((5,), -torch.inf, dtype=torch.float64)
        expected[left] = dense(support[rest], renumbered, support[photo : photo + 1])[0]
        torch.testing.assert_close(scores[photo], expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(("kind", "block"), [(np.asarray, BLOCK), (torch.as_tensor, TORCH_BLOCK)])
@pytest.mark.parametrize("blocks", [0.5, 1, 2.5])
def test_a_triangular_matrix_is_inverted_by_blocks(kind, block, blocks):
    size = int(block * blocks)
    lower = np.tril(np.random.default_rng(0).standard_normal((size, size))) / size + np.eye(size)
    inverse = np.asarray(_inverse_of_lower(kind(lower)))
    np.testing.assert_allclose(inverse @ lower, np.eye(size), atol=1e-12)


def test_the_offset_is_the_excess_of_a_distance():
    """trace(B^-1 W) / n, by D x D matrices."""
    support, labels, _ = task([1, 3, 6], 8)
    rest = support - support.mean(0)
    whole = rest.T @ rest / (len(rest) - 1)
    means = torch.stack([support[labels == label].mean(0) for label in range(3)])
    within = (support - means[labels]).T @ (support - means[labels]) / (len(rest) - 3)
    expected = [
        torch.linalg.solve(torch.eye(8).double() + whole / (n + 1), within).trace() / n
        for n in (1, 3, 6)
    ]
    targets = one_hot(labels, 3, support)
    for features in (support, support.clone().requires_grad_()):
        offsets = mahalanobis_offsets(features, targets, fitted(features, labels))
        torch.testing.assert_close(offsets, torch.stack(expected))
        assert not offsets.requires_grad


def test_equal_counts_get_equal_offsets():
    support, labels, _ = task([4, 4, 4], 8)
    params = HEAD.fit(support, labels, 3, strength=1.0, lam=0.0)
    torch.testing.assert_close(params["offsets"], params["offsets"][:1].expand(3))


def test_a_profile_keeps_low_rank_factors_and_no_metric():
    """Ten objects of 20 photos: flat float32 arrays of about the photos' own size."""
    support, labels, queries = (
        array.numpy() for array in task([20] * 10, 1280, dtype=torch.float32)
    )
    params = HEAD.fit(support, labels, 10, strength=0.0, lam=0.0)
    assert all(array.dtype == np.float32 for array in params.values())
    assert sum(array.nbytes for array in params.values()) < 1.4 * support.nbytes
    again = {key: array.copy() for key, array in params.items()}
    np.testing.assert_array_equal(mahalanobis_scores(again, queries), HEAD.score(params, queries))


def test_gaps_in_the_labels_are_refused():
    support, labels, _ = task([2, 2], 5)
    with pytest.raises(AssertionError, match="without photos"):
        HEAD.fit(support, labels * 2, 3, strength=0.0, lam=0.0)


def test_all_photos_in_one_group_leave_no_distance():
    support, labels, _ = task([2, 3], 5)
    scores = HEAD.leave_one_out(
        support, labels, 2, strength=0.5, lam=0.0, groups=torch.zeros(5, dtype=torch.int64)
    )
    assert torch.isneginf(scores).all()
    assert len(held_out_batches(labels, torch.zeros(5))) == 1
