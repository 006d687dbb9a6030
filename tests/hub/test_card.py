"""The card of a repository: its header, and what it says."""

from dataclasses import replace
from typing import Any

import pytest
import torch
import yaml

from langsteer.hub.card import CardOptions, hub_name, model_card
from langsteer.model.model import Model
from langsteer.steering.change import Change
from langsteer.steering.router import Router
from langsteer.steering.sequence import ChangeSequence
from tests.helpers import make_vector

RESULT = {
    "task": "sib200",
    "language": "sw",
    "metric": "acc",
    "items": 204,
    "unsteered": 0.422,
    "steered": 0.488,
    "change": {"value": 0.066, "low": 0.031, "high": 0.101},
}


def named(*changes: Change) -> dict[str, Change]:
    return {f"{change.language}.safetensors": change for change in changes}


def header(text: str) -> dict[str, Any]:
    _, head, _ = text.split("---\n", 2)
    return dict(yaml.safe_load(head))


def learned(model: Model, **changes: Any) -> Change:
    fields: dict[str, Any] = {
        "options": {"objective": "centred"},
        "positions": "prompt",
        "method": "learned",
        "corpus": {"name": "builtin", "lines": 240},
        **changes,
    }
    about = {"name": "gemma-3-270m", "fingerprint": model.fingerprint}
    return replace(make_vector(model, **fields), model=about)


def test_the_header(llama: Model) -> None:
    chinese = learned(llama, language="zh-Hans", corpus={"name": "Helsinki-NLP/opus-100/en-zh"})
    text = model_card("user/repo", named(learned(llama), chinese), None)
    assert header(text) == {
        "base_model": "google/gemma-3-270m",
        "base_model_relation": "adapter",
        "datasets": ["Helsinki-NLP/opus-100"],
        "language": ["sw", "zh"],
        "language_bcp47": ["sw", "zh-Hans"],
        "library_name": "langsteer",
        "license": "other",
        "pipeline_tag": "text-generation",
        "tags": ["langsteer", "steering-vector", "multilingual"],
    }


def test_a_model_that_is_not_on_the_hub(llama: Model) -> None:
    vectors = named(make_vector(llama, language="und"))
    told = header(model_card("user/repo", vectors, None))
    assert not {"base_model", "language", "datasets"} & set(told)
    options = CardOptions(licence="cc-by-4.0", base_model="user/tiny")
    text = model_card("user/repo", vectors, None, options)
    assert (header(text)["base_model"], header(text)["license"]) == ("user/tiny", "cc-by-4.0")
    assert 'langsteer.steered("user/tiny", "user/repo")' in text


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("gemma-3-270m", "google/gemma-3-270m"),
        ("google/gemma-3-1b-pt", "google/gemma-3-1b-pt"),
        ("model", None),
        ("/a/b", None),
        ("./b", None),
    ],
)
def test_names_of_models(name: str, wanted: str | None) -> None:
    assert hub_name(name) == wanted


def test_what_it_is_for_and_what_it_harms(llama: Model) -> None:
    other = learned(llama, language="tr", options={"objective": "translation"})
    plain = learned(llama, language="el", options={}, method="mean_difference")
    text = model_card("user/repo", named(learned(llama), other, plain), None)
    assert (
        'steered("gemma-3-270m", "user/repo")' in text
    )  # its own name: the package has weights of its own
    assert "# Steering vectors for Swahili, Turkish and Greek for gemma-3-270m" in text
    assert "| `sw.safetensors` | Swahili (sw) | 1 | 1 | prompt | learned, centred |" in text
    assert (
        "`sw.safetensors`: for questions about a text, answered in English or by choosing" in text
    )
    assert "makes the model answer in English" in text
    assert "`tr.safetensors`: for translating a text into English. It is for reading" in text
    assert "`el.safetensors`: nothing was noted of what it is for. What helps with one" in text
    assert "240 lines of builtin" in text
    assert "corpus is under CC BY 4.0" in text


@pytest.mark.parametrize(
    ("strengths", "told"), [((0.5, 0.5), "1"), ((0.5, -0.25), "1 + -0.5"), ((0.25,), "0.5")]
)
def test_strengths_of_parts_are_those_that_act(
    llama: Model, strengths: tuple[float, ...], told: str
) -> None:
    parts = tuple(learned(llama).with_strength(strength) for strength in strengths)
    text = model_card("user/repo", named(ChangeSequence(parts, strength=2.0)), None)
    assert f"| 1 | {told} |" in text or f"| 1, 1 | {told} |" in text


def test_gains_with_their_interval(llama: Model) -> None:
    scores = {"divergence": 1.25, "divergence_unsteered": 1.5}
    vectors = named(learned(llama, scores=scores))
    assert "Not measured on any task." in model_card("user/repo", vectors, None)
    text = model_card("user/repo", vectors, None, CardOptions(results=[RESULT]))
    assert "Not measured" not in text
    assert "| sib200 | sw | 204 | acc | 0.422 | 0.488 | +0.066 [+0.031, +0.101] |" in text
    assert "`sw.safetensors`: 1.500 → 1.250" in text


def test_use_is_as_the_files_are(llama: Model) -> None:
    vector = learned(llama, strength=0.75)
    text = model_card("user/repo", named(vector), None)
    assert "--control-vector vector.gguf" in text
    assert "langsteer export user/repo --to gguf --everywhere" in text
    assert 'generate(["..."]))' in text
    several = model_card("user/repo", named(vector, learned(llama, language="tr")), None)
    assert "--control-vector control/sw.gguf" in several
    assert 'generate(["..."], language="sw"))' in several
    sequence = ChangeSequence((make_vector(llama), make_vector(llama, layer=2)))
    assert "llama.cpp" not in model_card("user/repo", named(sequence), None)


@pytest.mark.parametrize(
    ("corpus", "told"),
    [
        ({"lines": {"en": 100, "sw": 100}}, "2 languages, 100 lines of each"),
        ({"lines": {"en": 100, "sw": 20, "tr": 50}}, "3 languages, from 20 to 100 lines of each"),
        ({"lines": {"en": 9, "sw": 9}, "name": "own"}, "2 languages, 9 lines of each of own"),
        ({"lines": 240}, "240 lines"),
        ({"name": "builtin"}, "text of builtin"),
        ({}, None),
    ],
)
def test_what_a_router_was_learned_from(llama: Model, corpus: Any, told: str | None) -> None:
    text = model_card("user/repo", {}, router_of(llama, corpus=corpus))
    origin = text.partition("## What it was learned from")[2]
    entries = [line for line in origin.splitlines() if line.startswith("- ")]
    assert entries == [f"- `router.safetensors`: {told}" if told else "- not noted"]


def router_of(llama: Model, **more: Any) -> Router:
    about = {"name": llama.name, "fingerprint": llama.fingerprint}
    return Router(
        torch.zeros(2, 32), torch.zeros(2), torch.ones(4), ("en", "sw"), "en", 1, about, **more
    )


def test_a_router_alone(llama: Model) -> None:
    text = model_card("user/repo", {}, router_of(llama))
    assert header(text)["language"] == ["en", "sw"]
    assert "tells which language a text is in, of English, Swahili." in text
    assert 'langsteer.Router.load("user/repo")' in text
    assert "steered(" not in text
