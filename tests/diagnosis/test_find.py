"""The search whole, on a tiny model: what it finds, keeps, refuses, writes, and goes on from."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from langsteer.diagnosis import find as module
from langsteer.diagnosis.find import find_recipe, write_if_better
from langsteer.diagnosis.fits import Candidate
from langsteer.diagnosis.halving import Scorer, Standing
from langsteer.diagnosis.items import TaskItems
from langsteer.diagnosis.outcome import BEST, RESULTS, check_place
from langsteer.diagnosis.scoring import answer_scores, asked, scale_of
from langsteer.diagnosis.search_results import SearchResults
from langsteer.diagnosis.trials import NAME
from langsteer.errors import DiagnosisError, SaveError
from langsteer.evaluation.statistics import Array, Interval
from langsteer.model.model import Model
from langsteer.steering.change import Change
from langsteer.steering.folder import load
from langsteer.storage.records import read_json
from tests.helpers import make_vector, pairs
from tests.made.questions import item_rows, made_task

BUDGET = 0.02  # minutes


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> TaskItems:
    rows = item_rows(40)
    for i, row in enumerate(rows):
        row["answer"] = (i * i // 5) % 3  # not as often right in one half as in the other
        row["translation"] = {**row["english"], "prompt": row["english"]["prompt"] + " the"}
    return made_task(tmp_path_factory.mktemp("items"), rows)


@pytest.fixture(scope="module")
def searched(
    task: TaskItems, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Change, SearchResults]:
    from tests.helpers import tiny

    folder = tmp_path_factory.mktemp("search")
    return folder, *find_recipe(tiny("llama"), task, pairs(12), folder, budget=BUDGET)


def test_the_best_is_reported_beside_the_default_and_nothing(
    searched: tuple[Path, Change, SearchResults], task: TaskItems
) -> None:
    _, change, results = searched
    names = [row.name for row in results.reported]
    default = next(s.candidate for s in results.standings if s.candidate.startswith("learned:"))
    assert names[:2] == ["nothing", results.recipe]
    assert names[-2:] == ["translation", "english"]
    assert any(name.startswith("learned:") for name in names), default
    assert results.report_items == len(task.report) == 20
    assert results.tried >= 4
    assert results.gain.value == pytest.approx(
        results.reported[1].value - results.reported[0].value
    )
    assert results.better == (results.gain.low > 0)
    assert results.beats_translation is not None
    assert change.language == "sw"


def test_what_is_reported_was_not_chosen_on(
    searched: tuple[Path, Change, SearchResults], llama: Model, task: TaskItems
) -> None:
    folder, change, results = searched
    text = (folder / NAME).read_text(encoding="utf-8")
    assert f'"{task.development[0].id}":' in text
    assert not any(f'"{item.id}":' in text for item in task.report)
    questions = asked(llama, [item.own for item in task.report], task.report)
    scores = answer_scores(llama, questions, [None, change])
    values = [scale_of(questions).values(rows, questions.right).mean() for rows in scores]
    assert [row.value for row in results.reported[:2]] == pytest.approx(values)


def test_a_search_that_is_done_is_read(
    searched: tuple[Path, Change, SearchResults],
    llama: Model,
    task: TaskItems,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder, change, results = searched
    monkeypatch.setattr(module._Search, "run", None)
    again, same = find_recipe(llama, task, pairs(12), folder, budget=BUDGET)
    assert same == results
    assert again.describe() == change.describe()
    assert SearchResults.from_json(read_json(folder / RESULTS)) == results
    assert load(folder / BEST).describe() == change.describe()


def test_a_search_that_was_stopped_goes_on(
    searched: tuple[Path, Change, SearchResults],
    llama: Model,
    task: TaskItems,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole, _, results = searched
    lines = (whole / NAME).read_text(encoding="utf-8").splitlines(keepends=True)
    stopped = next(i for i, line in enumerate(lines) if '"round last"' in line)
    (tmp_path / NAME).write_text("".join(lines[: stopped + 1]), encoding="utf-8")
    (whole / "fits").rename(tmp_path / "fits")
    try:
        monkeypatch.setattr("langsteer.fitting.learned._fit", None)  # fits are kept
        _, again = find_recipe(llama, task, pairs(12), tmp_path, budget=BUDGET)
    finally:
        (tmp_path / "fits").rename(whole / "fits")
    assert again.recipe == results.recipe
    assert again.reported == results.reported
    written = (tmp_path / NAME).read_text(encoding="utf-8").splitlines(keepends=True)
    assert written[: stopped + 1] == lines[: stopped + 1]
    assert len(written) > stopped + 1
    assert sum('"round ' in line for line in written) == 4


def test_other_searches_are_not_mixed(
    searched: tuple[Path, Change, SearchResults], llama: Model, task: TaskItems
) -> None:
    folder, *_ = searched
    with pytest.raises(DiagnosisError, match="another search"):
        find_recipe(llama, task, pairs(16), folder, budget=BUDGET)


def test_too_few_items_and_text_that_is_asked(
    llama: Model, task: TaskItems, tmp_path: Path
) -> None:
    few = replace(task, report=task.report[:5])
    with pytest.raises(DiagnosisError, match="5 items to report on"):
        find_recipe(llama, few, pairs(12), tmp_path, budget=BUDGET)
    text = pairs(12)
    lines = (str(task.report[0].own.prompt), *text.texts["sw"][1:])
    held = replace(text, texts={**text.texts, "sw": lines})
    with pytest.raises(DiagnosisError, match="fit on other text"):
        find_recipe(llama, task, held, tmp_path, budget=BUDGET)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_written_that_is_not_better(
    searched: tuple[Path, Change, SearchResults], llama: Model, tmp_path: Path
) -> None:
    _, _, results = searched
    change = make_vector(llama)
    file = tmp_path / "sw.safetensors"

    def with_gain(low: float) -> SearchResults:
        best = replace(results.reported[1], gain=Interval(5.0, low, 9.0))
        rows = (results.reported[0], best, *results.reported[2:])
        return replace(results, reported=rows, better=low > 0)

    assert write_if_better(change, with_gain(-1.0), file) is None
    assert not file.exists()
    write_if_better(change, with_gain(-1.0), file, anyway=True)
    assert load(file).scores["search"]["better_than_nothing"] is False
    assert write_if_better(change, with_gain(1.0), file) == file
    told = load(file).scores["search"]
    assert told["better_than_nothing"] is True
    assert told["gain"] == {"value": 5.0, "low": 1.0, "high": 9.0}


def test_another_vector_is_not_replaced(
    searched: tuple[Path, Change, SearchResults], llama: Model, tmp_path: Path
) -> None:
    file = tmp_path / "sw.safetensors"
    check_place(file)
    make_vector(llama).save(file)
    with pytest.raises(SaveError, match="is there already"):
        check_place(file)
    check_place(file, overwrite=True)
    write_if_better(make_vector(llama), searched[2], file, anyway=True)
    check_place(file)
    file.write_text("notes", encoding="utf-8")
    with pytest.raises(SaveError, match="is there already"):
        check_place(file)


def test_references_are_searched_for_in_nats(llama: Model, tmp_path: Path) -> None:
    rows = [{"prompt": f"swali {i}", "reference": f"jibu {7 * i}"} for i in range(20)]
    task = made_task(tmp_path, rows)
    change, results = find_recipe(llama, task, pairs(8), tmp_path / "search", budget=0.01)
    assert results.unit == "nats"
    tried = (tmp_path / "search" / "trials.jsonl").read_text(encoding="utf-8")
    assert '"candidate": "answers(reach=1):' in tried
    assert '"candidate": "mean_difference:' in tried
    assert [row.name for row in results.reported][:2] == ["nothing", results.recipe]
    questions = asked(llama, [item.own for item in task.report], task.report)
    before, after = answer_scores(llama, questions, [None, change])
    gains = [float(b[0] - a[0]) for a, b in zip(before, after, strict=True)]
    assert results.gain.value == pytest.approx(sum(gains) / len(gains), abs=1e-4)


@pytest.mark.parametrize(
    ("ahead", "over_nothing", "chosen"),
    [
        ([10.0, -9.0, 2.0, 0.0], 0.5, False),
        ([10.0, 9.0, 11.0, 8.0], 0.5, True),
        ([10.0, -9.0, 2.0, 0.0], -0.5, True),
    ],
)
def test_what_is_better_by_luck_is_not_chosen(
    ahead: list[float],
    over_nothing: float,
    chosen: bool,
    llama: Model,
    task: TaskItems,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A lead over the default of less than its standard error, where the default is not behind nothing."""
    asked_of: list[tuple[str, str]] = []

    def told(self: Scorer, first: Candidate, second: Candidate, *_: object) -> Array:
        asked_of.append((first.name, second.name))
        return np.array(ahead)

    ranked = Scorer.standings

    def standings(self: Scorer, *asked: Any) -> list[Standing]:
        return [replace(standing, smooth=over_nothing) for standing in ranked(self, *asked)]

    monkeypatch.setattr(Scorer, "ahead", told)
    monkeypatch.setattr(Scorer, "standings", standings)
    _, results = find_recipe(llama, task, pairs(12), tmp_path, budget=BUDGET)
    [(best, default)] = asked_of
    assert default.startswith("learned:")
    assert results.recipe == (best if chosen else default)
    assert [row.name for row in results.reported][:2] == ["nothing", results.recipe]


def test_averages_of_given_vectors_are_tried_first(
    llama: Model, task: TaskItems, tmp_path: Path
) -> None:
    vectors = {
        tag: make_vector(llama, seed, language=tag) for seed, tag in enumerate(("el", "tr", "hi"))
    }
    _, results = find_recipe(llama, task, pairs(12), tmp_path, budget=1e-6, vectors=vectors)
    assert any(standing.candidate.startswith("average") for standing in results.standings)


def test_another_seed_is_named(
    searched: tuple[Path, Change, SearchResults], llama: Model, task: TaskItems
) -> None:
    folder, _, _ = searched
    with pytest.raises(DiagnosisError, match="seed is 0 there, and 1 now"):
        find_recipe(llama, task, pairs(12), folder, budget=BUDGET, seed=1)
