"""How near sentences lie to their translations.

`here` and `there` are states [lines, hidden]: line i of one is the translation of line i of the
other. Each measure raises AnalysisError where there are fewer than two lines or their numbers
differ.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from langsteer.errors import AnalysisError

FEWEST_LINES = 2


@dataclass(frozen=True)
class PairCosines:
    """Mean cosine of translations, and of sentences that are not each other's translation."""

    pairs: float
    others: float


@dataclass(frozen=True)
class Retrieval:
    """Share of `here` whose nearest of `there` is its translation, and the other way round."""

    to_pivot: float
    from_pivot: float


def pair_cosines(here: Tensor, there: Tensor) -> PairCosines:
    """Mean of the cosines on the diagonal, and off it."""
    cosines = cosine_matrix(here, there)
    pairs, lines = float(cosines.trace()), len(cosines)
    others = (float(cosines.sum()) - pairs) / (lines * lines - lines)
    return PairCosines(pairs / lines, others)


def mexa(here: Tensor, there: Tensor) -> float:
    """MEXA (Kargaran et al., arXiv 2410.05873, section 3): share of lines i with

    c(i, i) > c(i, j) and c(i, i) > c(j, i) for all j ≠ i, where c(i, j) is the cosine of line i
    here and line j there.
    """
    nearest = _nearest(cosine_matrix(here, there))
    return float((nearest[0] & nearest[1]).double().mean())


def retrieval(here: Tensor, there: Tensor) -> Retrieval:
    """Accuracy of the nearest neighbour by cosine, each way; a tie counts as a failure."""
    there_of_here, here_of_there = _nearest(cosine_matrix(here, there))
    return Retrieval(float(there_of_here.double().mean()), float(here_of_there.double().mean()))


def linear_cka(here: Tensor, there: Tensor) -> float:
    """Linear centred kernel alignment (Kornblith et al., arXiv 1905.00414, section 3):

    ‖XᵀY‖² / (‖XᵀX‖ ‖YᵀY‖) of the centred states, in Frobenius norms. 1 for states that are the
    same up to a rotation, a shift and a scale; NaN where all states of one side are the same.
    """
    _check(here, there)
    here_gram, there_gram = _gram(here), _gram(there)
    below = float(here_gram.norm() * there_gram.norm())
    return float((here_gram * there_gram).sum()) / below if below > 0 else float("nan")


def cosine_matrix(here: Tensor, there: Tensor) -> Tensor:
    """Cosine of each line here (rows) with each there (columns), float64 [lines, lines]."""
    _check(here, there)
    normal = [torch.nn.functional.normalize(side.double(), dim=1) for side in (here, there)]
    return normal[0] @ normal[1].T


def _nearest(cosines: Tensor) -> tuple[Tensor, Tensor]:
    """For each line: is its cosine above all others of its row, and of its column?"""
    pairs = cosines.diagonal()
    others = cosines.clone()
    others.fill_diagonal_(-torch.inf)
    return pairs > others.max(1).values, pairs > others.max(0).values


def _gram(states: Tensor) -> Tensor:
    """Inner products of the centred lines, float64 [lines, lines]."""
    centred = states.double() - states.double().mean(0)
    return centred @ centred.T


def _check(here: Tensor, there: Tensor) -> None:
    if len(here) != len(there):
        raise AnalysisError(
            f"alignment needs as many lines on both sides, not {len(here)} and {len(there)}"
        )
    if len(here) < FEWEST_LINES:
        raise AnalysisError(
            f"alignment needs at least {FEWEST_LINES} lines: one has no sentence beside its "
            "translation to compare with"
        )
