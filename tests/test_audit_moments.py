"""The moments of drawn gradients: those of all draws kept, and honest about chance."""

import numpy as np
import pytest
import torch

from litecli.audit.audit import ALL
from litecli.audit.moments import Moments, Row, over_tasks


def test_the_noise_is_the_bias_of_an_unbiased_gradient() -> None:
    """Root mean squares over many sets of draws, where each set shows some bias by chance."""
    generator = torch.Generator().manual_seed(0)
    exact = torch.randn(50, generator=generator)
    found = []
    for _ in range(400):
        moments = Moments(exact)
        for _ in range(10):
            moments.add(exact + torch.randn(50, generator=generator))
        found.append(moments.row("lite", 4, ALL))
    bias, noise = (np.sqrt(np.mean([getattr(r, n) ** 2 for r in found])) for n in ("bias", "noise"))
    assert bias == pytest.approx(noise, rel=0.03)
    # The evidence is that of a normal deviate, and all but never enough to speak of a bias.
    evidence = np.array([row.evidence for row in found])
    assert abs(evidence.mean()) < 0.15 and evidence.std() == pytest.approx(1, abs=0.1)
    assert sum(row.biased for row in found) <= 2


def test_two_draws_that_are_alike_prove_nothing() -> None:
    """Small tasks have few subsets: the spread of two draws may be 0 by chance."""
    exact, draw = torch.ones(10), torch.full((10,), 3.0)
    moments = Moments(exact)
    for _ in range(2):
        moments.add(draw)
    row = moments.row("lite", 1, ALL)
    assert row.bias == pytest.approx(2) and row.noise == 0
    assert not row.biased and not row.decided


@pytest.mark.parametrize(
    ("draws", "tasks", "enough"), [(10, 1, False), (11, 1, True), (6, 2, True)]
)
def test_whether_there_were_draws_enough_is_said(draws: int, tasks: int, enough: bool) -> None:
    """However large a bias, n draws of a task agree by at most the root of n - 1."""
    generator, exact, rows = torch.Generator().manual_seed(0), torch.ones(10), []
    for _ in range(tasks):
        moments = Moments(exact)
        for _ in range(draws):
            moments.add(3 * exact + 0.01 * torch.randn(10, generator=generator))
        rows.append(moments.row("lite", 1, ALL))
    row = over_tasks(rows)
    assert row.evidence <= row.most_evidence and row.decided == enough


def test_moments_are_those_of_the_draws_all_kept() -> None:
    generator = torch.Generator().manual_seed(1)
    exact = torch.randn(30, generator=generator, dtype=torch.float64)
    draws = 0.5 * exact + torch.randn(8, 30, generator=generator, dtype=torch.float64)
    moments = Moments(exact)
    for gradient in draws:
        moments.add(gradient)
    row, length = moments.row("lite", 4, ALL), exact.norm()
    assert row.bias == pytest.approx(float((draws.mean(0) - exact).norm() / length))
    spread = (draws.var(0).sum().sqrt() / length).item()
    assert row.spread == pytest.approx(spread) and row.noise == pytest.approx(spread / 8**0.5)
    cosines = torch.cosine_similarity(draws, exact[None])
    assert row.cosine == pytest.approx(float(cosines.mean()))
    errors = draws - exact
    products = [float(errors[k] @ errors[:k].sum(0)) for k in range(1, 8)]
    assert row.evidence == pytest.approx(sum(products) / np.linalg.norm(products))


def test_tasks_are_put_together_by_root_mean_squares() -> None:
    rows = [
        Row("lite", 4, ALL, 3.0, 0.3, 6.0, 0.4, 2.0, 5.0),
        Row("lite", 4, ALL, 4.0, 0.4, 8.0, 0.6, 4.0, 7.0),
    ]
    together, root = over_tasks(rows), 0.5**0.5
    lengths = (together.bias, together.noise, together.spread)
    assert lengths == pytest.approx((5 * root, 0.5 * root, 10 * root))
    assert together.cosine == pytest.approx(0.5)
    # Two normal deviates: their sum over sqrt(2) is one.
    assert together.evidence == pytest.approx(6 * root)
