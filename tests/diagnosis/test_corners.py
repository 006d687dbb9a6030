"""The corners of a task: which there are, on which items, and what they say of the gap."""

from pathlib import Path

import numpy as np
import pytest

from langsteer.diagnosis import corners as module
from langsteer.diagnosis.corners import ENGLISH, LANGUAGE, four_corners
from langsteer.model.model import Model
from tests.made.questions import item_rows, label_rows, made_task


@pytest.fixture
def knowing(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, str], float]:
    """Answers that are right as often as is told, by what prompt and answers are in."""
    shares: dict[tuple[str, str], float] = {}

    def scored(
        model: Model, asked_at: dict[tuple[str, str], module.Asked], kept: object
    ) -> dict[tuple[str, str], list[object]]:
        found = {}
        for key, asked in asked_at.items():
            rows: list[object] = []
            for place, (own, question) in enumerate(zip(asked.right, asked.questions, strict=True)):
                count = len(question.answers)
                best = own if place < shares[key] * len(asked.right) else (own + 1) % count
                rows.append(np.eye(count)[best])
            found[key] = rows
        return found

    monkeypatch.setattr(module, "_scored", scored)
    return shares


def test_the_gap_is_taken_apart(
    llama: Model, tmp_path: Path, knowing: dict[tuple[str, str], float]
) -> None:
    knowing |= {
        (LANGUAGE, LANGUAGE): 0.4,
        (ENGLISH, ENGLISH): 0.9,
        (ENGLISH, LANGUAGE): 0.5,
        (LANGUAGE, ENGLISH): 0.6,
    }
    direct, found = four_corners(llama, made_task(tmp_path, item_rows(100)).all)
    assert direct.values.mean() == pytest.approx(40)
    parts = {name: getattr(found, name).value for name in ("gap", "reading", "answering", "both")}
    assert parts == pytest.approx({"gap": 50, "reading": 10, "answering": 20, "both": 20})
    assert found.gap is not None
    assert found.gap.low < 50 < found.gap.high
    assert len(found.corners) == 4


def test_few_items_have_all_their_corners(llama: Model, tmp_path: Path) -> None:
    _, found = four_corners(llama, made_task(tmp_path, item_rows(30)).all[:3])
    assert len(found.corners) == 4
    assert found.note == ""


def test_answers_in_english_leave_two_corners(
    llama: Model, tmp_path: Path, knowing: dict[tuple[str, str], float]
) -> None:
    knowing |= {(LANGUAGE, ENGLISH): 0.4, (ENGLISH, ENGLISH): 0.9}
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
    llama: Model, tmp_path: Path, knowing: dict[tuple[str, str], float]
) -> None:
    rows = item_rows(60)
    for row in rows[:30]:
        row["choices"] = [f"{choice} na maji." for choice in row["choices"]]
    knowing |= {
        (LANGUAGE, LANGUAGE): 0.4,
        (ENGLISH, ENGLISH): 0.9,
        (ENGLISH, LANGUAGE): 0.5,
        (LANGUAGE, ENGLISH): 0.6,
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


def test_a_prompt_is_read_once_for_all_answers(
    llama: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = made_task(tmp_path, item_rows(24)).all
    apart = {
        (LANGUAGE, LANGUAGE): [item.own for item in items],
        (ENGLISH, ENGLISH): [module.Wording("What?" + str(i), ("a b", "c")) for i in range(24)],
        (LANGUAGE, ENGLISH): [
            module.Wording(item.own.prompt, ("b a", "moto maji")) for item in items
        ],
    }
    asked = {key: module.asked(llama, wordings, items) for key, wordings in apart.items()}
    asked[LANGUAGE, ENGLISH] = asked[LANGUAGE, ENGLISH].part(range(3, 24))
    expected = {key: module.answer_scores(llama, own)[0] for key, own in asked.items()}
    read: list[int] = []

    def spy(model: Model, own: module.Asked, **more: object) -> object:
        read.append(len(own.questions))
        return scores(model, own)

    scores = module.answer_scores
    monkeypatch.setattr(module, "answer_scores", spy)
    found = module._scored(llama, asked, range(3, 24))
    assert read == [24, 24]
    for key, rows in expected.items():
        for own, row in zip(found[key], rows, strict=True):
            np.testing.assert_allclose(own, row, atol=1e-4)
