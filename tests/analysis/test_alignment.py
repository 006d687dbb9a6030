import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from langsteer.analysis.alignment import linear_cka, mexa, pair_cosines, retrieval
from langsteer.errors import (
    AnalysisError,
)
from tests.made.analysis import noise, rotation


def cosines_of(here: Tensor, there: Tensor) -> list[list[float]]:
    def cosine(a: Tensor, b: Tensor) -> float:
        return float(a @ b) / math.sqrt(float(a @ a) * float(b @ b))

    return [[cosine(a, b) for b in there] for a in here]


def test_mexa_of_a_matrix_worked_by_hand() -> None:
    """Against an orthonormal `there`, the rows of a matrix of unit rows are the cosines."""
    here = torch.tensor([[0.8, 0.6, 0.0], [0.0, 0.8, 0.6], [0.96, 0.0, 0.28]])
    # Line 0 wins its row, and loses its column to line 2; line 1 wins both; line 2 loses its row.
    assert mexa(here, torch.eye(3)) == pytest.approx(1 / 3)
    assert retrieval(here, torch.eye(3)).to_pivot == pytest.approx(2 / 3)
    assert retrieval(here, torch.eye(3)).from_pivot == pytest.approx(1 / 3)
    assert pair_cosines(here, torch.eye(3)).pairs == pytest.approx((0.8 + 0.8 + 0.28) / 3)
    assert pair_cosines(here, torch.eye(3)).others == pytest.approx((0.6 + 0.6 + 0.96) / 6)


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 9), st.integers(2, 6), st.integers(0, 10_000), st.floats(0, 3))
def test_alignment_is_its_definition(lines: int, size: int, seed: int, likeness: float) -> None:
    here = noise(lines, size, seed=seed)
    there = likeness * here + noise(lines, size, seed=seed + 1)
    table, places = cosines_of(here, there), range(lines)
    rows = [all(table[i][i] > table[i][j] for j in places if j != i) for i in places]
    columns = [all(table[i][i] > table[j][i] for j in places if j != i) for i in places]
    both = [a and b for a, b in zip(rows, columns, strict=True)]
    assert mexa(here, there) == pytest.approx(np.mean(both))
    found = retrieval(here, there)
    assert found.to_pivot == pytest.approx(np.mean(rows))
    assert found.from_pivot == pytest.approx(np.mean(columns))
    others = [table[i][j] for i in places for j in places if i != j]
    cosines = pair_cosines(here, there)
    assert cosines.pairs == pytest.approx(np.mean([table[i][i] for i in places]), abs=1e-9)
    assert cosines.others == pytest.approx(np.mean(others), abs=1e-9)


def test_a_tie_is_not_a_hit() -> None:
    same = torch.ones(4, 3)
    assert mexa(same, same) == 0
    assert retrieval(same, same).to_pivot == 0
    assert mexa(torch.eye(3), torch.eye(3)) == 1


def test_cka() -> None:
    states = noise(40, 6)
    moved = 3.0 * states @ rotation(6) + noise(6, seed=3)
    assert linear_cka(states, moved) == pytest.approx(1)
    assert linear_cka(states, states @ noise(6, 6, seed=5)) < 0.999
    many = noise(3000, 6), noise(3000, 6, seed=9)
    assert linear_cka(*many) < 0.01
    assert math.isnan(linear_cka(states, torch.ones(40, 6)))


def test_cka_is_its_formula() -> None:
    x, y = noise(12, 5), noise(12, 7, seed=2) + 4
    x_c, y_c = (np.asarray(side - side.mean(0)) for side in (x, y))
    norm = np.linalg.norm
    expected = norm(x_c.T @ y_c) ** 2 / (norm(x_c.T @ x_c) * norm(y_c.T @ y_c))
    assert linear_cka(x, y) == pytest.approx(expected)


@pytest.mark.parametrize("measure", [mexa, retrieval, pair_cosines, linear_cka])
def test_alignment_needs_pairs(measure: Any) -> None:
    with pytest.raises(AnalysisError, match="at least 2 lines"):
        measure(noise(1, 3), noise(1, 3))
    with pytest.raises(AnalysisError, match="not 3 and 4"):
        measure(noise(3, 3), noise(4, 3))
