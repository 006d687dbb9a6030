"""A comparison: cells, going on after a stop, failures, and what is refused."""

import gzip
import json
from pathlib import Path

import pytest

pytest.importorskip("lm_eval", reason="lm-eval is not installed")

from langsteer.errors import CompareError
from langsteer.evaluation.comparison import fit_text, making, unit
from langsteer.evaluation.comparison.cells import cell_path, failure_path, read_cell, read_results
from langsteer.evaluation.comparison.configuration import read_comparison
from langsteer.evaluation.comparison.run import Progress, compare
from langsteer.model.model import Model
from langsteer.states.touched import Touched
from langsteer.text.corpus import ParallelCorpus
from tests.made.comparisons import wanted
from tests.made.topics import SIZES, WORDS


@pytest.fixture(autouse=True)
def _model(monkeypatch: pytest.MonkeyPatch, llama: Model) -> None:
    monkeypatch.setattr(unit, "load_model", lambda name, **_: llama)
    lines = {
        tag: tuple(f"{mark} {word} {mark} number {n}" for n, word in enumerate(WORDS * 3))
        for tag, mark in (("sw", "wa"), ("en", "of"))
    }
    corpus = ParallelCorpus(lines, "en", "pairs")

    def fit_corpus(path: str, lines: int | None, language: str) -> ParallelCorpus:
        return corpus.only(language)

    monkeypatch.setattr(making, "fit_corpus", fit_corpus)


def test_every_cell_is_made_and_failures_are_told(data: Path, tmp_path: Path) -> None:
    steps: list[Progress] = []
    outcome = compare(wanted(tmp_path), steps.append)
    assert len(outcome.made) == 5  # no parallel text in Estonian
    assert [failure.key for failure in outcome.failed] == [
        ("tiny", "sib200", "et", "mean_difference")
    ]
    assert "parallel corpus" in outcome.failed[0].error
    assert [step.done for step in steps] == [1, 2, 3, 4, 5, 6]
    assert {step.total for step in steps} == {6}
    results = read_results(tmp_path / "out")
    assert len(results.cells) == 5
    assert len(results.failures) == 1
    cell = read_cell(cell_path(tmp_path / "out", "tiny", "sib200", "sw", "mean_difference"))
    assert len(cell.items) == SIZES["test"]
    assert cell.settings["layer"] in range(4)
    assert cell.cost.tokens > 0
    assert cell.cost.seconds > 0
    assert cell.cost.peak_bytes > 0
    assert cell.cost.training_seconds > 0
    right = [max(range(7), key=item.scores.__getitem__) == item.target for item in cell.items]
    assert cell.harness["acc"] == pytest.approx(sum(right) / len(right))


def test_a_steered_cell_is_what_the_model_says_when_steered_alone(
    data: Path, tmp_path: Path
) -> None:
    compare(wanted(tmp_path, languages="sw"))
    compare(wanted(tmp_path, languages="sw", methods="mean_difference", output="alone"))
    together, alone = (
        read_cell(cell_path(tmp_path / folder, "tiny", "sib200", "sw", "mean_difference"))
        for folder in ("out", "alone")
    )
    direct = read_cell(cell_path(tmp_path / "out", "tiny", "sib200", "sw", "direct"))
    for a, b in zip(together.items, alone.items, strict=True):
        assert a.scores == pytest.approx(b.scores, abs=1e-3)
    assert any(
        abs(x - y) > 1e-3
        for a, b in zip(together.items, direct.items, strict=True)
        for x, y in zip(a.scores, b.scores, strict=True)
    )


def test_a_cell_in_which_nothing_is_touched_is_a_failure(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Touched, "note", lambda *_: None)
    outcome = compare(wanted(tmp_path, languages="sw", methods=["direct", "mean_difference"]))
    assert [read_cell(path).method for path in outcome.made] == ["direct"]
    assert "touched no token of 14 items" in outcome.failed[0].error


def test_one_vector_for_all_languages_that_have_text(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = {
        tag: tuple(f"{mark} {word} {mark} number {n}" for n, word in enumerate(WORDS * 3))
        for tag, mark in (("sw", "wa"), ("et", "on"), ("en", "of"))
    }
    corpus = ParallelCorpus(lines, "en", "pairs")
    for place in (making, fit_text):
        monkeypatch.setattr(
            place, "fit_corpus", lambda path, lines, *languages: corpus.only(*languages)
        )
    options = {"learned_together": {"steps": 2, "layer": 1, "strengths": [1.0]}}
    outcome = compare(wanted(tmp_path, languages=["sw", "et", "en"], methods=["direct", options]))
    assert outcome.failed == []
    sw, et = (
        read_cell(cell_path(tmp_path / "out", "tiny", "sib200", tag, "learned_together"))
        for tag in ("sw", "et")
    )
    assert sw.settings["corpus"] == et.settings["corpus"]
    assert "sw, et" in sw.settings["corpus"]["name"]
    assert sw.cost.training_seconds == pytest.approx(et.cost.training_seconds, abs=1e-3)


def test_a_stopped_comparison_goes_on(data: Path, tmp_path: Path) -> None:
    def stop(step: Progress) -> None:
        if step.done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare(wanted(tmp_path), stop)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out/cells").rglob("*.json")}
    assert len(before) == 2
    outcome = compare(wanted(tmp_path))
    assert len(outcome.kept) == 2
    assert len(outcome.made) == 3
    assert all(path.stat().st_mtime_ns == then for path, then in before.items())


def test_a_method_in_some_languages_only(data: Path, tmp_path: Path) -> None:
    asked = wanted(tmp_path, methods=["direct", {"english": {"languages": ["et"]}}])
    assert {read_cell(path).key[2:] for path in compare(asked).made} == {
        ("sw", "direct"),
        ("et", "direct"),
        ("et", "english"),
    }
    again = read_comparison(tmp_path / "out" / "configuration.yaml")
    assert again.methods == asked.methods
    assert again.languages == asked.languages


def test_a_failed_cell_is_tried_again(data: Path, tmp_path: Path) -> None:
    test = data / "sib200" / "swh_Latn" / "test.tsv"
    text = test.read_text(encoding="utf-8")
    test.write_text("nonsense\n", encoding="utf-8")
    outcome = compare(wanted(tmp_path, methods="direct"))
    assert [failure.language for failure in outcome.failed] == ["sw"]
    assert str(test) in outcome.failed[0].error
    failed = failure_path(tmp_path / "out", "tiny", "sib200", "sw", "direct")
    assert json.loads(failed.read_text(encoding="utf-8"))["error"] == outcome.failed[0].error
    test.write_text(text, encoding="utf-8")
    assert len(compare(wanted(tmp_path, methods="direct")).made) == 1
    assert not failed.exists()


def test_cells_of_another_configuration_are_not_mixed(data: Path, tmp_path: Path) -> None:
    compare(wanted(tmp_path, methods="direct", limit=3))
    with pytest.raises(CompareError, match="made with limit 3"):
        compare(wanted(tmp_path, methods="direct"))


def test_what_is_asked_must_not_be_fitted_on(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = (data / "sib200/swh_Latn/test.tsv").read_text(encoding="utf-8").splitlines()[1:]
    texts = tuple(line.split("\t")[2] for line in lines)
    leaked = ParallelCorpus({"sw": texts, "en": tuple(f"the {t}" for t in texts)}, "en", "leaked")
    monkeypatch.setattr(making, "fit_corpus", lambda *_: leaked)
    outcome = compare(wanted(tmp_path, languages="sw", methods="mean_difference"))
    assert "leaked holds text of SIB-200" in outcome.failed[0].error


def test_packed_cells_are_kept(data: Path, tmp_path: Path) -> None:
    asked = wanted(tmp_path, languages="sw", methods=["direct", "english"])
    for path in compare(asked).made:
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    again = compare(asked)
    assert not again.made
    assert len(again.kept) == 2
