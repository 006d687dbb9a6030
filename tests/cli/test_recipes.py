"""langsteer fit --for: what is printed, written, and refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from langsteer.cli import options, recipes
from langsteer.diagnosis.found import Found, Reported, gain_over_languages
from langsteer.evaluation.statistics import difference, paired_bootstrap
from langsteer.model.model import Model
from langsteer.steering.folder import load
from tests.helpers import pairs, run
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
    monkeypatch.setattr(options, "open_model", lambda *_: llama)
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
    ],
)
def test_what_is_searched_for_is_not_named(
    items: Path, more: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, *arguments(items, items.parent / "o"), *more)
    assert code == 1
    assert message in err


def test_options_of_a_search_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "fit", "-l", "sw", "-o", str(tmp_path / "o"), "--anyway")
    assert (code, err) == (1, "langsteer: --anyway: --for is needed with it\n")


def found_of(tag: str, before: list[float], after: list[float]) -> Found:
    gain = paired_bootstrap(difference, np.array(before), np.array(after))
    reported = (
        Reported("nothing", float(np.mean(before)), None, tuple(before)),
        Reported("learned:1@source*1", float(np.mean(after)), gain, tuple(after)),
    )
    return Found(
        "tiny", "items", tag, "halves", "points", False, "learned:1@source*1", gain.low > 0, reported,
        None, (), 1, 40, len(before), 1.0, 2.0, {},
    )  # fmt: skip


def test_several_languages_together_tell_more_than_each(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = [0.0] * 40
    searches = [
        found_of("sw", before, [100.0 * (i in (0, 1, 2)) for i in range(40)]),
        found_of("tr", before, [100.0 * (i in (7, 8, 9, 10)) for i in range(40)]),
    ]
    monkeypatch.setattr(recipes.shared, "console", lambda *_: Console(width=200))
    recipes._print_together(searches)
    said = capsys.readouterr().out
    assert "Over the 2 languages together, what was chosen has +8.8 [" in said
    together = gain_over_languages(searches)
    assert together.high - together.low < searches[1].gain.high - searches[1].gain.low
    assert recipes._too_few(searches[0]).startswith(" So many items show differences of ")
    assert recipes._too_few(found_of("sw", before, before)) == ""
