"""The best prompt of a pool, on development items."""

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("lm_eval")


from langsteer.errors import MethodError, MissingExtraError
from langsteer.evaluation.methods import Setting, get_method
from langsteer.model.model import Model
from langsteer.storage.files import write_text
from tests.made.settings import prompts_of, setting


def test_the_best_prompt_on_development_items(
    model: Model, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = setting(model, data)
    tried: list[str] = []

    def accuracy(given: Setting, rendered: Any, calibrated: bool) -> tuple[float, float]:
        tried.append(rendered[0].prompt)
        return (0.9 if "Chagua" in rendered[0].prompt else 0.2), -1.0

    monkeypatch.setattr("langsteer.evaluation.methods.optimised.accuracy", accuracy)
    path = tmp_path / "pool.yaml"
    write_text(path, "- name: mine\n  instruction: 'Chagua kwa {language}.'\n")
    plan = get_method("prompt_optimisation").prepare(given, pool=path)
    assert plan.settings["prompt"]["name"] == "mine"
    assert prompts_of(plan, given)[0].startswith("Chagua kwa Swahili.\n\nText: habari")
    assert plan.chosen_on == {f"development-{i}" for i in range(100, 109)}
    assert len(tried) == len(plan.settings["pool"]) > 8
    assert plan.training_seconds > 0
    again = get_method("prompt_optimisation").prepare(given, pool=path)
    assert len(tried) == len(plan.settings["pool"])
    assert again.settings == plan.settings
    get_method("prompt_optimisation").prepare(given, pool=path, items=5)
    assert len(tried) == 2 * len(plan.settings["pool"])


def test_prompts_are_tried_on_the_model(model: Model, data: Path) -> None:
    given = setting(model, data)
    pool = [{"instruction": "a"}, {"form": "native"}, {"config": {"doc_to_text": "{{text}}"}}]
    plan = get_method("prompt_optimisation").prepare(given, pool=pool, only=True)
    assert len(plan.settings["pool"]) == 3
    assert plan.settings["development_accuracy"] == max(
        row["accuracy"] for row in plan.settings["pool"]
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", "is a list of mappings"),
        ("{", "is not JSON or YAML"),
        ('[{"instructions": "a"}]', "prompt 1: no field 'instructions'; there are name, form"),
        ('[{"form": "rhyme"}]', "no form 'rhyme'; there are english, native"),
        ('[{"config": {"doc_to_target": "0"}}]', "config may hold doc_to_text"),
        ("[]", "the pool has no prompt"),
    ],
)
def test_a_pool_that_cannot_be_used(
    text: str, message: str, model: Model, data: Path, tmp_path: Path
) -> None:
    path = write_text(tmp_path / "pool.json", text)
    with pytest.raises(MethodError, match=message):
        get_method("prompt_optimisation").prepare(setting(model, data), pool=path, only=True)
    with pytest.raises(MethodError, match="cannot read the pool"):
        get_method("prompt_optimisation").prepare(setting(model, data), pool=tmp_path / "none.json")


def test_without_dspy(model: Model, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "dspy", None)
    with pytest.raises(MissingExtraError, match=r"needs dspy: pip install 'langsteer\[dspy\]'"):
        get_method("prompt_optimisation").prepare(setting(model, data), optimiser="dspy")


def test_what_dspy_proposes_is_in_the_pool(model: Model, data: Path) -> None:
    dspy = pytest.importorskip("dspy")
    from dspy.utils import DummyLM

    answer = {"proposed_instruction": "Do it well.", "proposed_prefix_for_output_field": "Right:"}
    with dspy.context(lm=DummyLM([answer] * 40)):
        plan = get_method("prompt_optimisation").prepare(setting(model, data), optimiser="dspy")
    assert "dspy 1" in [row["name"] for row in plan.settings["pool"]]
    with pytest.raises(MethodError, match="needs a model that proposes"):
        get_method("prompt_optimisation").prepare(setting(model, data), optimiser="dspy")
