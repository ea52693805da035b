"""The gradient of the Mahalanobis head: that of the dense formula, equal eigenvalues included."""

import pytest
import torch
from torch import Tensor

from litecli.heads.labelled import eigenbasis
from litecli.heads.mahalanobis_gradient import in_double

from .small_features import COUNTS, dense, fitted, task
from .small_features import MAHALANOBIS as HEAD


def test_float64_is_left_to_the_processor_where_there_is_none() -> None:
    """As on Apple's mps, which is only described here: nothing of it can run."""

    class OnMps:
        device = torch.device("mps")

        def cpu(self) -> Tensor:
            return torch.ones(2)

    assert torch.equal(in_double(OnMps()), torch.ones(2, dtype=torch.float64))  # type: ignore[arg-type]
    assert in_double(torch.ones(2)).dtype == torch.float64


@pytest.mark.parametrize("counts", COUNTS.values(), ids=COUNTS.keys())
@pytest.mark.parametrize("dim", [5, 150])
def test_the_gradient_equals_the_dense_one(counts, dim):
    support, labels, queries = task(counts, dim)
    weight = torch.randn(len(queries), len(counts), generator=torch.Generator().manual_seed(1))
    gradients = []
    for score in (dense, lambda s, t, q: HEAD.score(fitted(s, t), q)):
        leaves = [support.clone().requires_grad_(), queries.clone().requires_grad_()]
        (score(leaves[0], labels, leaves[1]) * weight).sum().backward()
        gradients.append([leaf.grad for leaf in leaves])
    for found, expected in zip(gradients[1], gradients[0], strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("counts", [[50] * 5, [10, 40] * 5])
def test_the_gradient_in_float32_is_close(counts):
    """Also along directions of small eigenvalues, which the inner products hardly show."""
    support, labels, queries = task(counts, 260)
    weight = torch.randn(len(queries), len(counts), generator=torch.Generator().manual_seed(1))
    gradients = []
    for dtype in (torch.float32, torch.float64):
        leaf = support.to(dtype).requires_grad_()
        (HEAD.score(fitted(leaf, labels), queries.to(dtype)) * weight).sum().backward()
        assert leaf.grad is not None
        gradients.append(leaf.grad.double())
    assert (gradients[0] - gradients[1]).norm() < 6e-6 * gradients[1].norm()


@pytest.mark.parametrize("dim", [3, 12])
def test_equal_eigenvalues_have_a_gradient(dim):
    # The corners of a cross: every eigenvalue of their scatter comes twice or more.
    support = torch.cat([torch.eye(dim), -torch.eye(dim)])[: dim + 3].double()
    labels = torch.arange(len(support)) % 2
    values = eigenbasis(support - support.mean(0))[0]
    assert (values.diff() < 1e-12).any()
    queries = torch.ones(2, dim, dtype=torch.float64)
    leaves = [support.clone().requires_grad_() for _ in range(2)]
    HEAD.score(fitted(leaves[0], labels), queries).sum().backward()
    dense(leaves[1], labels, queries).sum().backward()
    assert leaves[0].grad is not None and leaves[1].grad is not None
    torch.testing.assert_close(leaves[0].grad, leaves[1].grad, rtol=1e-10, atol=1e-10)
    assert torch.autograd.gradcheck(
        lambda x: HEAD.score(fitted(x, labels), queries), support.requires_grad_()
    )
