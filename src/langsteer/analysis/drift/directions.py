"""Directions that are means over sentences, their cosines, and how far random directions get.

A mean over n sentences differs from the mean over all sentences by noise. In a wide residual stream the noise of two
samples is nearly orthogonal, so it makes every mean longer and every cosine smaller. Here its expected squared
length, tr(Σ) / n, is taken off: for means a and b with noise α and β,

    ‖a‖² → ‖a‖² − α        cos(a, b) → a·b / √((‖a‖² − α) (‖b‖² − β))
"""

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from langsteer.extras import need

ROUNDING = 1e-5  # a mean below this share of the states' length is rounding, not movement
CLEAR = 3.0  # squared length over the noise's, from which a mean has a direction
FEWEST_TO_MATCH = 4  # languages: of three, no order is rarer than 1 in 6
EQUAL = 1e-6  # cosines that differ by less are the same: states are float32
_EXACT = 7  # languages up to which all orders are tried
_ORDERS = 10_000
_HELD = 20_000_000  # numbers of random spans held at a time


@dataclass(frozen=True, eq=False)
class Direction:
    """A mean over sentences.

    `mean`, float64 [hidden]; `noise`, the expected squared length of its sampling error; `drawn`,
    float32 [draws, hidden], the means of bootstrap samples, None where the vector is exact.
    """

    mean: Tensor
    noise: float = 0.0
    drawn: Tensor | None = None

    @classmethod
    def of(cls, lines: Tensor, weights: Tensor) -> "Direction":
        """The mean of `lines` [lines, hidden]; `weights` [draws, lines] are those of the samples."""
        lines = lines.double()
        noise = float(lines.var(0).sum()) / len(lines)
        return cls(lines.mean(0), noise, weights @ lines.float())

    @classmethod
    def exact(cls, vector: Tensor) -> "Direction":
        """A vector [hidden] that is what it is, not a mean."""
        return cls(vector.double())

    @property
    def squared(self) -> float:
        """Squared length without the noise; never below 0."""
        return max(0.0, float(self.mean @ self.mean) - self.noise)

    @property
    def length(self) -> float:
        return math.sqrt(self.squared)

    def clear(self, scale: float) -> bool:
        """Whether it has a direction, beside noise and the rounding of states of length `scale`."""
        squared = float(self.mean @ self.mean)
        return squared > (ROUNDING * scale) ** 2 and squared >= CLEAR * self.noise


@dataclass(frozen=True)
class Estimate:
    """A number and its 95% percentile bootstrap interval."""

    value: float
    low: float
    high: float


UNKNOWN = Estimate(math.nan, math.nan, math.nan)


def bootstrap_weights(lines: int, draws: int, generator: torch.Generator) -> Tensor:
    """Float32 [draws, lines]: how often each line is in a sample of as many, over their number."""
    drawn = torch.randint(lines, (draws, lines), generator=generator)
    weights = torch.zeros(draws, lines)
    return weights.scatter_add_(1, drawn, torch.ones(draws, lines)) / lines


def cosine(first: Direction, second: Direction) -> Estimate:
    """Cosine of two directions known through disjoint sentences, without their noise.

    Samples of a sample carry the noise twice, so theirs is taken off twice.
    """
    value = float(first.mean @ second.mean) / math.sqrt(first.squared * second.squared)
    samples = _inner(first, second) / (_squared(first) * _squared(second)).sqrt()
    return _estimate(min(1.0, max(-1.0, value)), samples.clamp(-1, 1))


def share_of(vector: Direction, along: Direction) -> Estimate:
    """How often `along` fits into `vector`: vector·along / ‖along‖², without noise."""
    value = float(vector.mean @ along.mean) / along.squared
    return _estimate(value, _inner(vector, along) / _squared(along))


def inner(first: Tensor, second: Tensor) -> float:
    """Inner product of the means of paired `first` and `second` [lines, hidden], without their noise.

    The mean over pairs of different lines, so that what a line's two vectors share does not count.
    """
    lines = len(first)
    first, second = first.double(), second.double()
    total = float(first.sum(0) @ second.sum(0)) - float((first * second).sum())
    return total / (lines * (lines - 1))


def plain_cosine(first: Tensor, second: Tensor) -> float:
    """Cosine of two vectors; NaN where one is 0."""
    below = float(first.norm() * second.norm())
    return float(first @ second) / below if below > 0 else math.nan


def _squared(direction: Direction) -> Tensor:
    """Squared lengths of the samples' means without noise, [draws] or []; NaN below 0."""
    if direction.drawn is None:
        return direction.mean.square().sum().float()
    squares = direction.drawn.square().sum(1) - 2 * direction.noise
    return torch.where(squares > 0, squares, torch.nan)


def _inner(first: Direction, second: Direction) -> Tensor:
    sides = [d.mean.float() if d.drawn is None else d.drawn for d in (first, second)]
    return (sides[0] * sides[1]).sum(-1)


def _estimate(value: float, samples: Tensor) -> Estimate:
    if samples.dim() == 0:
        return Estimate(value, value, value)
    known = samples[~samples.isnan()].double()
    if not len(known):
        return Estimate(value, math.nan, math.nan)
    low, high = np.percentile(known.numpy(), [2.5, 97.5])
    return Estimate(value, float(low), float(high))


# Random directions


def random_directions(states: Tensor, draws: int, generator: torch.Generator) -> Tensor:
    """Unit vectors, float32 [draws, hidden], drawn with the covariance of centred `states`.

    A sum of the states [lines, hidden] with normal weights has exactly their covariance.
    """
    weights = torch.randn(draws, len(states), generator=generator)
    return torch.nn.functional.normalize(weights @ states.float(), dim=1)


@dataclass(frozen=True)
class Null:
    """What random vectors or spans reach: their mean, the bound that 95% stay under, and p."""

    mean: float
    high: float
    p: float


def drawn_null(value: float, reached: Tensor) -> Null:
    """Of what random ones reached [draws]: p = (1 + as great) / (1 + draws)."""
    great = int((reached >= value - EQUAL).sum())
    high = float(np.percentile(reached.double().numpy(), 95))
    return Null(float(reached.double().mean()), high, (1 + great) / (1 + len(reached)))


def isotropic_null(squared: float, rank: int, hidden: int) -> Null:
    """Of the share of a vector's squared length in a random span without a preferred direction.

    The share has the distribution Beta(rank / 2, (hidden − rank) / 2). For one vector (rank 1) the
    share is the squared cosine. Raises MissingExtraError without scipy.
    """
    if rank >= hidden:
        return Null(1.0, 1.0, 1.0)
    beta = need("scipy.stats", "analysis", "comparing with random vectors").beta(
        rank / 2, (hidden - rank) / 2
    )
    return Null(rank / hidden, float(beta.isf(0.05)), float(beta.sf(min(1.0, squared) - 1e-12)))


def orthonormal(vectors: Tensor) -> Tensor:
    """An orthonormal basis [rank, hidden] of the span of `vectors` [k, hidden]."""
    unit = torch.nn.functional.normalize(vectors.double(), dim=1)
    _, sizes, basis = torch.linalg.svd(unit, full_matrices=False)
    return basis[sizes > 1e-6 * sizes.max()]


def shares(vectors: Tensor, basis: Tensor) -> Tensor:
    """Share of the squared length of each of `vectors` [n, hidden] in the span of `basis`: [n]."""
    inside = (vectors.to(basis.dtype) @ basis.mT).square().sum(-1)
    return inside / vectors.to(basis.dtype).square().sum(-1).clamp(min=torch.finfo().tiny)


def random_shares(
    vectors: Tensor, directions: Tensor, rank: int, draws: int, generator: torch.Generator
) -> Tensor:
    """Shares of `vectors` [n, hidden] in spans of `rank` of the random `directions`: [draws, n]."""
    parts = []
    block = max(1, _HELD // (rank * directions.shape[1]))
    for start in range(0, draws, block):
        count = min(block, draws - start)
        order = torch.rand(count, len(directions), generator=generator)
        chosen = order.topk(rank, dim=1).indices
        basis = torch.linalg.qr(directions[chosen].mT).Q.mT  # [count, rank, hidden]
        parts.append(shares(vectors.float(), basis))
    return torch.cat(parts)


# Own vectors against those of other languages


@dataclass(frozen=True)
class Match:
    same: float
    others: float
    p: float


def matching(cosines: Tensor, seed: int = 0) -> Match:
    """Of cosines [languages, vectors], the mean on the diagonal and off it, and whether the

    diagonal is greater than chance: p of permuting the vectors, exact for few languages, NaN for
    fewer than four. Rows and columns with NaN are left out.
    """
    keep = ~(cosines.isnan().all(0) | cosines.isnan().all(1))
    known = cosines[keep][:, keep].double().numpy()
    size = len(known)
    if size < 2 or np.isnan(known).any():
        return Match(math.nan, math.nan, math.nan)
    same = float(np.trace(known))
    others = (float(known.sum()) - same) / (size * size - size)
    if size < FEWEST_TO_MATCH:
        return Match(same / size, others, math.nan)
    orders, drawn = _orders(size, seed)
    totals = known[np.arange(size), orders].sum(1)
    great = int((totals >= same - EQUAL).sum())
    p = (1 + great) / (1 + len(orders)) if drawn else great / len(orders)
    return Match(same / size, others, p)


def _orders(size: int, seed: int) -> tuple[Any, bool]:
    """Orders of the vectors [orders, size], and whether they were drawn."""
    if size <= _EXACT:
        return np.array(list(itertools.permutations(range(size)))), False
    rng = np.random.default_rng(seed)
    return rng.permuted(np.tile(np.arange(size), (_ORDERS, 1)), axis=1), True
