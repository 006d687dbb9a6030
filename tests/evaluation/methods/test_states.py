"""Vectors, projections and low-rank maps as methods: what is kept, and what cannot be fitted."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("lm_eval")


from langsteer.errors import FitError, MethodError
from langsteer.evaluation.methods import get_method
from langsteer.model.model import Model
from langsteer.steering.low_rank import LowRank
from langsteer.steering.projection import Projection
from langsteer.steering.vector import SteeringVector
from langsteer.text.corpus import ParallelCorpus
from tests.helpers import build_model, pairs
from tests.made.settings import setting


def refuse(*args: Any, **options: Any) -> None:
    raise AssertionError("learned again")


def test_vectors_are_kept_between_runs(
    model: Model, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = setting(model, data)
    plan = get_method("mean_difference").prepare(given, layer=1)
    assert isinstance(plan.change, SteeringVector)
    assert plan.settings["layer"] == 1

    monkeypatch.setattr("langsteer.evaluation.methods.states.learn", refuse)
    again = get_method("mean_difference").prepare(given, layer=1)
    assert again.change is not None
    assert again.training_seconds == pytest.approx(plan.training_seconds, abs=0.01)
    for changed in (
        replace(given, corpus=pairs(59)),
        replace(given, model=build_model("llama", seed=5)),
        replace(given, seed=3),
    ):
        with pytest.raises(AssertionError, match="learned again"):
            get_method("mean_difference").prepare(changed, layer=1)
    path = given.work / "vectors" / "mean_difference" / "sw.safetensors"
    path.write_bytes(b"damaged")
    with pytest.raises(AssertionError, match="learned again"):
        get_method("mean_difference").prepare(given, layer=1)


def test_projections(model: Model, data: Path) -> None:
    given = setting(model, data)
    few = {"ridges": [0.1], "alphas": [0.25, 0.5]}
    one = get_method("projection").prepare(given, **few)
    every = get_method("projection_all").prepare(given, **few)
    assert isinstance(one.change, Projection)
    assert len(one.settings["layers"]) == 1
    assert every.settings["layers"] == [0, 1, 2, 3]
    with pytest.raises(FitError, match=r"projection has no option 'steps'; it has .*ridges"):
        get_method("projection").prepare(given, steps=[1])


def test_the_same_method_at_other_positions_is_kept_apart(
    model: Model, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = setting(model, data, limit=2, all_languages=lambda: pairs(60))
    ways: list[dict[str, Any]] = [{"steps": 4}, {"steps": 4, "positions": "source"}]
    names = ("learned", "learned_together")
    made = [get_method(name).prepare(given, **way).change for name in names for way in ways]
    monkeypatch.setattr("langsteer.evaluation.methods.states.learn", refuse)
    monkeypatch.setattr("langsteer.evaluation.methods.states.learn_all", refuse)
    kept = [get_method(name).prepare(given, **way).change for name in names for way in ways]
    assert [change.positions for change in kept] == ["prompt", "source"] * 2
    assert [change.positions for change in made] == ["prompt", "source"] * 2


def test_one_vector_for_all_languages(model: Model, data: Path) -> None:
    corpus = ParallelCorpus(
        {**pairs(60).texts, "et": tuple(reversed(pairs(60).texts["sw"]))}, "en", "two"
    )
    given = setting(model, data, limit=2, all_languages=lambda: corpus)
    plan = get_method("learned_together").prepare(given, steps=4, strengths=[1.0])
    assert isinstance(plan.change, SteeringVector)
    assert plan.change.language == "sw"
    folder = given.work / "vectors" / "learned_together"
    other = SteeringVector.load(folder / "et.safetensors")
    assert torch.equal(other.values, plan.change.values)
    again = get_method("learned_together").prepare(given, steps=4, strengths=[1.0])
    assert again.training_seconds == pytest.approx(plan.training_seconds, abs=1e-3)
    (folder / "sw.safetensors").unlink()  # it is made again
    assert torch.equal(
        get_method("learned_together").prepare(given, steps=4, strengths=[1.0]).change.values,
        plan.change.values,
    )


def test_a_change_of_all_languages(
    model: Model, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = ParallelCorpus(
        {**pairs(60).texts, "et": tuple(reversed(pairs(60).texts["sw"]))}, "en", "two"
    )
    given = setting(model, data, limit=2, all_languages=lambda: corpus)
    plan = get_method("recover").prepare(given)
    assert plan.change is not None
    assert plan.change.language == "sw"
    assert plan.change.parts[0].options["languages"] == ["sw", "en", "et"]
    assert len(plan.settings["parts"]) == model.layers
    alone = replace(given, all_languages=None, work=given.work / "alone")
    pair = get_method("recover").prepare(alone).change
    assert pair is not None
    assert pair.parts[0].options["languages"] == ["sw", "en"]
    monkeypatch.setattr("langsteer.evaluation.methods.states.learn", refuse)
    again = get_method("recover").prepare(given)
    assert again.change is not None
    assert again.change.describe() == plan.change.describe()
    with pytest.raises(AssertionError, match="learned again"):  # of other languages
        get_method("recover").prepare(replace(given, all_languages=lambda: pairs(60)))


def test_a_low_rank_map(model: Model, data: Path) -> None:
    given = setting(model, data)
    plan = get_method("low_rank").prepare(given, steps=5, rank=2, strengths=[0.5, 1.0])
    assert isinstance(plan.change, LowRank)
    assert plan.settings["rank"] == 2
    assert plan.settings["alpha"] in (0.5, 1.0)
    again = get_method("low_rank").prepare(given, steps=5, rank=2, strengths=[0.5, 1.0])
    assert again.training_seconds == pytest.approx(plan.training_seconds, abs=0.01)
    with pytest.raises(FitError, match="low_rank has no option 'ridge'; it has layer"):
        get_method("low_rank").prepare(given, ridge=1)


def test_what_cannot_be_fitted(model: Model, data: Path) -> None:
    with pytest.raises(MethodError, match="learned needs a parallel corpus"):
        get_method("learned").prepare(setting(model, data, corpus=None))
    with pytest.raises(MethodError, match="en is the language that others are aligned to"):
        get_method("probe").prepare(setting(model, data, language="en"))
    with pytest.raises(FitError, match="no option 'magic'"):
        get_method("learned").prepare(setting(model, data), magic=1)
    german = ParallelCorpus({"de": pairs().texts["sw"], "en": pairs().texts["en"]}, "en", "other")
    with pytest.raises(Exception, match="other has no Swahili"):
        get_method("learned").prepare(setting(model, data, corpus=german))


def test_few_shot_with_a_vector_on_top(model: Model, data: Path) -> None:
    given = setting(model, data)
    plan = get_method("few_shot+mean_difference").prepare(given, k=2, steering={"layer": 2})
    assert plan.shots == 2
    assert isinstance(plan.change, SteeringVector)
    assert plan.change.layer == 2
    assert plan.training_seconds > 0


def test_a_recipe_is_a_way_to_ask(model: Model, data: Path) -> None:
    given = setting(model, data, limit=2)
    name = "mean_difference:1*0.5 + mean_difference:2@generated*-0.5"
    method = get_method(name)
    assert method.name == name
    plan = method.prepare(given)
    assert plan.change is not None
    assert [(part.layers, part.strength) for part in plan.change.parts] == [
        ((1,), 0.5),
        ((2,), -0.5),
    ]
    assert [part["positions"] for part in plan.settings["parts"]] == ["source", "generated"]
    again = method.prepare(given)
    assert again.change is not None
    assert again.change.describe() == plan.change.describe()
