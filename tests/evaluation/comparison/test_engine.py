"""A comparison whose written answers come from an engine, with a stand-in for it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

pytest.importorskip("lm_eval", reason="lm-eval is not installed")

from langsteer.errors import CompareError, ConfigError, EngineError
from langsteer.evaluation.comparison import making, run, unit
from langsteer.evaluation.comparison.asked import asked_for
from langsteer.evaluation.comparison.cells import Cell, cell_path, read_cell
from langsteer.evaluation.comparison.configuration import Chosen, Comparison, read_comparison
from langsteer.evaluation.comparison.run import compare
from langsteer.evaluation.harness import engine
from langsteer.evaluation.report.notes import notes_on
from langsteer.evaluation.report.samples import ItemScores
from langsteer.model.model import Model
from langsteer.text.corpus import ParallelCorpus
from tests.made.comparisons import wanted
from tests.made.topics import WORDS
from tests.made.written import StandIn, written_benchmark

STEERED = {"mean_difference": {"layer": 1, "strength": 4.0, "positions": "all"}}


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch, llama: Model) -> type[StandIn]:
    class Engine(StandIn):
        model = llama
        opened: ClassVar = []

    monkeypatch.setattr(unit, "load_model", lambda name, **_: llama)
    lines = {
        tag: tuple(f"{mark} {word} {mark} number {n}" for n, word in enumerate(WORDS * 3))
        for tag, mark in (("sw", "wa"), ("en", "of"))
    }
    corpus = ParallelCorpus(lines, "en", "pairs")
    monkeypatch.setattr(making, "fit_corpus", lambda path, lines, tag: corpus.only(tag))
    monkeypatch.setattr(engine, "OfflineEngine", Engine)
    for place in (unit, run):
        monkeypatch.setattr(place, "check_version", lambda version: None)
    return Engine


def asked(tmp_path: Path, **changes: Any) -> Comparison:
    keys = written_benchmark(tmp_path) | {"methods": ["direct", STEERED], "engine": "vllm"}
    return wanted(tmp_path, **{**keys, **changes})


def cell(tmp_path: Path, method: str, folder: str = "out") -> Cell:
    return read_cell(cell_path(tmp_path / folder, "tiny", "sayings", "sw", method))


def answers(of: Cell) -> list[str | None]:
    return [item.answer for item in of.items]


def test_the_engine_writes_what_transformers_writes(
    tmp_path: Path, stand_in: type[StandIn]
) -> None:
    outcome = compare(asked(tmp_path, check_engine=4))
    assert outcome.failed == []
    compare(asked(tmp_path, engine="transformers", output="plain"))
    for method in ("direct", "mean_difference"):
        by_engine, plain = cell(tmp_path, method), cell(tmp_path, method, "plain")
        assert answers(by_engine) == answers(plain)
        assert by_engine.missed == plain.missed == 0
        told = by_engine.settings["engine"]
        assert told["name"] == "vllm"
        assert told["checked"] == {"items": 4, "differ": 0, "ties": 0, "within": 0.001}
        assert "engine" not in plain.settings
        assert "engine" not in plain.settings["asked"]
        assert by_engine.cost.tokens > 0
    assert answers(cell(tmp_path, "direct")) != answers(cell(tmp_path, "mean_difference"))
    [opened] = stand_in.opened
    assert opened.calls == [6, 6], "all items of a cell at once"
    assert opened.dtype == "float32"
    assert opened.arguments == {"max_model_len": 1024}


def test_answers_that_differ_are_counted_and_told(tmp_path: Path, stand_in: type[StandIn]) -> None:
    stand_in.slip = 2
    compare(asked(tmp_path, methods="direct", check_engine=4))
    told = cell(tmp_path, "direct").settings["engine"]
    assert told["checked"] == {"items": 4, "differ": 2, "ties": 0, "within": 0.001}
    scored = ItemScores([cell(tmp_path, "direct")], "value")
    assert "of 4 answers that both engines wrote, 2 differ, 0 of these" in " ".join(
        notes_on(scored)
    )


def test_what_the_engine_cannot_do_transformers_does(
    tmp_path: Path, stand_in: type[StandIn]
) -> None:
    script, squares = "only_script", {"projection": {"layer": 1}}
    outcome = compare(asked(tmp_path, methods=[script, squares, "direct"]))
    assert outcome.failed == []
    reasons = {
        method: cell(tmp_path, method).settings["engine"].get("why", "")
        for method in (script, "projection", "direct")
    }
    assert reasons == {
        script: "it holds the choice of tokens to some of them",
        "projection": "vLLM adds vectors, and this is a projection",
        "direct": "",
    }
    assert [opened.calls for opened in stand_in.opened] == [[6]]


def test_cells_of_another_engine_are_not_taken(tmp_path: Path) -> None:
    compare(asked(tmp_path, methods="direct"))
    with pytest.raises(CompareError, match="made with engine 'vllm', and None is asked for"):
        compare(asked(tmp_path, methods="direct", engine="transformers"))
    assert len(compare(asked(tmp_path, methods="direct")).kept) == 1
    plain = asked(tmp_path, methods="direct", engine="transformers", output="plain")
    compare(plain)
    with pytest.raises(CompareError, match="made with engine None, and 'vllm' is asked for"):
        compare(asked(tmp_path, methods="direct", output="plain"))
    assert "engine" not in asked_for(plain, "sayings", Chosen("direct"))
    choices = wanted(tmp_path, benchmarks="sib200", engine="vllm")
    assert "engine" not in asked_for(choices, "sib200", Chosen("direct"))


def test_an_engine_that_does_not_open_is_tried_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def open_engine(*_: Any) -> None:
        tried.append(1)
        raise EngineError("vLLM cannot open tiny: no such architecture")

    monkeypatch.setattr(engine, "OfflineEngine", open_engine)
    outcome = compare(asked(tmp_path))
    assert {failure.error for failure in outcome.failed} == {
        "vLLM cannot open tiny: no such architecture"
    }
    assert len(outcome.failed) == 2
    assert tried == [1]


def test_without_vllm_nothing_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def check(version: str | None) -> None:
        raise EngineError("vLLM is not installed: pip install 'langsteer[vllm]'")

    for place in (unit, run):
        monkeypatch.setattr(place, "check_version", check)
    with pytest.raises(EngineError, match="not installed"):
        compare(asked(tmp_path))
    assert not (tmp_path / "out").exists()


def test_prompts_that_need_more_open_it_anew(tmp_path: Path, llama: Model) -> None:
    writer = engine.EngineWriter(llama, "tiny", tmp_path, {"max_model_len": 20})
    with pytest.raises(
        EngineError, match="take 21 tokens, and engine_arguments says max_model_len 20"
    ):
        writer._opened(21)
    first = engine.EngineWriter(llama, "tiny", tmp_path)
    opened: Any = first._opened(30)
    assert first._opened(1000) is opened
    assert opened.arguments["max_model_len"] == 1024  # all that the model reads
    again: Any = first._opened(1100)
    assert again is not opened
    assert opened.closed
    first.close()
    assert again.closed


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"engine": "vlm"}, "engine must be transformers or vllm, not 'vlm'"),
        ({"engine_arguments": {"max_num_sqs": 3}}, "no 'max_num_sqs'.* mean 'max_num_seqs'"),
        ({"engine_arguments": {"quantization": "fp8"}}, "would change answers"),
        ({"engine_arguments": {"trust_remote_code": True}}, "would run a model's own code"),
        ({"engine": "transformers", "check_engine": 3}, "check_engine is for another engine"),
        ({"check_engine": -1}, "check_engine must be a whole number"),
    ],
)
def test_a_wrong_configuration(tmp_path: Path, keys: Mapping[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        asked(tmp_path, **keys)


def test_the_configuration_is_kept(tmp_path: Path) -> None:
    given = asked(tmp_path, check_engine=8, engine_arguments={"max_model_len": 2048})
    (tmp_path / "c.yaml").write_text(given.as_yaml(), encoding="utf-8")
    assert read_comparison(tmp_path / "c.yaml") == given
    assert "engine" not in asked(tmp_path, engine="transformers").as_yaml()


def test_a_bias_beside_a_vector_is_a_row(tmp_path: Path) -> None:
    recipe = "mean_difference:1@generated*-0.5 + pivot_words*2"
    outcome = compare(asked(tmp_path, methods=["direct", recipe]))
    assert [failure.error for failure in outcome.failed] == []
    told = cell(tmp_path, recipe)
    assert told.settings["engine"]["name"] == "vllm"
    assert told.missed == 0
    assert answers(told) != answers(cell(tmp_path, "direct"))
