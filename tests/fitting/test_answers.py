"""A clamp towards answers in the language: what it is made of, and that it brings them."""

from dataclasses import replace

import pytest
import torch

from langsteer.errors import FitError
from langsteer.fitting.answers import AnswerOptions, answers_read, fit, fit_layers
from langsteer.fitting.learning import learn
from langsteer.model.model import Model
from langsteer.states.capture import capture, mean_states
from langsteer.steering.clamp import Clamp
from langsteer.text.corpus import ParallelCorpus
from tests.helpers import pairs


def test_answers_are_read_after_the_same_prompt(llama: Model) -> None:
    text = pairs(12)
    own, other = answers_read(llama, text, AnswerOptions(pairs=6, tokens=9))
    assert len(own) == len(other) == 6
    for a, b in zip(own, other, strict=True):
        prompt = a.source.index(True)
        assert a.ids[:prompt] == b.ids[:prompt]
        assert a.ids[prompt:] != b.ids[prompt:]
        assert a.source[prompt:] == [True] * 8 + [False]
    decoded = llama.tokenizer.decode(own[0].ids[1:])
    assert "in Swahili:" in decoded
    assert decoded.startswith(text.texts["sw"][0])


def test_the_level_lies_between_the_means_or_beyond(llama: Model) -> None:
    text = pairs(12)
    own, other = answers_read(llama, text)
    here, there = (mean_states(llama, read, [2]).mean[2] for read in (own, other))
    unit = (here - there) / (here - there).norm()
    for reach in (0.0, 0.5, 1.0, 2.0):
        clamp = fit(llama, text, AnswerOptions(layer=2, reach=reach))
        assert clamp.level == pytest.approx(
            float(unit @ (there + reach * (here - there))), abs=1e-6
        )
    torch.testing.assert_close(clamp.values, (here - there).float())
    assert (clamp.positions, clamp.layer, clamp.language) == ("generated", 2, "sw")


def test_what_is_in_the_language_is_moved_less(llama: Model) -> None:
    text = pairs(24)
    (clamp,) = fit_layers(llama, text, [3])
    moved = []
    for read in answers_read(llama, text):
        states = torch.cat([s.layers[3][s.source] for s in capture(llama, read, [3])])
        (item,) = clamp.interventions()
        moved.append(float((item.change(states) - states).norm(dim=-1).mean()))
    assert moved[0] < 0.7 * moved[1]


def test_learned_by_name_at_a_layer_and_strength(llama: Model) -> None:
    clamp = learn(llama, pairs(24), method="answers", layers=[2], strengths=[0.5], reach=1.5)
    assert isinstance(clamp, Clamp)
    assert (clamp.layer, clamp.strength, clamp.options["reach"]) == (2, 0.5, 1.5)
    part = learn(llama, pairs(24), method="mean_difference@prompt*0.5 + answers:3@generated*1")
    assert [p.positions for p in part.parts] == ["prompt", "generated"]
    with pytest.raises(FitError, match="one layer and one strength"):
        learn(llama, pairs(24), method="answers", strengths=[0.5, 1])


def test_the_same_text_in_both_languages_has_no_direction(llama: Model) -> None:
    text = pairs(12)
    same = ParallelCorpus(dict.fromkeys(("sw", "en"), text.texts["en"]), "en", "same")
    with pytest.raises(FitError, match="the same states at layer 2"):
        fit(llama, same, AnswerOptions(layer=2))
    with pytest.raises(FitError, match="long enough for an answer"):
        fit(llama, text, replace(AnswerOptions(), tokens=1))
