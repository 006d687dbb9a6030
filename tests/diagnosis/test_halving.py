"""Successive halving: what is scored, what is known already, and what time pays for."""

from pathlib import Path

import pytest

from langsteer.diagnosis import halving as module
from langsteer.diagnosis.fits import Candidate, used
from langsteer.diagnosis.halving import ALL, FEWEST, LEAST, NOTHING, SOME, Scorer, affordable
from langsteer.diagnosis.scoring import answer_scores, asked, scale_of
from langsteer.diagnosis.trials import Trials
from langsteer.model.model import Model
from tests.helpers import make_vector
from tests.made.questions import item_rows, label_rows, made_task


def scorer_of(model: Model, folder: Path, rows: list[dict]) -> Scorer:  # type: ignore[type-arg]
    items = made_task(folder, rows).development
    questions = asked(model, [item.own for item in items], items)
    return Scorer(model, items, questions, scale_of(questions), Trials(folder / "t.jsonl", {}))


def candidates(model: Model) -> list[Candidate]:
    return [used(f"m{seed}", make_vector(model, seed), "prompt", 1.0) for seed in range(3)]


def test_candidates_are_scored_once_each_and_items_are_nested(
    llama: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer, own = scorer_of(llama, tmp_path, item_rows(24)), candidates(llama)
    asked_of: list[int] = []

    def spy(
        model: Model, part: module.Asked, changes: object, *more: object, **_: object
    ) -> object:
        asked_of.append(len(part.questions))
        return answer_scores(model, part, changes)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "answer_scores", spy)
    scorer.score(own, ALL, 4)
    scorer.score(own, ALL, 4)
    scorer.score(own, ALL, 10)
    assert asked_of == [4, 6]
    again = scorer_of(llama, tmp_path, item_rows(24))
    again.score(own, ALL, 10)
    assert asked_of == [4, 6]  # the file knows


def test_standings_are_the_gains_over_nothing(llama: Model, tmp_path: Path) -> None:
    scorer, own = scorer_of(llama, tmp_path, item_rows(24)), candidates(llama)
    scorer.nothing(ALL, 12)
    scorer.score(own, ALL, 12)
    found = scorer.standings(own, ALL, 12)
    assert [s.smooth for s in found] == sorted((s.smooth for s in found), reverse=True)
    before, after = answer_scores(llama, scorer.questions[ALL], [None, own[0].change])
    right = scorer.questions[ALL].right
    (mine,) = [s for s in found if s.candidate == own[0].name]
    values = [scorer.scale.values(rows, right).mean() for rows in (before, after)]
    assert mine.value == pytest.approx(values[1])
    assert mine.gain == pytest.approx(values[1] - values[0])


def test_at_a_tie_the_smaller_strength_is_better(llama: Model, tmp_path: Path) -> None:
    scorer = scorer_of(llama, tmp_path, item_rows(12))
    nothing = make_vector(llama, values=make_vector(llama).values * 0)
    own = [used("m", nothing, "prompt", strength) for strength in (1.0, 0.5, 0.75)]
    scorer.nothing(ALL, 6)
    scorer.score(own, ALL, 6)
    order = [s.candidate for s in scorer.standings(own, ALL, 6)]
    assert order == ["m:1@prompt*0.5", "m:1@prompt*0.75", "m:1@prompt*1"]


def test_fewer_choices_only_where_they_differ_from_item_to_item(
    llama: Model, tmp_path: Path
) -> None:
    scorer = scorer_of(llama, tmp_path, item_rows(12, choices=5))
    scorer.nothing(ALL, 6)
    scorer.choose_among(3)
    assert scorer.some == SOME
    assert {len(q.answers) for q in scorer.questions[SOME].questions} == {3}
    assert {len(q.answers) for q in scorer.questions[ALL].questions} == {5}
    known = scorer.trials.known(NOTHING, ALL)
    unchanged = [known[item.id] for item in scorer.items]
    scorer.nothing(SOME, 6)
    some = [scorer.trials.known(NOTHING, SOME)[item.id] for item in scorer.items]
    few = scorer.scale.values(some, scorer.questions[SOME].right)
    assert (few >= scorer.scale.values(unchanged, scorer.questions[ALL].right)).all()
    (tmp_path / "same").mkdir()
    same = scorer_of(llama, tmp_path / "same", label_rows(12))
    same.nothing(ALL, 6)
    same.choose_among(1)
    assert same.some == ALL


def test_what_time_pays_for(llama: Model, tmp_path: Path) -> None:
    scorer = scorer_of(llama, tmp_path, item_rows(200))
    assert scorer.seconds == 0.1
    assert affordable(1000, scorer, 20) == (20, 100)  # all of the development items
    assert affordable(60, scorer, 20) == (20, 30)
    assert affordable(16, scorer, 20) == (10, FEWEST)
    assert affordable(60, scorer, 20, wanted=60) == (10, 60)
    assert affordable(16, scorer, 20, wanted=80, fewest=30) == (LEAST, 40)
    assert affordable(0, scorer, 20) == (LEAST, FEWEST)
    assert affordable(0, scorer, 20, wanted=80, fewest=30) == (LEAST, 30)
    assert affordable(-5, scorer, 2) == (2, FEWEST)
