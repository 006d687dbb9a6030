"""langsteer fit --for: what is printed, written, and refused."""

import json
from pathlib import Path

import pytest

from langsteer.cli import options
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
