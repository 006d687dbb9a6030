"""Answers of two engines, and whether they part at a tie."""

import pytest
import torch

pytest.importorskip("lm_eval", reason="lm-eval is not installed")

from langsteer.evaluation.harness.ties import Margins, Ties, compare_rows
from langsteer.evaluation.harness.writing import Row


def compared(theirs: list[int], own: list[int], scores: list[list[float]]) -> Ties:
    margins = Margins([theirs])
    for step in scores:
        margins(torch.zeros(1, 1), torch.tensor([step]))
    rows = [Row(theirs, False)], [Row(own, False)]
    return compare_rows(*rows, margins, lambda ids: str(list(ids[:3])), torch.float32)


@pytest.mark.parametrize(
    ("theirs", "own", "second", "wanted"),
    [
        ([1, 2, 3], [1, 2, 3], [0, 0, 9, 0], Ties(1, 0, 0)),
        ([1, 2, 3, 5], [1, 2, 3, 0], [0, 0, 9, 0], Ties(1, 0, 0)),  # after the end
        ([1, 3, 3], [1, 2, 3], [0, 0, 9, 8.9995], Ties(1, 1, 1)),
        ([1, 3, 3], [1, 2, 3], [0, 0, 9, 8.9], Ties(1, 1, 0)),
        ([1], [1, 2, 3], [0, 0, 9, 9], Ties(1, 1, 0)),  # ended where the other goes on
    ],
)
def test_where_they_part(
    theirs: list[int], own: list[int], second: list[float], wanted: Ties
) -> None:
    assert compared(theirs, own, [[0, 9, 0, 0], second, [0, 0, 0, 9]]) == wanted


def test_counts_add_up() -> None:
    assert Ties(4, 2, 1) + Ties(3, 1, 1) == Ties(7, 3, 2)
