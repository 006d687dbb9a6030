"""A vector that is learned from labels makes the right answers of its items likelier."""

from pathlib import Path

import pytest
import torch

from benchmarks.label_vector import vector_of_labels
from langsteer.diagnosis.scoring import answer_scores, asked
from langsteer.model.model import Model
from langsteer.states.intervention import PositionKind
from tests.helpers import make_vector
from tests.made.questions import item_rows, made_task


@pytest.mark.parametrize("positions", ["source", "generated"])
def test_right_answers_get_likelier(llama: Model, tmp_path: Path, positions: PositionKind) -> None:
    rows = [{**row, "choices": ["moto", "maji"], "answer": 1} for row in item_rows(12)]
    items = made_task(
        tmp_path, [{k: v for k, v in row.items() if k != "english"} for row in rows]
    ).all
    questions = asked(llama, [item.own for item in items], items)
    values = vector_of_labels(llama, questions, 1, positions, state_norm=2.0)
    vector = make_vector(llama, values=values, layer=1, positions=positions)
    before, after = answer_scores(llama, questions, [None, vector])
    shares = [
        float(torch.stack([torch.log_softmax(torch.from_numpy(row), 0)[1] for row in rows]).mean())
        for rows in (before, after)
    ]
    assert shares[1] > shares[0] + 0.005
    (again,) = [vector_of_labels(llama, questions, 1, positions, state_norm=2.0)]
    assert torch.equal(values, again)
