"""Vectors from the items to choose on: each item is scored by what was not learned from it."""

from pathlib import Path

import pytest
import torch

from langsteer.diagnosis import find, labels
from langsteer.diagnosis.find import find_recipe
from langsteer.diagnosis.halving import ALL, Scorer
from langsteer.diagnosis.labels import labelled_candidates
from langsteer.diagnosis.scoring import Asked, answer_scores, asked, scale_of
from langsteer.diagnosis.slopes import slopes
from langsteer.diagnosis.trials import Trials
from langsteer.model.model import Model
from langsteer.steering.vector import SteeringVector
from tests.helpers import pairs
from tests.made.questions import item_rows, label_rows, made_task


def same_answer(count: int) -> list[dict]:  # type: ignore[type-arg]
    """Items whose right answer is always the same word, at one of two places."""
    rows = []
    for i, row in enumerate(item_rows(count)):
        kept = {k: v for k, v in row.items() if k != "english"}
        rows.append({**kept, "choices": ["moto", "maji"][:: 1 if i % 2 else -1], "answer": i % 2})
    return rows


def made(
    model: Model, folder: Path, count: int = 80
) -> tuple[Asked, Trials, list[labels.Candidate]]:
    task = made_task(folder, same_answer(count))
    items = task.development
    questions = asked(model, [item.own for item in items], items)
    trials = Trials(folder / "t.jsonl", {})
    own = labelled_candidates(model, task, questions, None, folder / "labels", trials)
    return questions, trials, own


def test_each_half_is_learned_from_the_other(llama: Model, tmp_path: Path) -> None:
    questions, _, own = made(llama, tmp_path)
    assert 2 <= len(own) <= labels.PLACES * len(labels.STRENGTHS)
    candidate = own[0]
    vector = candidate.change
    assert isinstance(vector, SteeringVector)
    assert candidate.halves is not None
    for side, half in enumerate(candidate.halves):
        assert isinstance(half, SteeringVector)
        others = slopes(llama, questions.part(range(1 - side, len(questions.right), 2)))
        mean = others.mean(vector.layer, vector.positions)
        expected = mean / mean.square().sum()
        torch.testing.assert_close(half.values, expected, atol=1e-4, rtol=1e-3)
        assert half.strength == vector.strength
    mean = slopes(llama, questions).mean(vector.layer, vector.positions)
    torch.testing.assert_close(vector.values, mean / mean.square().sum())


def test_an_item_is_scored_by_what_was_not_learned_from_it(llama: Model, tmp_path: Path) -> None:
    questions, trials, own = made(llama, tmp_path)
    candidate = own[0]
    assert candidate.halves is not None
    items = made_task(tmp_path, same_answer(80)).development
    scorer = Scorer(llama, items, questions, scale_of(questions), trials)
    scorer.score([candidate], ALL, 5)
    scorer.score([candidate], ALL, 12)
    known = trials.known(candidate.name, ALL)
    assert len(known) == 12
    for place in range(12):
        half = candidate.halves[place % 2]
        (rows,) = answer_scores(llama, questions.part([place]), [half])
        assert known[items[place].id] == pytest.approx(rows[0], abs=1e-3)


def test_what_is_kept_is_read(
    llama: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, own = made(llama, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(labels, "slopes", None)
        _, _, again = made(llama, tmp_path)
    assert [c.name for c in again] == [c.name for c in own]
    for file in (tmp_path / "labels").iterdir():
        file.write_bytes(file.read_bytes()[:40])
    _, _, anew = made(llama, tmp_path)
    assert [c.name for c in anew] == [c.name for c in own]


def test_few_items_teach_nothing(llama: Model, tmp_path: Path) -> None:
    assert made(llama, tmp_path, 40)[2] == []


def test_a_search_finds_what_labels_tell_and_reports_it_on_others(
    llama: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(find, "cheap_candidates", lambda *_: [])
    monkeypatch.setattr(find, "learned_candidates", lambda *_: [])
    task = made_task(tmp_path, same_answer(120))
    change, found = find_recipe(llama, task, pairs(12), tmp_path / "search", budget=2)
    tried = [s.candidate for s in found.standings if s.candidate.startswith("labels:")]
    assert tried
    assert found.recipe in tried
    assert found.better
    assert isinstance(change, SteeringVector)
    assert change.method == "labels"
    assert change.corpus["lines"] == len(task.development)
    _, same = find_recipe(llama, task, pairs(12), tmp_path / "search", budget=2)
    assert same.recipe == found.recipe


def test_answers_that_are_the_same_are_learned_from_with_their_biases(
    llama: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[torch.Tensor | None] = []

    def spy(*given: object) -> list[object]:
        told.append(given[3])  # type: ignore[arg-type]
        return []

    monkeypatch.setattr(find, "labelled_candidates", spy)
    task = made_task(tmp_path, label_rows(80))
    find_recipe(llama, task, pairs(12), tmp_path / "search", budget=0.02)
    assert told[0] is not None
    assert len(told[0]) == len(task.development[0].own.answers)
