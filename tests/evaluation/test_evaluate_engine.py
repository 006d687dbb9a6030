"""Vectors measured on answers that an engine writes, with a stand-in for it."""

import json
from pathlib import Path
from typing import Any, ClassVar

import pytest

pytest.importorskip("lm_eval", reason="lm-eval is not installed")

import torch
from typer.testing import CliRunner

from langsteer.cli import app, options
from langsteer.errors import EngineError
from langsteer.evaluation import evaluate as evaluation
from langsteer.evaluation.evaluate import STEERED, UNSTEERED, evaluate
from langsteer.evaluation.harness import engine
from langsteer.model.model import Model
from langsteer.steering.logit_bias import LogitBias
from langsteer.steering.sequence import ChangeSequence
from tests.helpers import make_vector
from tests.made.written import StandIn, written_benchmark


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch, llama: Model) -> type[StandIn]:
    class Engine(StandIn):
        model = llama
        opened: ClassVar = []

    monkeypatch.setattr(options, "open_model", lambda *_: llama)
    monkeypatch.setattr(engine, "OfflineEngine", Engine)
    monkeypatch.setattr(engine, "check_version", lambda version: None)
    return Engine


def asked(llama: Model, tmp_path: Path) -> dict[str, Any]:
    written_benchmark(tmp_path)
    vector = make_vector(llama, 3, language="sw", strength=4.0, positions="all")
    return {
        "model": llama,
        "tasks": ["sayings"],
        "vectors": {"sw": vector},
        "data": tmp_path / "data",
        "benchmark_files": [tmp_path / "own"],
    }


def test_the_scores_are_those_of_transformers(
    llama: Model, tmp_path: Path, stand_in: type[StandIn]
) -> None:
    keys = asked(llama, tmp_path)
    (plain,) = evaluate(**keys)
    with engine.engine_writer(llama, "tiny", {"max_num_seqs": 4}, 3) as writer:
        (found,) = evaluate(**keys, writer=writer)
        rows = writer.rows
    assert (found.unsteered, found.steered) == (plain.unsteered, plain.steered)
    assert found.engine is not None
    assert {told["name"] for told in found.engine.values()} == {"vllm"}
    for variant in (UNSTEERED, STEERED):
        assert found.engine[variant]["checked"]["items"] == 3
        assert found.engine[variant]["checked"]["differ"] == 0
    [opened] = stand_in.opened
    assert opened.calls == [6, 6]
    assert opened.closed
    assert not rows.exists()
    assert plain.engine is None


def test_each_task_tells_of_its_own_answers(
    llama: Model, tmp_path: Path, stand_in: type[StandIn]
) -> None:
    keys = asked(llama, tmp_path) | {"tasks": ["sayings", "sayings"]}
    with engine.engine_writer(llama, "tiny", {}, 2) as writer:
        for found in evaluate(**keys, writer=writer):
            assert found.engine is not None
            assert found.engine[STEERED]["checked"]["items"] == 2


def test_the_command(llama: Model, tmp_path: Path, stand_in: type[StandIn]) -> None:
    keys = asked(llama, tmp_path)
    keys["vectors"]["sw"].save(tmp_path / "sw.safetensors")
    arguments = [
        *("evaluate", "-t", "sayings", "-v", str(tmp_path / "sw.safetensors")),
        *("--data", str(tmp_path / "data"), "--benchmarks", str(tmp_path / "own")),
        *("--engine", "vllm", "--check-engine", "2"),
    ]
    shown = CliRunner().invoke(app, arguments)
    assert shown.exit_code == 0, shown.output
    said = " ".join(shown.output.split())
    assert "sayings_sw, steered: written by vLLM" in said
    assert "of 2 answers that both engines wrote, 0 differ" in said
    told = CliRunner().invoke(
        app, [*arguments, "--engine-arguments", '{"block_size": 32}', "--json"]
    )
    record = json.loads(told.stdout[told.stdout.index("[") :])[0]["engine"]["steered"]
    assert record["arguments"] == {"block_size": 32}
    assert stand_in.opened[-1].arguments["block_size"] == 32


def test_chosen_answers_need_no_engine(
    llama: Model, data: Path, stand_in: type[StandIn], monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(evaluation, "announce", said.append)
    vector = make_vector(llama, 3, language="sw")
    with engine.engine_writer(llama, "tiny", {}, 0) as writer:
        (found,) = evaluate(llama, ["sib200"], {"sw": vector}, data=data, limit=4, writer=writer)
    assert found.engine is None
    assert not stand_in.opened
    assert "no engine wrote any" in said[0]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--check-engine", "2"], "add --engine vllm"),
        (["--engine", "vllm", "--engine-arguments", "{"], "is not JSON"),
        (["--engine", "vllm", "--engine-arguments", "[1]"], "is a JSON object"),
        (["--engine", "vllm", "--engine-arguments", '{"trust_remote_code": true}'], "has no"),
    ],
)
def test_what_is_refused(
    llama: Model, tmp_path: Path, stand_in: type[StandIn], more: list[str], message: str
) -> None:
    vector = make_vector(llama, 3, language="sw").save(tmp_path / "sw.safetensors")
    arguments = ["evaluate", "-t", "sib200", "-v", str(vector), *more]
    refused = CliRunner().invoke(app, arguments)
    assert isinstance(refused.exception, EngineError)
    assert message in str(refused.exception)


def test_a_bias_where_answers_are_chosen(llama: Model, data: Path) -> None:
    """Their tokens count as written: the same for all is nothing, and none is missed."""
    about = {"name": llama.name, "fingerprint": llama.fingerprint}
    bias = LogitBias(torch.ones(llama.vocab_size), "sw", "en", about, "test")
    (found,) = evaluate(llama, ["sib200"], {"sw": bias}, data=data, limit=4)
    assert (found.missed, found.change.value) == (0, 0.0)


def test_a_bias_where_answers_are_written(llama: Model, tmp_path: Path) -> None:
    about = {"name": llama.name, "fingerprint": llama.fingerprint}
    bias = LogitBias(torch.ones(llama.vocab_size), "sw", "en", about, "test")
    keys = asked(llama, tmp_path) | {"vectors": {"sw": bias}}
    (found,) = evaluate(**keys)
    assert (found.missed, found.change.value) == (0, 0.0)


def test_an_engine_is_told_of_biases(llama: Model, tmp_path: Path, stand_in: type[StandIn]) -> None:
    about = {"name": llama.name, "fingerprint": llama.fingerprint}
    values = torch.randn(llama.vocab_size, generator=torch.Generator().manual_seed(0))
    bias = LogitBias(values, "sw", "en", about, "test", strength=2.0)
    vector = make_vector(llama, 3, language="sw", strength=4.0, positions="all")
    for change in (bias, ChangeSequence((vector, bias))):
        keys = asked(llama, tmp_path / type(change).__name__) | {"vectors": {"sw": change}}
        (plain,) = evaluate(**keys)
        with engine.engine_writer(llama, "tiny", {}, 6) as writer:
            (found,) = evaluate(**keys, writer=writer)
        assert (found.unsteered, found.steered) == (plain.unsteered, plain.steered)
        assert found.missed == 0
        assert found.engine is not None
        assert {told["name"] for told in found.engine.values()} == {"vllm"}
        assert found.engine[STEERED]["checked"]["differ"] == 0
