"""What items are worth: in points or nats, with or without calibration, and among fewer choices."""

from pathlib import Path

import numpy as np
import pytest
import torch

from langsteer.diagnosis.scoring import Asked, Scale, answer_scores, asked, scale_of
from langsteer.errors import DiagnosisError, LengthError
from langsteer.evaluation.harness.scoring import Question
from langsteer.model.model import Model
from langsteer.model.tokens import Tokens
from tests.made.questions import item_rows, label_rows, made_task

CONTEXT = Tokens([1, 5], [False, True])


def question(*answers: tuple[int, ...]) -> Question:
    return Question(CONTEXT, answers)


def test_scores_equal_one_plain_pass_each(llama: Model, tmp_path: Path) -> None:
    items = made_task(tmp_path, item_rows(6)).all
    questions = asked(llama, [item.own for item in items], items)
    (found,) = answer_scores(llama, questions)
    for item, row in zip(items, found, strict=True):
        for answer, score in zip(item.own.answers, row, strict=True):
            context = llama.tokenizer(str(item.own.prompt))["input_ids"]
            ids = llama.tokenizer(str(item.own.prompt) + answer)["input_ids"]
            with torch.inference_mode():
                logits = torch.log_softmax(llama.network(torch.tensor([ids])).logits[0], -1)
            expected = sum(float(logits[i - 1, ids[i]]) for i in range(len(context), len(ids)))
            assert score == pytest.approx(expected, abs=1e-3)


def test_the_scale_is_told_by_the_answers(llama: Model, tmp_path: Path) -> None:
    own = made_task(tmp_path, item_rows(6)).all
    same = made_task(tmp_path, label_rows(6)).all
    assert scale_of(asked(llama, [i.own for i in own], own)) == Scale(
        "points", False, pytest.approx(100 / 3)
    )
    labels = asked(llama, [i.own for i in same], same)
    assert scale_of(labels) == Scale("points", True, 50.0)
    assert not scale_of(labels, "raw").calibrated
    references = Asked((question((3, 4)),), (0,))
    assert scale_of(references).unit == "nats"
    with pytest.raises(DiagnosisError, match="the items have references, whose scores cannot"):
        scale_of(references, "calibrated")
    uneven = Asked((question((3,), (4,)), question((3,), (4,), (5,))), (0, 0))
    with pytest.raises(DiagnosisError, match="have different numbers of choices, whose scores"):
        scale_of(uneven, "calibrated")


def test_what_share_of_what_is_read_are_contexts() -> None:
    asked_twice = Asked((question((3, 4), (5,)), question((3,), (4, 5, 6))), (0, 0))
    contexts = sum(len(q.context) for q in asked_twice.questions)
    assert asked_twice.context_share == contexts / (contexts + 7)


def test_values_are_right_or_wrong_and_calibrated_where_asked() -> None:
    scores = [np.array([-1.0, -5.0]), np.array([-1.0, -4.0]), np.array([-1.0, -3.0])]
    assert Scale("points", False, 50).values(scores, [0, 0, 1]).tolist() == [100, 100, 0]
    assert Scale("points", True, 50).values(scores, [0, 0, 1]).tolist() == [100, 100, 100]
    assert Scale("nats", False, 0).values(scores, [0, 0, 0]).tolist() == [-1, -1, -1]


def test_the_smooth_value_does_not_change_with_the_scores_unit() -> None:
    rng = np.random.default_rng(0)
    right = rng.integers(0, 3, 40).tolist()
    scores = list(rng.normal(size=(40, 3)) + np.eye(3)[right])
    scale = Scale("points", False, 100 / 3)
    one, other = scale.smooth(scores, right), scale.smooth([4 * row for row in scores], right)
    np.testing.assert_allclose(one, other)
    better = [row + (np.arange(3) == r) * 0.01 for row, r in zip(scores, right, strict=True)]
    assert scale.smooth(better, right).mean() > one.mean()


def test_fewer_choices_are_the_right_one_and_the_likeliest_others() -> None:
    questions = Asked((question((3,), (4,), (5,), (6,)),), (3,))
    few = questions.among([np.array([-1.0, -3.0, -2.0, -9.0])], 3)
    assert few.questions[0].answers == ((3,), (5,), (6,))
    assert few.right == (2,)
    assert questions.among([np.array([-1.0, -3.0, -2.0, -9.0])], 9).questions == questions.questions


def test_an_item_longer_than_the_model_reads(llama: Model, tmp_path: Path) -> None:
    rows = item_rows(4)
    rows[2]["prompt"] = "jua " * 300
    items = made_task(tmp_path, rows).all
    with pytest.raises(LengthError, match="tokens, and tiny-llama has 1024 positions: 'jua jua"):
        asked(llama, [item.own for item in items], items)


def test_sampled_choices_do_not_depend_on_what_the_model_says() -> None:
    questions = Asked(
        tuple(Question(Tokens([1], [True]), tuple((i,) for i in range(8))) for _ in range(200)),
        (3,) * 200,
    )
    few = questions.sampled(4)
    kept = [{answer[0] for answer in question.answers} for question in few.questions]
    assert all(len(own) == 4 and 3 in own for own in kept)
    assert all(q.answers[r] == (3,) for q, r in zip(few.questions, few.right, strict=True))
    shares = [sum(i in own for own in kept) / 200 for i in range(8) if i != 3]
    assert max(abs(share - 3 / 7) for share in shares) < 0.12
    assert questions.sampled(4) == few
