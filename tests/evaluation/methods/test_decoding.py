"""Bans on tokens as methods of a comparison."""

from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("lm_eval")

import langsteer
from langsteer.errors import MethodError
from langsteer.evaluation.comparison.configuration import comparison
from langsteer.evaluation.comparison.run import compare
from langsteer.evaluation.harness.model import LangsteerLM
from langsteer.evaluation.methods import get_method
from langsteer.steering.decoding.confusion_gate import ConfusionGate
from langsteer.steering.decoding.only_script import OnlyScript
from langsteer.steering.logit_bias import LogitBias
from langsteer.text.corpus import ParallelCorpus
from tests.made.published import flores
from tests.made.scripts import build
from tests.made.settings import setting

GREEK = (" και", " το", "α", "ν.")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("only_script", OnlyScript),
        ("within_reach", ConfusionGate),
        ("confusion_gate", ConfusionGate),
    ],
)
def test_a_plan_with_what_bans(name: str, kind: type, tmp_path: Path) -> None:
    flores(tmp_path)
    given = setting(build(), tmp_path, "flores_from_english")
    plan = get_method(name).prepare(given)
    assert [type(processor) for processor in plan.processors] == [kind]
    assert plan.docs
    with pytest.raises(MethodError, match=f"{name} has no option 'other'"):
        get_method(name).prepare(given, other="en")


@pytest.mark.parametrize("name", ["pivot_words", "language_words"])
def test_words_are_counted_in_the_corpus(name: str, tmp_path: Path) -> None:
    flores(tmp_path)
    given = setting(build(), tmp_path, "flores_from_english")
    plan = get_method(name).prepare(given, strength=0.5)
    assert isinstance(plan.change, LogitBias)
    assert plan.change.strength == 0.5
    with pytest.raises(MethodError, match="needs a parallel corpus"):
        get_method(name).prepare(replace(given, corpus=None))


def test_steering_goes_on_top(tmp_path: Path) -> None:
    flores(tmp_path)
    plan = get_method("only_script+mean_difference").prepare(
        setting(build(), tmp_path, "flores_from_english"),
        steering={"layers": [1], "strengths": [1]},
    )
    assert plan.change is not None
    assert isinstance(plan.processors[0], OnlyScript)


def test_answers_that_are_chosen_are_refused(data: Path) -> None:
    with pytest.raises(MethodError, match=r"acts on what is written, and answers to .* are chosen"):
        get_method("only_script").prepare(setting(build(), data))


def test_the_harness_writes_under_the_ban() -> None:
    model = build()
    prompts = [" the and", "Rome the", " and Rome the"]
    free = LangsteerLM(model).complete(prompts, 12)
    held = LangsteerLM(model, processors=[OnlyScript(model, "sw")]).complete(prompts, 12)
    assert any(word in "".join(free) for word in (*GREEK, "ن", "日本"))
    assert not any(word in "".join(held) for word in (*GREEK, "ن", "日本"))


def test_the_harness_writes_under_a_bias() -> None:
    model = build()
    prompts = [" the and", "Rome the", " and Rome the"]
    held = LangsteerLM(model, processors=[OnlyScript(model, "sw")]).complete(prompts, 12)
    lines = {
        "sw": (" the", " and", "Rome,", "Rome the"),
        "en": (" the", " and", "Rome,", "Rome the"),
    }
    bias = langsteer.fit(model, ParallelCorpus(lines, "en", "made"), "sw", method="only_script")
    assert LangsteerLM(model).complete(prompts, 12, change=bias) == held


def test_as_a_row_of_a_comparison(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flores(tmp_path / "data")
    model = build()
    monkeypatch.setattr("langsteer.evaluation.comparison.unit.load_model", lambda *_, **__: model)
    wanted = comparison(
        {
            "output": "out",
            "models": "tiny",
            "benchmarks": "flores_from_english",
            "languages": ["sw"],
            "methods": ["direct", "only_script"],
            "data": "data",
            "limit": 2,
        },
        tmp_path,
    )
    outcome = compare(wanted)
    assert [failure.error for failure in outcome.failed] == []
    assert len(outcome.made) == 2
