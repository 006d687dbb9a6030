import importlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from langsteer import progress
from langsteer.errors import CorpusError, FitError, ModelError, SaveError
from langsteer.fitting import descent
from langsteer.fitting.asked import TOGETHER_STEPS
from langsteer.fitting.learned import LearnedOptions
from langsteer.fitting.learning import fit, learn, learn_all
from langsteer.fitting.methods import METHODS
from langsteer.fitting.search import Measure
from langsteer.model.model import Model, frozen
from langsteer.steering.vector import SteeringVector
from langsteer.text.corpus import ParallelCorpus, builtin
from tests.helpers import build_model, pairs, short, tiny


def test_positions_are_fitted_for() -> None:
    model = tiny("llama")
    options = {"method": "learned", "layer": 1, "steps": 4}
    text = fit(model, pairs(), positions="source", **options)
    prompt = fit(model, pairs(), positions="prompt", **options)
    assert (text.positions, prompt.positions) == ("source", "prompt")
    assert not torch.equal(text.values, prompt.values)  # the words after the text were moved too
    assert fit(model, pairs(), method="mean_difference", positions="all").positions == "all"
    with pytest.raises(FitError, match="fitted at the positions source, prompt, all, not 'gen"):
        fit(model, pairs(), positions="generated")


def test_without_positions_it_is_learned_at_the_text_and_acts_at_the_prompt() -> None:
    model = tiny("llama")
    options = {"method": "learned", "layer": 1, "steps": 4}
    usual = fit(model, pairs(), **options)
    text = fit(model, pairs(), positions="source", **options)
    assert torch.equal(usual.values, text.values)
    assert usual.positions == "prompt"
    assert fit(model, pairs(), objective="translation", **options).positions == "source"
    chosen, there = (
        learn(model, pairs(), layers=[1], steps=4, **more) for more in ({}, {"positions": "source"})
    )
    assert (chosen.positions, there.positions) == ("prompt", "source")
    assert chosen.scores == there.scores  # measured where it was learned
    assert fit(model, pairs(), method="mean_difference").positions == "source"


def test_a_centred_vector_has_one_strength_and_others_are_searched_for() -> None:
    model, text = tiny("llama"), pairs()
    options: dict[str, Any] = {"layers": [1], "steps": 4}
    strengths = {
        name: [t["strength"] for t in learn(model, text, **more).scores["trials"]]
        for name, more in {
            "centred": options,
            "hidden": options | {"objective": "hidden"},
            "mean": {"layers": [1], "method": "mean_difference"},
            "named": options | {"strengths": [0.1, 0.2]},
        }.items()
    }
    assert strengths["centred"] == [0.75]
    assert strengths["hidden"] == strengths["mean"] == [0.25, 0.5, 0.75, 1.0]
    assert strengths["named"] == [0.1, 0.2]


def test_together_takes_more_steps_than_one_alone() -> None:
    text = short(builtin("sw", "hi").lines(range(24)))
    model, text = tiny("llama"), replace(text, name="test", topics=(), parts=())
    found = learn_all(model, text, layers=[1], together=True, batch=4)
    assert {vector.options["steps"] for vector in found.values()} == {400}
    own = learn_all(model, text, layers=[1], together=True, batch=4, steps=3)
    assert {vector.options["steps"] for vector in own.values()} == {3}


def test_strength_is_chosen_at_the_vectors_positions() -> None:
    model = tiny("llama")
    vector = fit(model, pairs(), method="mean_difference", layer=1)
    measure = Measure(model, pairs())
    found = {
        where: measure(replace(vector, positions=where), 4.0)
        for where in ("source", "prompt", "all", "generated")
    }
    assert found["prompt"] == found["all"] != found["source"] == found["generated"]


def test_learn_chooses_on_lines_it_did_not_fit_on(llama: Model) -> None:
    vector = learn(llama, builtin("sw"), layers=[1, 2], strengths=[0.5, 1.0])
    assert vector.corpus["lines"] == 168
    assert vector.scores["chosen_on"]["lines"] == 49
    best = min(vector.scores["trials"], key=lambda t: t["divergence"])
    assert (vector.layer, vector.strength) == (best["layer"], best["strength"])
    assert len(vector.scores["trials"]) == 4


def same(a: SteeringVector, b: SteeringVector) -> bool:
    """All but the difference between a tuple and the list that a file makes of it."""
    ours, theirs = (json.dumps(vars(v) | {"values": v.values.tolist()}) for v in (a, b))
    return ours == theirs


def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Labels of the passes over texts, and the layers that targets and states are read of."""
    labels: list[str] = []
    track = progress.track

    def noted(items: Iterable[Any], label: str | None, total: int | None = None) -> Iterator[Any]:
        labels.append(str(label))
        return track(items, label, total)

    for name in ("states.capture", "fitting.descent", "fitting.objectives", "fitting.search"):
        monkeypatch.setattr(importlib.import_module(f"langsteer.{name}"), "track", noted)
    return labels


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("mean_difference", {"pool": "last"}),
        ("principal_component", {}),
        ("probe", {"penalty": 0.5}),
        ("learned", {"steps": 4}),
        ("learned", {"steps": 4, "objective": "output"}),
    ],
)
def test_all_languages_at_once_equal_one_by_one(
    llama: Model, method: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = short(builtin("sw", "et", "tr").lines(range(0, 420, 5)))
    grid: dict[str, Any] = {"layers": [1, 2], "strengths": [0.5, 1.0], **options}
    alone = {tag: learn(llama, text, tag, method, **grid) for tag in text.languages}
    labels = reads(monkeypatch)
    together = learn_all(llama, text, method, **grid)
    assert list(together) == ["sw", "et", "tr"]
    assert all(same(together[tag], alone[tag]) for tag in alone)
    english = [label for label in labels if label.startswith("en ")]
    assert english == (["en targets"] if method == "learned" else ["en states"])
    layers_read_apart = 2 if method == "learned" else 1
    assert labels.count("et states") == layers_read_apart


@pytest.mark.parametrize("method", ["learned", "mean_difference"])
def test_one_vector_for_all_languages(
    llama: Model, tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = short(builtin("sw", "et", "tr").lines(range(0, 420, 5)))
    files = {tag: tmp_path / f"{tag}.safetensors" for tag in text.languages}
    grid: dict[str, Any] = {"layers": [1], "strengths": [0.5, 1.0], "files": files}
    found = learn_all(llama, text, method, together=True, **grid)
    part = text.split(fit=0.8, choose=0.2, report=0.0)["fit"]
    steps = {"steps": TOGETHER_STEPS} if method == "learned" else {}
    most = LearnedOptions(**steps).pairs if method == "learned" else None
    alone = fit(llama, part.mixed(most), method=method, layer=1, **steps)
    for tag, vector in found.items():
        assert torch.equal(vector.values, alone.values)
        assert vector.language == tag
        assert same(SteeringVector.load(files[tag]), vector)
        held_out = text.split(fit=0.8, choose=0.2, report=0.0)["choose"].only(tag)
        assert vector.scores["chosen_on"] == held_out.describe()
    labels = reads(monkeypatch)
    again = learn_all(llama, text, method, together=True, **grid)
    assert all(same(again[tag], found[tag]) for tag in found)
    assert labels == []
    grid |= {"files": {"sw": files["sw"]}, "overwrite": True}
    assert not same(learn_all(llama, text.only("sw"), method, **grid)["sw"], found["sw"])


def test_languages_share_lines_however_the_corpus_is_cut(llama: Model) -> None:
    whole = short(builtin("sw", "et").lines(range(40)))
    twice = {**whole.texts, "et": (whole.texts["et"][0], *whole.texts["et"][:39])}
    text = ParallelCorpus(twice, "en", "uncut")
    together = learn_all(llama, text, layers=[1], strengths=[1.0])
    for tag in ("sw", "et"):
        assert same(together[tag], learn(llama, text, tag, layers=[1], strengths=[1.0]))


def test_what_is_already_fitted_is_kept(
    llama: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = short(builtin("sw", "et").lines(range(0, 420, 5)))
    files = {tag: tmp_path / f"{tag}.safetensors" for tag in text.languages}
    grid: dict[str, Any] = {"layers": [1], "strengths": [0.5, 1.0], "files": files, "steps": 10}
    first = learn_all(llama, text, **grid)
    labels = reads(monkeypatch)
    assert all(same(v, first[tag]) for tag, v in learn_all(llama, text, **grid).items())
    assert labels == []
    files["et"].unlink()
    learn_all(llama, text, **grid)
    assert "sw states" not in labels
    assert "et states" in labels
    labels.clear()
    learn_all(llama, text, **grid, overwrite=True)
    assert {"sw states", "et states"} <= set(labels)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seed": 1}, "(option seed: 0, and 1 now)"),
        ({"steps": 9}, "(option steps: 10, and 9 now)"),
        (
            {"method": "mean_difference", "steps": None},
            "(method: learned, and mean_difference now)",
        ),
        ({"strengths": [0.5]}, "(strengths: 0.5, 1.0, and 0.5 now)"),
        ({"layers": [2]}, "(layers: 1, and 2 now)"),
        ({"layers": ()}, "(layers: 1, and 2 now)"),
        ({"lines": 70}, "(corpus: builtin, "),
        ({"language": "et"}, "(language: sw, and et now)"),
        ({"seed_of_model": 5}, "(model's weights: "),
    ],
)
def test_what_was_made_otherwise_is_not_replaced(
    change: dict[str, Any], said: str, llama: Model, tmp_path: Path
) -> None:
    text = short(builtin("sw", "et").lines(range(0, 420, 5)))
    file = tmp_path / "mine.safetensors"
    grid: dict[str, Any] = {"layers": [1], "strengths": [0.5, 1.0], "steps": 10}
    learn_all(llama, text.only("sw"), files={"sw": file}, **grid)
    before = file.read_bytes()
    grid |= change
    tag, lines = grid.pop("language", "sw"), range(grid.pop("lines", len(text)))
    seed = grid.pop("seed_of_model", None)
    model = llama if seed is None else build_model("llama", seed=seed)
    grid = {name: value for name, value in grid.items() if value is not None}
    with pytest.raises(SaveError) as refused:
        learn_all(model, text.lines(lines).only(tag), files={tag: file}, **grid)
    assert f"{file} is there already and holds a vector that was made otherwise" in str(
        refused.value
    )
    assert said in str(refused.value)
    assert file.read_bytes() == before
    learn_all(model, text.lines(lines).only(tag), files={tag: file}, **grid, overwrite=True)
    assert file.read_bytes() != before


def test_files_that_are_not_vectors_are_kept(llama: Model, tmp_path: Path) -> None:
    text = short(builtin("sw").lines(range(0, 420, 5)))
    file = tmp_path / "notes"
    file.write_text("mine")
    with pytest.raises(SaveError, match="there already"):
        learn_all(llama, text, files={"sw": file})
    assert file.read_text() == "mine"
    learn_all(llama, text, layers=[1], strengths=[1.0], files={"swh": file}, overwrite=True)
    assert SteeringVector.load(file, llama).language == "sw"
    with pytest.raises(SaveError, match="cannot write"):
        learn_all(llama, text, files={"sw": file / "sw.safetensors"})
    with pytest.raises(SaveError, match="it is a folder"):
        learn_all(llama, text, files={"sw": tmp_path}, overwrite=True)
    with pytest.raises(FitError, match="sw of builtin: no file"):
        learn_all(llama, text, files={"et": file})
    assert [p.name for p in tmp_path.iterdir()] == ["notes"]


def test_an_interrupted_run_goes_on(
    llama: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = short(builtin("sw", "et").lines(range(0, 420, 5)))
    files = {tag: tmp_path / f"{tag}.safetensors" for tag in text.languages}
    grid: dict[str, Any] = {"method": "learned", "steps": 60, "layers": [1], "strengths": [1.0]}
    whole = learn_all(llama, text, **grid)
    save = descent._Run._save

    def stop_late(self: descent._Run) -> None:
        save(self)
        if files["sw"].exists() and len(self.losses) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(descent._Run, "_save", stop_late)
    with pytest.raises(KeyboardInterrupt):
        learn_all(llama, text, files=files, **grid)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "et.safetensors.layer1.fit", "sw.safetensors",
    ]  # fmt: skip
    monkeypatch.setattr(descent._Run, "_save", save)
    steps: list[int] = []
    step = descent._Run._step

    def noted(self: descent._Run, index: list[int]) -> float:
        steps.append(self.done)
        return step(self, index)

    monkeypatch.setattr(descent._Run, "_step", noted)
    found = learn_all(llama, text, files=files, **grid)
    assert all(same(found[tag], whole[tag]) for tag in whole)
    assert steps == list(range(50, 60))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["et.safetensors", "sw.safetensors"]


def test_what_was_learned_since_the_last_checkpoint_is_kept(
    llama: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid: dict[str, Any] = {"method": "learned", "steps": 60, "layers": [1], "strengths": [1.0]}
    text = short(builtin("sw").lines(range(0, 420, 5)))
    whole = learn_all(llama, text, **grid)
    monkeypatch.setattr(descent, "SAVE_SECONDS", -1.0)
    step = descent._Run._step

    def stop(self: descent._Run, index: list[int]) -> float:
        if self.done == 37:
            raise KeyboardInterrupt
        return step(self, index)

    monkeypatch.setattr(descent._Run, "_step", stop)
    files = {"sw": tmp_path / "sw.safetensors"}
    with pytest.raises(KeyboardInterrupt):
        learn_all(llama, text, files=files, **grid)
    steps: list[int] = []

    def noted(self: descent._Run, index: list[int]) -> float:
        steps.append(self.done)
        return step(self, index)

    monkeypatch.setattr(descent._Run, "_step", noted)
    rest = learn_all(llama, text, files=files, **grid)
    assert steps == list(range(37, 60))
    assert same(rest["sw"], whole["sw"])
    assert rest["sw"].scores == whole["sw"].scores


def test_bad_requests(llama: Model) -> None:
    with pytest.raises(FitError, match="no method 'magic'; there are learned"):
        fit(llama, pairs(), method="magic")
    for call in (fit, learn):
        with pytest.raises(FitError, match="has no option 'rate'"):
            call(llama, pairs(), method="mean_difference", rate=1)
    with pytest.raises(ModelError, match="no layer 40"):
        fit(llama, pairs(), layer=40)
    with pytest.raises(FitError, match="is the last"):
        fit(llama, pairs(), method="learned", layer=3)
    with pytest.raises(
        FitError, match=r"objective should be 'centred', 'continuation', .* not 'likeness'"
    ):
        fit(llama, pairs(), method="learned", layer=1, objective="likeness")
    with pytest.raises(FitError, match="needs two pairs a step"):
        fit(llama, pairs(), method="learned", layer=1, batch=1)
    with pytest.raises(FitError, match="too small to fit"):
        fit(llama, pairs(3))
    with pytest.raises(CorpusError, match="too small to split"):
        learn(llama, pairs(4))
    with pytest.raises(CorpusError, match="has no Greek"):
        fit(llama, pairs(), "el")
    vectors = {"learned", "mean_difference", "principal_component", "probe", "answers"}
    papers = {"subspace_removal", "lrp2", "mrre", "recover", "itlc", "language_vector"}
    assert set(METHODS) == vectors | papers | {"low_rank", "projection", "projection_all"} | {
        "pivot_words",
        "language_words",
        "only_script",
    }


def test_the_real_model_is_brought_nearer_to_english(gemma: Model) -> None:
    """On sentences that were not fitted on."""
    lines = builtin("sw").lines(range(0, 420, 5))
    with frozen(gemma):
        vector: SteeringVector = learn(gemma, lines, steps=10, strengths=[0.5])
    assert vector.method == "learned"
    assert vector.scores["divergence"] < vector.scores["divergence_unsteered"]
