"""Bias and spread of a random gradient, from draws that are not kept.

The distance of the draws' mean from the exact gradient is the bias, the distance of the draws from
their mean the spread. The mean of a few draws is off by chance too: `noise` says how far, and a
bias that chance explains is not to be taken for one.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

SEEN = 3.0  # standard errors: where a bias begins to be one
ROUNDING = 1e-4  # of float32, relative; a smaller bias is none


@dataclass(frozen=True)
class Row:
    """One gradient at one H. Lengths are relative to that of the exact gradient, and root mean
    squares over the tasks; the cosine is a mean.
    """

    gradient: str
    h: int  # photos that go back
    part: str  # of the parameters
    bias: float  # |mean of the draws - exact|
    noise: float  # what `bias` would be by chance alone: spread / sqrt(draws)
    spread: float  # root mean square of |draw - mean of the draws|
    cosine: float  # between a draw and exact
    evidence: float  # standard errors by which the draws' errors agree with each other
    most_evidence: float  # that so many draws can give; infinite of a gradient without chance

    @property
    def biased(self) -> bool:
        """Whether the bias is more than chance and rounding."""
        return self.bias > ROUNDING and (math.isinf(self.most_evidence) or self.evidence > SEEN)

    @property
    def decided(self) -> bool:
        """Whether there were draws enough to see any bias."""
        return self.most_evidence > SEEN


class Moments:
    """Mean and spread of gradients [P] about the exact one, without keeping them.

    The errors of an unbiased gradient's draws point every way: the product of each with the sum
    of those before it is 0 on average, whatever came before. The sum of these products over the
    root of the sum of their squares is then about normal, whatever the shape of the noise.
    """

    def __init__(self, exact: Tensor) -> None:
        self.exact, self.length = exact, max(length(exact), 1e-30)
        self.sum = torch.zeros_like(exact)
        self.squares = self.cosines = self.products = self.squared_products = 0.0
        self.draws = 0

    def add(self, gradient: Tensor) -> None:
        """Count one draw."""
        error = gradient - self.exact
        product = float((error * self.sum).sum()) / self.length**2
        self.products += product
        self.squared_products += product**2
        self.sum += error
        self.squares += length(error) ** 2
        # A gradient of nothing points nowhere: cosine 0.
        inner = float((gradient * self.exact).sum())
        self.cosines += inner / max(length(gradient) * self.length, 1e-30)
        self.draws += 1

    def row(self, gradient: str, h: int, part: str) -> Row:
        """What the draws say."""
        draws = self.draws
        bias = length(self.sum) / draws
        about_the_mean = max(0.0, self.squares - draws * bias**2)
        spread = math.sqrt(about_the_mean / max(1, draws - 1)) / self.length
        noise = spread / math.sqrt(draws)
        evidence = self.products / max(math.sqrt(self.squared_products), 1e-30)
        cosine = self.cosines / draws
        most = math.sqrt(draws - 1) if draws > 1 else math.inf  # by Cauchy and Schwarz
        return Row(gradient, h, part, bias / self.length, noise, spread, cosine, evidence, most)


def over_tasks(rows: Sequence[Row]) -> Row:
    """One row for the same gradient and H in several tasks."""

    def rms(values: list[float]) -> float:
        return math.sqrt(sum(v * v for v in values) / len(values))

    return replace(
        rows[0],
        h=max(row.h for row in rows),
        bias=rms([row.bias for row in rows]),
        noise=rms([row.noise for row in rows]),
        spread=rms([row.spread for row in rows]),
        cosine=sum(row.cosine for row in rows) / len(rows),
        evidence=sum(row.evidence for row in rows) / math.sqrt(len(rows)),
        most_evidence=sum(row.most_evidence for row in rows) / math.sqrt(len(rows)),
    )


def length(vector: Tensor) -> float:
    """Euclidean length."""
    # Summed in pairs: float32's dot product and norm are off in the third digit at 2 million.
    return math.sqrt(float((vector * vector).sum()))
