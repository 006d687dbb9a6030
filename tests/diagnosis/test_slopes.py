"""Slopes equal what a small step wins, for all layers and positions, padded or not."""

from pathlib import Path

import pytest
import torch

from langsteer.diagnosis.scoring import Asked, answer_scores, asked
from langsteer.diagnosis.slopes import KINDS, slopes
from langsteer.evaluation.statistics import Array
from langsteer.model.model import Model
from langsteer.states.intervention import PositionKind
from tests.helpers import build_model, make_vector
from tests.made.questions import item_rows, label_rows, made_task

SMALL = 3e-4


def log_share(rows: list[Array], right: tuple[int, ...]) -> torch.Tensor:
    each = [
        torch.log_softmax(torch.from_numpy(row), 0)[r] for row, r in zip(rows, right, strict=True)
    ]
    return torch.stack(each)


def by_question(
    model: Model, questions: Asked, layer: int, kind: PositionKind, vector: torch.Tensor
) -> torch.Tensor:
    """The slope of each question along a vector."""
    there = [slopes(model, questions.part([i])) for i in range(len(questions.right))]
    return torch.stack([own.mean(layer, kind) @ vector for own in there])


@pytest.mark.parametrize("layer", [0, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_a_small_step_wins_what_the_slope_says(
    llama: Model, tmp_path: Path, layer: int, kind: PositionKind
) -> None:
    items = made_task(tmp_path, item_rows(6)).all
    questions = asked(llama, [item.own for item in items], items)
    direction = make_vector(llama, layer=layer, positions=kind)
    found = by_question(llama, questions, layer, kind, direction.values)
    up, down = answer_scores(
        llama, questions, [direction.with_strength(SMALL), direction.with_strength(-SMALL)]
    )
    won = (log_share(up, questions.right) - log_share(down, questions.right)) / (2 * SMALL)
    torch.testing.assert_close(found.double(), won, atol=2e-2, rtol=2e-2)
    assert float(found.abs().max()) > 0.5


def test_answers_of_one_token_share_a_row_and_are_calibrated(llama: Model, tmp_path: Path) -> None:
    items = made_task(tmp_path, [{**row, "delimiter": ""} for row in label_rows(6)]).all
    questions = asked(llama, [item.own for item in items], items)
    assert {len(a) for q in questions.questions for a in q.answers} == {1}
    direction = make_vector(llama, layer=1, positions="source")
    plain = by_question(llama, questions, 1, "source", direction.values)
    (up,) = answer_scores(llama, questions, [direction.with_strength(SMALL)])
    (before,) = answer_scores(llama, questions)
    won = (log_share(up, questions.right) - log_share(before, questions.right)) / SMALL
    torch.testing.assert_close(plain.double(), won, atol=5e-2, rtol=5e-2)
    biased = slopes(llama, questions, torch.tensor([5.0, 0.0])).mean(1, "source")
    assert float(biased @ direction.values) != pytest.approx(float(plain.mean()), rel=1e-3)


def test_a_shift_of_each_state_wins_its_own_slope(llama: Model, tmp_path: Path) -> None:
    items = made_task(tmp_path, item_rows(4)).all
    questions = asked(llama, [item.own for item in items], items)
    vector = make_vector(llama).values
    found = slopes(llama, questions, shift=lambda layer, states, owners: vector.expand_as(states))
    for side in (0, 1):
        each = found.shifted[side::2].sum(0)
        torch.testing.assert_close(each, found.sums[side] @ vector, atol=1e-5, rtol=1e-4)


def test_questions_at_even_and_odd_places_are_told_apart(llama: Model, tmp_path: Path) -> None:
    items = made_task(tmp_path, item_rows(7)).all
    questions = asked(llama, [item.own for item in items], items)
    found = slopes(llama, questions)
    assert found.counts == (4, 3)
    for side in (0, 1):
        own = slopes(llama, questions.part(range(side, 7, 2))).mean(1, "prompt")
        torch.testing.assert_close(found.mean(1, "prompt", side), own, atol=1e-5, rtol=1e-3)
    whole = (4 * found.mean(1, "prompt", 0) + 3 * found.mean(1, "prompt", 1)) / 7
    torch.testing.assert_close(found.mean(1, "prompt"), whole)


def test_the_model_is_as_it_was(tmp_path: Path) -> None:
    model = build_model("gemma3")
    items = made_task(tmp_path, item_rows(4)).all
    questions = asked(model, [item.own for item in items], items)
    (before,) = answer_scores(model, questions)
    slopes(model, questions)
    (after,) = answer_scores(model, questions)
    assert [row.tolist() for row in before] == [row.tolist() for row in after]
    assert all(parameter.grad is None for parameter in model.network.parameters())
