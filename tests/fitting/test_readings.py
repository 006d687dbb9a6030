"""What is read of the pivot's lines, and shared among fits."""

import importlib
import time

import pytest
import torch

from langsteer.fitting.learning import learn
from langsteer.fitting.objectives import get_objective
from langsteer.fitting.projection import pair_moments
from langsteer.fitting.readings import RECENT, PivotReadings, shared_readings
from langsteer.model.model import Model
from langsteer.states.capture import mean_states
from langsteer.text.corpus import ParallelCorpus
from tests.helpers import build_model, pairs

SUFFIXES = (" so", " and then")


def rows_read(model: Model) -> list[int]:
    """The rows of each pass through the first layer, from here on."""
    rows: list[int] = []

    def count(module: object, args: tuple[torch.Tensor, ...]) -> None:
        rows.append(len(args[0]))

    model.blocks[0].register_forward_pre_hook(count)
    return rows


@pytest.mark.parametrize("objective", ["centred", "hidden", "output"])
def test_mean_states_come_with_the_targets(llama: Model, objective: str) -> None:
    """The states of a line are the same with words after it, so that one pass gives both."""
    readings = PivotReadings(llama, pairs(20))
    targets = get_objective(objective, 0.0, 8).read(readings, SUFFIXES, (1, 2))
    on_the_way = readings.mean_states((1, 2), "mean")
    alone = mean_states(llama, readings.lines, (1, 2))
    for layer in (1, 2):
        torch.testing.assert_close(on_the_way.mean[layer], alone.mean[layer], atol=1e-5, rtol=1e-4)
        assert on_the_way.norm[layer] == pytest.approx(alone.norm[layer], rel=1e-5)
    assert on_the_way.count == alone.count == 20
    without = get_objective(objective, 0.0, 8).read(PivotReadings(llama, pairs(20)), SUFFIXES)
    for ours, theirs in zip(targets.words, without.words, strict=True):
        assert all(map(torch.equal, ours, theirs))


def of_another_language(corpus: ParallelCorpus) -> ParallelCorpus:
    lines = tuple(line.upper() for line in corpus.texts["sw"])
    return ParallelCorpus({"et": lines, "en": corpus.texts["en"]}, "en", corpus.name)


@pytest.mark.parametrize("method", ["learned", "mean_difference", "principal_component", "mrre"])
def test_fits_share_what_they_read(method: str) -> None:
    model, text = build_model("llama"), pairs(40)
    other = of_another_language(text)
    learn(model, other, method=method)  # some things are found out of a model once
    rows = rows_read(model)
    alone = learn(model, other, method=method)
    read_alone = sum(rows)
    with shared_readings(model) as shared:
        learn(model, text, method=method)
        assert shared.spared == 0
    rows.clear()
    with shared_readings(model) as shared:
        again = learn(model, other, method=method)
        assert shared.spared > 0
    assert sum(rows) < read_alone
    for ours, theirs in zip(again.parts, alone.parts, strict=True):
        assert torch.equal(ours.values, theirs.values)  # type: ignore[attr-defined]
    rows.clear()
    learn(model, other, method=method)
    assert sum(rows) == read_alone  # nothing is shared outside


def test_seconds_that_are_spared(llama: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    def reading() -> str:
        now[0] += 3
        return "read"

    readings = PivotReadings(llama, pairs(12))
    assert [readings.once("a", reading) for _ in range(2)] == ["read", "read"]
    assert readings.spared == 0  # the same fit has read it
    readings.begin()
    assert [readings.once("a", reading) for _ in range(2)] == ["read", "read"]
    assert readings.once("b", reading) == "read"
    assert readings.spared == 3
    assert now[0] == 6


def test_only_the_latest_corpora_are_shared(llama: Model) -> None:
    with shared_readings(llama) as shared:
        first = PivotReadings.of(llama, pairs(12))
        assert PivotReadings.of(llama, pairs(12)) is first
        for more in range(RECENT):
            shared.of(llama, pairs(13 + more))
        assert PivotReadings.of(llama, pairs(12)) is not first


def test_states_of_too_many_lines_are_not_kept(
    llama: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    readings = PivotReadings(llama, pairs(12))
    kept = readings.states((1,), "mean")
    assert readings.states((1,), "mean") is kept
    module = importlib.import_module("langsteer.fitting.readings")
    monkeypatch.setattr(module, "LARGEST", 4 * 12 * llama.hidden_size - 1)
    large = PivotReadings(llama, pairs(12))
    first = large.states((1,), "mean")
    again = large.states((1,), "mean")
    assert first is not again
    assert torch.equal(first, again)
    assert torch.equal(first, kept)


def test_moments_read_the_pivot_once() -> None:
    model, text = build_model("llama"), pairs(40)
    with shared_readings(model):
        pair_moments(model, text, (1, 2))
        rows = rows_read(model)
        pair_moments(model, of_another_language(text), (1, 2))
    assert sum(rows) == 40


def test_moments_of_a_large_corpus_hold_no_more_than_a_chunk(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, text = build_model("llama"), pairs(40)
    wanted = pair_moments(model, text, (1, 2))
    monkeypatch.setattr("langsteer.fitting.readings.LARGEST", 0)
    monkeypatch.setattr("langsteer.fitting.projection.CHUNK", 8)
    made: list[int] = []
    real = PivotReadings.states_of

    def noted(self: PivotReadings, index: list[int], *more: object) -> torch.Tensor:
        states = real(self, index, *more)  # type: ignore[arg-type]
        made.append(len(states))
        return states

    monkeypatch.setattr(PivotReadings, "states_of", noted)
    monkeypatch.setattr(PivotReadings, "states", None)  # would read every line
    found = pair_moments(model, text, (1, 2))
    assert made == [8] * 5
    for layer in (1, 2):
        assert found[layer].count == wanted[layer].count == 40
        torch.testing.assert_close(found[layer].cross, wanted[layer].cross, atol=1e-4, rtol=1e-3)
