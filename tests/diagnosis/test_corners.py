"""The corners of a task: which there are, on which items, and what they say of the gap."""

from pathlib import Path

import numpy as np
import pytest

from langsteer.diagnosis import corners as module
from langsteer.diagnosis.corners import ENGLISH, LANGUAGE, four_corners
from langsteer.model.model import Model
from tests.made.questions import item_rows, label_rows, made_task


@pytest.fixture
def knowing(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Answers that are right as often as is told, by whether prompt and answers are English."""
    shares: dict[str, float] = {}

    def answer_scores(
        model: Model, asked: object, *_: object, progress: str = ""
    ) -> list[list[object]]:
        right = asked.right  # type: ignore[attr-defined]
        share = shares[progress]
        rows = []
        for place, (own, question) in enumerate(zip(right, asked.questions, strict=True)):  # type: ignore[attr-defined]
            best = own if place < share * len(right) else (own + 1) % len(question.answers)
            rows.append(np.eye(len(question.answers))[best])
        return [rows]

    monkeypatch.setattr(module, "answer_scores", answer_scores)
    return shares


def test_the_gap_is_taken_apart(llama: Model, tmp_path: Path, knowing: dict[str, float]) -> None:
    knowing |= {
        "Asking in the language": 0.4,
        "Asking in English": 0.9,
        "Prompt in English, answers in the language": 0.5,
        "Prompt in the language, answers in English": 0.6,
    }
    direct, found = four_corners(llama, made_task(tmp_path, item_rows(100)).all)
    assert direct.values.mean() == pytest.approx(40)
    parts = {name: getattr(found, name).value for name in ("gap", "reading", "answering", "both")}
    assert parts == pytest.approx({"gap": 50, "reading": 10, "answering": 20, "both": 20})
    assert found.gap is not None
    assert found.gap.low < 50 < found.gap.high
    assert len(found.corners) == 4


def test_answers_in_english_leave_two_corners(
    llama: Model, tmp_path: Path, knowing: dict[str, float]
) -> None:
    knowing |= {"Asking in the language": 0.4, "Asking in English": 0.9}
    _, found = four_corners(llama, made_task(tmp_path, label_rows(100)).all, "raw")
    assert {(c.prompt, c.answers) for c in found.corners} == {
        (LANGUAGE, ENGLISH),
        (ENGLISH, ENGLISH),
    }
    assert found.reading is not None
    assert found.reading.value == pytest.approx(50)
    assert found.answering is None
    assert "all of the gap is in reading" in found.note


def test_answers_that_do_not_end_the_text_are_not_put_after_others(
    llama: Model, tmp_path: Path, knowing: dict[str, float]
) -> None:
    rows = item_rows(60)
    for row in rows[:30]:
        row["choices"] = [f"{choice} na maji." for choice in row["choices"]]
    knowing |= {
        "Asking in the language": 0.4,
        "Asking in English": 0.9,
        "Prompt in English, answers in the language": 0.5,
        "Prompt in the language, answers in English": 0.6,
    }
    _, found = four_corners(llama, made_task(tmp_path, rows).all)
    assert found.items == 30
    assert "30 of 60 items" in found.note
    for row in rows:
        row["choices"] = [f"{choice.split()[0]} na maji." for choice in row["choices"]]
    _, found = four_corners(llama, made_task(tmp_path, rows).all)
    assert found.items == 60
    assert found.reading is None
    assert "cannot be put after others" in found.note


def test_without_english_there_is_one_corner(llama: Model, tmp_path: Path) -> None:
    rows = [{k: v for k, v in row.items() if k != "english"} for row in item_rows(10)]
    direct, found = four_corners(llama, made_task(tmp_path, rows).all)
    assert len(found.corners) == 1
    assert found.gap is None
    assert direct.english is None


def test_a_mixed_corner_asks_the_one_s_prompt_with_the_other_s_answers(
    llama: Model, tmp_path: Path
) -> None:
    items = made_task(tmp_path, item_rows(24)).all
    _, found = four_corners(llama, items)
    mixed = [
        module.Wording(item.english.prompt, item.own.answers)
        for item in items
        if item.english is not None
    ]
    asked = module.asked(llama, mixed, items)
    (scores,) = module.answer_scores(llama, asked)
    expected = 100 * np.mean([np.argmax(s) == r for s, r in zip(scores, asked.right, strict=True)])
    corner = found.at(ENGLISH, LANGUAGE)
    assert corner is not None
    assert corner.value.value == pytest.approx(expected)


def test_references_have_the_chance_of_another_prompt(llama: Model, tmp_path: Path) -> None:
    rows = [
        {"prompt": f"swali {i}", "reference": f"jibu {i}", "english": {"prompt": f"question {i}"}}
        for i in range(6)
    ]
    direct, found = four_corners(llama, made_task(tmp_path, rows).all)
    assert direct.scale.unit == "nats"
    assert direct.english_chance is not None
    assert (direct.english_chance != direct.english).all()
    assert found.gap is not None
