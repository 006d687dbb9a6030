"""A diagnosis whole, on tiny models, and the command."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from langsteer.cli import app, options
from langsteer.diagnosis import diagnose as module
from langsteer.diagnosis.diagnose import diagnose
from langsteer.model.model import Model
from tests.helpers import build_model
from tests.made.questions import item_rows, label_rows, made_task, written


@pytest.mark.parametrize("architecture", ["gemma3", "gpt2", "qwen3_moe"])
def test_architectures(architecture: str, tmp_path: Path) -> None:
    model = build_model(architecture)
    found = diagnose(model, made_task(tmp_path, item_rows(40)))
    assert found.items == 40
    assert found.unit == "points"
    assert found.corners.gap is not None
    assert {reach.means for reach in found.reaches.exact} == {"offset", "map", "labels"}
    assert str(found.verdict)


def test_references_are_told_in_nats(llama: Model, tmp_path: Path) -> None:
    rows = [
        {"prompt": f"swali {i}", "reference": f"jibu {i}", "english": {"prompt": f"question {i}"}}
        for i in range(40)
    ]
    found = diagnose(llama, made_task(tmp_path, rows))
    assert found.unit == "nats"
    assert found.direct.value < 0
    assert "nats" in str(found.verdict)
    assert json.dumps(found.as_json(), allow_nan=False)


def test_few_references_are_told(llama: Model, tmp_path: Path) -> None:
    rows = [{"prompt": f"swali {i}", "reference": f"jibu {i}"} for i in range(12)]
    found = diagnose(llama, made_task(tmp_path, rows))
    assert str(found.verdict) == "12 items are too few for any verdict: ask 32 or more."
    assert found.reaches.exact == ()


def test_few_items_are_told_before_anything_is_learned(
    llama: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "reaches", None)
    found = diagnose(llama, made_task(tmp_path, item_rows(40)), limit=12, effect=10)
    assert found.verdict.kind == "too few items"
    assert found.items == 12
    assert "12 items are too few" in str(found.verdict)


def test_without_english_the_built_in_corpus_stands_in(llama: Model, tmp_path: Path) -> None:
    rows = [{k: v for k, v in row.items() if k != "english"} for row in label_rows(40)]
    found = diagnose(llama, made_task(tmp_path, rows))
    assert "builtin" in found.reaches.pairs
    assert found.verdict.kind in ("steer", "unclear")


def test_the_command(llama: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(options, "open_model", lambda *_: llama)
    rows = item_rows(36)
    english = written(tmp_path / "en.jsonl", [row.pop("english") for row in rows])
    file = written(tmp_path / "items.jsonl", rows)
    arguments = ["diagnose", "-l", "sw", "--on", str(file), "--english", str(english)]
    shown = CliRunner().invoke(app, [*arguments, "-o", str(tmp_path / "found.json")])
    assert shown.exit_code == 0, shown.output
    for words in ("answers in", "the gap to English", "To the first order", "Run exactly"):
        assert words in shown.stdout
    told = CliRunner().invoke(app, [*arguments, "--json"])
    values = json.loads(told.stdout)
    kept = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    assert {**values, "seconds": 0} == {**kept, "seconds": 0}
    assert values["verdict"]["kind"]


@pytest.mark.parametrize(
    ("on", "more", "message"),
    [
        ("sib20", [], "there is no file sib20, and no benchmark 'sib20'; did you mean 'sib200'"),
        (
            "there",
            [],
            "there is a folder, and no benchmark is called so: name a file of items in it",
        ),
        (
            "items",
            ["--form", "native"],
            "--form goes with a benchmark, and items is a file of items",
        ),
        (
            "items",
            ["--data", "there"],
            "--data goes with a benchmark, and items is a file of items",
        ),
        ("items", ["--benchmarks", "b.yaml"], "--benchmarks goes with a benchmark, and items is"),
        ("no.jsonl", [], "cannot read no.jsonl"),
        ("sib200", ["--english", "en.jsonl"], "which has its own"),
    ],
)
def test_tasks_that_there_are_not(
    on: str, more: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there").mkdir()
    written(Path("items"), item_rows(4))
    monkeypatch.setattr(options, "open_model", None)  # told before a model is opened
    ran = CliRunner().invoke(app, ["diagnose", "-l", "sw", "--on", on, *more])
    assert message in str(ran.exception)


def test_a_diagnosis_of_something_else_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(options, "open_model", None)  # told before a model is opened
    file, output = written(tmp_path / "items.jsonl", item_rows(36)), tmp_path / "found.json"
    made = {"model": "tiny", "source": str(file), "language": "sw"}
    rest: dict[str, object] = {"corners": {}, "reaches": {}, "verdict": {}}

    def said(*more: str, **changed: str) -> str:
        output.write_text(json.dumps({**made, **changed, **rest}), encoding="utf-8")
        arguments = ["-l", "sw", "-m", "tiny", "--on", str(file), "-o", str(output), *more]
        return str(CliRunner().invoke(app, ["diagnose", *arguments]).exception)

    for changed in ({"model": "other"}, {"source": "sib200"}, {"language": "id"}):
        told = {**made, **changed}
        named = f"of {told['model']} on {told['source']} ({told['language']})"
        message = said(**changed)
        assert message.startswith(f"{output} is there already and is the diagnosis {named}: name")
        assert "--overwrite" in message
        assert "not callable" in said("--overwrite", **changed)
    assert "not callable" in said()
