"""Vectors measured on benchmarks: the numbers, the command, and what is refused."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("lm_eval", reason="lm-eval is not installed")

import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from langsteer import progress
from langsteer.cli import app, options
from langsteer.errors import BenchmarkError, LangsteerError
from langsteer.evaluation.benchmarks import get_benchmark, load_docs, make_task
from langsteer.evaluation.evaluate import STEERED, evaluate
from langsteer.evaluation.harness.coverage import Coverage
from langsteer.evaluation.harness.model import LangsteerLM
from langsteer.evaluation.harness.tasks import TaskInfo, run_tasks
from langsteer.model.model import Model
from langsteer.model.opening import load_model
from tests.helpers import vector_at
from tests.made.own import own_data, own_file


def test_scores_are_those_of_the_harness(llama: Model, data: Path) -> None:
    change = vector_at(llama, 1)
    (found,) = evaluate(llama, ["sib200"], {"sw": change}, data=data)
    benchmark = get_benchmark("sib200")
    task = make_task(benchmark, "sw", load_docs(benchmark, "sw", "test", data), name="t_sw")
    for change_or_none, score in ((None, found.unsteered), (change, found.steered)):
        vectors = {"sw": change_or_none} if change_or_none else None
        lm = LangsteerLM(llama, vectors=vectors, tasks={"t_sw": TaskInfo("sw", ("text",))})
        assert run_tasks(lm, {"t_sw": task})["results"]["t_sw"]["acc,none"] == pytest.approx(score)
    assert found.items == 14
    assert found.change.value == pytest.approx(found.steered - found.unsteered)


def test_the_command(
    llama: Model, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(options, "open_model", lambda *_: llama)
    vector_at(llama, 1).save(tmp_path / "sw.safetensors")
    arguments = ["evaluate", "-t", "sib200", "-v", str(tmp_path), "--data", str(data)]
    shown = CliRunner().invoke(app, arguments)
    assert shown.exit_code == 0
    assert "sib200_sw" in shown.stdout
    told = CliRunner().invoke(app, [*arguments, "--json"])
    assert json.loads(told.stdout)[0]["items"] == 14


def test_the_command_shows_which_tokens_are_steered(
    llama: Model, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(options, "open_model", lambda *_: llama)
    vector_at(llama, 1).save(tmp_path / "sw.safetensors")
    arguments = ["evaluate", "-t", "sib200", "-v", str(tmp_path), "--data", str(data)]
    arguments += ["--show-tokens", "--limit", "2"]
    (first, second) = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)
    assert {s["part"] for s in first["stretches"] if s["steered"]} == {"text"}
    assert first["item"] != second["item"]
    table = CliRunner().invoke(app, arguments).stdout
    assert "sib200_sw, item " in table
    assert "sw at source" in table
    assert "The topic of this text is" in table


def test_the_command_tells_of_items_that_are_missed(
    llama: Model, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(options, "open_model", lambda *_: llama)
    vector_at(llama, 1).save(tmp_path / "sw.safetensors")
    covered = {(STEERED, "sib200_sw"): Coverage(14, 3)}
    monkeypatch.setattr(LangsteerLM, "_count", lambda self, *_: self.coverage.update(covered))
    arguments = ["evaluate", "-t", "sib200", "-v", str(tmp_path), "--data", str(data)]
    told = CliRunner().invoke(app, arguments)
    assert "sib200_sw: the vector touched no token of 3 of 14 items" in told.stderr


def damaged(weights: dict[str, torch.Tensor], kind: str) -> None:
    if kind == "a page of zeros":
        weights["model.layers.2.mlp.up_proj.weight"].view(-1)[100:1124] = 0
    else:
        weights["lm_head.weight"][50:60] = torch.nan


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("a page of zeros", "has other weights: fit one for it"),
        ("the head", "are not numbers|not finite"),
    ],
)
def test_the_command_on_damaged_weights(
    folder: Path, data: Path, tmp_path: Path, kind: str, message: str
) -> None:
    copy = shutil.copytree(folder, tmp_path / "model")
    vector = tmp_path / "sw.safetensors"
    vector_at(load_model(copy), 1).save(vector)
    weights = load_file(copy / "model.safetensors")
    damaged(weights, kind)
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    more = ["--carry"] if kind == "the head" else []
    arguments = [
        "evaluate",
        "-t",
        "sib200",
        "-v",
        str(vector),
        "--data",
        str(data),
        "-m",
        str(copy),
    ]
    told = CliRunner().invoke(app, [*arguments, *more])
    assert isinstance(told.exception, LangsteerError)
    assert re.search(message, str(told.exception))


def test_the_command_asks_benchmarks_of_one_s_own(
    llama: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(options, "open_model", lambda *_: llama)
    vector_at(llama, 1).save(tmp_path / "sw.safetensors")
    own_file(tmp_path / "own")
    places = ["-v", str(tmp_path), "--data", str(own_data(tmp_path / "data"))]
    arguments = ["evaluate", "-t", "colours", *places, "--json"]
    told = CliRunner().invoke(app, [*arguments, "--benchmarks", str(tmp_path / "own")])
    assert json.loads(told.stdout)[0]["task"] == "colours_sw"
    assert isinstance(CliRunner().invoke(app, arguments).exception, BenchmarkError)


def test_languages_that_a_benchmark_lacks_are_told(
    llama: Model,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(progress, "_enabled", True)
    own_file(tmp_path / "own")
    vectors = {tag: vector_at(llama, 1) for tag in ("sw", "hi", "el")}
    how = {"data": own_data(tmp_path / "data"), "benchmark_files": [tmp_path / "own"]}
    (result,) = evaluate(llama, ["colours"], vectors, **how)
    assert result.language == "sw"
    assert "has no items in hi, el: not measured there" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("tasks", "languages", "message"),
    [
        ([], [], "name a benchmark or a task"),
        (["sib20"], [], "did you mean sib200"),
        (["sib200"], ["et"], "no vector for 'et'"),
        (["xnli"], [], "XNLI: no folder|no folder|expected"),
    ],
)
def test_what_there_is_not(
    llama: Model, data: Path, tasks: list[str], languages: list[str], message: str
) -> None:
    with pytest.raises(BenchmarkError, match=message):
        evaluate(llama, tasks, {"sw": vector_at(llama, 1)}, languages=languages, data=data)


class Tasks:
    """The harness's index, with a task of SIB-200 under names of the harness's own."""

    all_tasks = ("topics_sw", "topics", "topics_broken")

    def __init__(self, data: Path) -> None:
        benchmark = get_benchmark("sib200")
        docs = load_docs(benchmark, "sw", "test", data)
        self.tasks = {
            name: make_task(benchmark, "sw", docs, name=name) for name in self.all_tasks[:2]
        }

    def load(self, names: list[str]) -> dict[str, Any]:
        if names == ["topics_broken"]:
            raise ConnectionError("the hub is\nfar away")
        return {"tasks": {name: self.tasks[name] for name in names}}


@pytest.fixture
def harness(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = Tasks(data)
    monkeypatch.setattr("lm_eval.tasks.TaskManager", lambda: tasks)


@pytest.mark.usefixtures("harness")
def test_tasks_of_the_harness(llama: Model, data: Path) -> None:
    change = vector_at(llama, 1)
    (own,) = evaluate(llama, ["sib200"], {"sw": change}, data=data)
    (named,) = evaluate(llama, ["topics_sw"], {"sw": change, "et": change})
    (told,) = evaluate(llama, ["topics"], {"sw": change, "et": change}, languages=["sw"])
    for result in (named, told):
        assert result.language == "sw"
        assert (result.items, result.missed) == (own.items, 0)
        assert (result.unsteered, result.steered) == (own.unsteered, own.steered)


@pytest.mark.usefixtures("harness")
@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("topics_ws", "no task or benchmark 'topics_ws'; did you mean topics_sw"),
        ("topics_broken", "data of the task topics_broken cannot be loaded: the hub is far away"),
        ("topics_sw", "topics_sw names no language that has a vector .et."),
    ],
)
def test_tasks_that_the_harness_has_not(llama: Model, task: str, message: str) -> None:
    with pytest.raises(BenchmarkError, match=message):
        evaluate(llama, [task], {"et": vector_at(llama, 1)})
