"""langsteer fit --for: what is printed, written, and refused."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from langsteer.cli import options, recipes
from langsteer.cli.refusals import task_of_each
from langsteer.diagnosis import outcome, task
from langsteer.diagnosis.halving import Standing
from langsteer.diagnosis.search_results import Reported, SearchResults, gain_over_languages
from langsteer.evaluation.statistics import difference, paired_bootstrap
from langsteer.model.model import Model
from langsteer.steering.folder import load
from tests.helpers import make_vector, pairs, run
from tests.made.questions import item_rows, written


@pytest.fixture
def items(tmp_path: Path) -> Path:
    return written(tmp_path / "items.jsonl", item_rows(32))


def arguments(items: Path, output: Path) -> list[str]:
    text = pairs(12).texts
    rows = zip(text["sw"], text["en"], strict=True)
    corpus = items.with_name("pairs.tsv")
    corpus.write_text("sw\ten\n" + "".join(f"{a}\t{b}\n" for a, b in rows), encoding="utf-8")
    task = ["--for", str(items), "--budget", "0.02"]
    return ["fit", "-l", "sw", "-c", str(corpus), *task, "-o", str(output)]


def test_a_recipe_is_searched_for_and_written(
    llama: Model, items: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(options, "open_model", lambda **_: llama)
    output = items.parent / "sw.safetensors"
    code, out, err = run(capsys, *arguments(items, output))
    assert code == 0, err
    assert "chosen on" in out
    assert "On 16 other items" in out
    better = "Nothing that was tried" not in out
    assert "is better than nothing by" in out
    assert output.exists() == better
    assert ("No vector was written" in err) == (not better)
    code, out, err = run(capsys, *arguments(items, output), "--anyway", "--json")
    assert code == 0, err
    told = json.loads(out)
    assert told["written"] == str(output)
    assert load(output).scores["search"]["recipe"] == told["recipe"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--layer", "1"], "--layer: --for searches for that"),
        (["--recipe", "learned"], "--recipe: --for searches for that"),
        (["--method", "probe"], "--method: --for searches for that"),
        (["--method", "learned"], "--method: --for searches for that"),
        (
            ["--on", "ray"],
            "--on: --for does not take it, as it searches in this process alone: leave",
        ),
        (["--jobs", "2"], "--jobs: --for does not take it, as it searches in this process alone"),
        (["--router"], "--router: --for does not take it, as a router is made where"),
        (["--together"], "--together: --for does not take it, as it learns each language's"),
    ],
)
def test_what_is_searched_for_is_not_named(
    items: Path, more: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, *arguments(items, items.parent / "o"), *more)
    assert code == 1
    assert message in err


@pytest.mark.parametrize("budget", ["inf", "nan", "-1"])
def test_a_budget_is_so_many_minutes(
    items: Path, budget: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, *arguments(items, items.parent / "o"), "--budget", budget)
    assert code
    assert "Traceback" not in err
    assert "--budget" in err


def test_one_file_of_items_is_of_one_language(
    items: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, "fit", "-l", "sw,et", "--for", str(items), "-o", "o/")
    assert code == 1
    assert f"{items} holds the items of one language, and there are 2: put {{language}}" in err
    assert task_of_each("own.{language}.jsonl", ["sw", "et"]) == {
        "sw": "own.sw.jsonl",
        "et": "own.et.jsonl",
    }
    assert task_of_each("sib200", ["sw", "et"]) == {"sw": "sib200", "et": "sib200"}


def test_a_search_that_is_done_says_so_where_more_minutes_are_given(
    llama: Model, items: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(options, "open_model", lambda **_: llama)
    said: list[str] = []
    monkeypatch.setattr(outcome, "announce", said.append)
    asked = arguments(items, items.parent / "sw.safetensors")
    for more in ([], [], ["--budget", "3"]):
        run(capsys, *asked, *more)
    folder = items.parent / "sw.search"
    assert said == [
        f"sw: already searched in {folder}",
        f"sw: already searched in {folder} with 0.02 minutes: --overwrite, or another output, "
        "searches again",
    ]


def test_items_in_another_language_are_told(tmp_path: Path) -> None:
    pytest.importorskip("lingua")
    lines = [
        "Rais wa nchi hiyo alisema kwamba mkutano utafanyika mwezi ujao",
        "Watoto wengi hawaendi shule kwa sababu ya mvua kubwa",
    ]
    rows = [
        {"prompt": f"{lines[i % 2]} {i}", "choices": ["a", "b"], "answer": 0} for i in range(64)
    ]
    file = written(tmp_path / "items.jsonl", rows)
    for tag, told in (("sw", False), ("et", True)):
        said: list[str] = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(task, "announce", said.append)
            task.read_task(str(file), tag)
        assert bool(said) == told
        assert not told or "most items seem to be in Swahili, not in Estonian" in said[0]


def test_options_of_a_search_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "fit", "-l", "sw", "-o", str(tmp_path / "o"), "--anyway")
    assert (code, err) == (1, "langsteer: --anyway: --for is needed with it\n")


def results_of(tag: str, before: list[float], after: list[float]) -> SearchResults:
    gain = paired_bootstrap(difference, np.array(before), np.array(after))
    reported = (
        Reported("nothing", float(np.mean(before)), None, tuple(before)),
        Reported("learned:1@source*1", float(np.mean(after)), gain, tuple(after)),
    )
    return SearchResults(
        "tiny", "items", tag, "halves", "points", False, "learned:1@source*1", gain.low > 0, reported,
        None, (), 1, 40, len(before), 1.0, 2.0, {},
    )  # fmt: skip


def hits(*places: int) -> list[float]:
    return [100.0 * (i in places) for i in range(40)]


@pytest.mark.parametrize("recipe", ["labels:3@prompt*1", "learned:1@source*1"])
def test_a_vector_from_labels_is_told_to_have_the_task_in_it(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    recipe: str,
) -> None:
    monkeypatch.setattr(recipes.shared, "console", lambda *_: Console(width=300))
    standing = Standing(recipe, "all choices", 16, 50.0, 10.0, 8.0)
    results = results_of("sw", hits(3), hits(*range(20)))
    reported = (results.reported[0], replace(results.reported[1], name=recipe))
    results = replace(results, recipe=recipe, reported=reported, standings=(standing,))
    recipes._print(results, tmp_path / "sw.safetensors", True)
    said = capsys.readouterr().out
    assert ("learned from the right answers" in said) == recipe.startswith("labels")


def test_several_languages_together_tell_more_than_each(
    llama: Model,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = [0.0] * 39 + [100.0]
    after = {
        "sw": hits(0, 1, 2, 39),
        "tr": hits(7, 8, 9, 39),
        "el": hits(11, 12),
        "de": before,
        "hi": hits(*range(20)),
    }
    searches = []
    for tag, values in after.items():
        results = results_of(tag, before, values)
        file = tmp_path / f"{tag}.safetensors"
        assert results.better == (tag == "hi")
        searches.append(recipes._Search(make_vector(llama, language=tag), results, file))
    recipes._write_together(searches)
    written = [search.results.language for search in searches if search.written]
    assert written == ["sw", "tr", "el"]
    told = load(tmp_path / "sw.safetensors").scores["search"]["gain_of_languages_together"]
    unsure = gain_over_languages([search.results for search in searches[:4]])
    assert told == asdict(unsure) == searches[0].as_json()["gain_of_languages_together"]
    assert unsure.high - unsure.low < searches[1].results.gain.high - searches[1].results.gain.low

    monkeypatch.setattr(recipes.shared, "console", lambda *_: Console(width=300))
    recipes._print_together(searches)
    said = capsys.readouterr().out
    assert "Over the 5 languages together, what was chosen has +13.0 [" in said
    assert "are not better than nothing alone have +4.4 [" in said
    assert [line for line in said.splitlines() if line.startswith("Written: ")] == [
        f"Written: {tmp_path / tag}.safetensors" for tag in ("sw", "tr", "el")
    ]


def test_languages_that_gain_nothing_together_are_not_written(
    llama: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    searches = [
        recipes._Search(
            make_vector(llama, language=tag),
            results_of(tag, hits(3), after),
            tmp_path / f"{tag}.safetensors",
        )
        for tag, after in (("sw", hits(0, 3)), ("tr", hits(9)))
    ]
    recipes._write_together(searches)
    recipes._print_together(searches)
    assert list(tmp_path.iterdir()) == []
    assert "more than chance" not in capsys.readouterr().out


def test_how_many_items_a_small_gain_needs() -> None:
    results = results_of("sw", hits(), hits(0, 1))
    assert recipes._too_few(results).startswith(" So many items show differences of ")
    assert recipes._too_few(results_of("sw", hits(), hits())) == ""
