"""LRP2: what is swapped for what, and that it is swapped back."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from langsteer import load
from langsteer.errors import FitError
from langsteer.fitting.learning import fit, learn, learn_all
from langsteer.model.model import Model
from langsteer.steering.sequence import ChangeSequence
from langsteer.text.corpus import ParallelCorpus
from tests.helpers import pairs
from tests.made.multilingual import mean_at, token_states


def test_the_means_are_swapped_and_swapped_back(llama: Model) -> None:
    text = pairs(12)
    change = fit(llama, text, method="lrp2", layer=1, back=3)
    assert (change.layers, change.positions, change.strength) == ((1, 3), "all", 1.0)
    lines = text.texts["sw"]
    apart = {
        layer: (mean_at(llama, text.texts["en"], layer) - mean_at(llama, lines, layer)).float()
        for layer in (1, 3)
    }
    before, after = (token_states(llama, lines, 1, steered) for steered in (None, change))
    torch.testing.assert_close(after - before, apart[1].expand_as(after), atol=1e-5, rtol=1e-4)
    swapped = ChangeSequence(change.parts[:1])
    there, back = (token_states(llama, lines, 3, steered) for steered in (swapped, change))
    torch.testing.assert_close(back - there, -apart[3].expand_as(back), atol=1e-5, rtol=1e-4)


def test_the_first_layer_is_chosen_by_the_first_half(llama: Model, tmp_path: Path) -> None:
    text, files = pairs(40), {"sw": tmp_path / "sw.safetensors"}
    change = learn_all(llama, text, "lrp2", layers=[2, 1, 0], files=files)["sw"]
    trials = change.scores["trials"]
    assert [(trial["layer"], trial["strength"]) for trial in trials] == [(2, 1), (1, 1), (0, 1)]
    best = min(trials, key=lambda trial: trial["divergence"])
    assert change.layers == (best["layer"], 3)
    alone = learn(llama, text, method="mean_difference", layers=[2, 1, 0], strengths=[1.0])
    assert [trial["divergence"] for trial in alone.scores["trials"]] == pytest.approx(
        [trial["divergence"] for trial in trials], rel=1e-4
    )
    assert change.options["layer"] == best["layer"]
    assert load(files["sw"], llama).describe() == change.describe()
    half = learn(llama, text, method="lrp2", layers=[1], strengths=[0.5])
    assert (half.strength, half.layers) == (0.5, (1, 3))


def test_a_part_of_a_recipe(llama: Model) -> None:
    change = learn(llama, pairs(40), method="lrp2:1*0.5 + mean_difference:2@generated*-0.5")
    assert isinstance(change, ChangeSequence)
    assert [(part.method, part.layers) for part in change.parts] == [
        ("lrp2", (1,)),
        ("lrp2", (3,)),
        ("mean_difference", (2,)),
    ]
    assert [part.strength for part in change.parts] == [0.5, 0.5, -0.5]


def test_what_cannot_be_swapped(llama: Model) -> None:
    text = pairs(12)
    with pytest.raises(FitError, match="layer 1 is not above 2"):
        fit(llama, text, method="lrp2", layer=2, back=1)
    same = replace(text, texts=dict.fromkeys(("sw", "en"), text.texts["en"]))
    with pytest.raises(FitError, match="sw and en have the same mean states at layer 1"):
        fit(llama, same, method="lrp2", layer=1)
    with pytest.raises(FitError, match="too small"):
        fit(llama, ParallelCorpus({"sw": ("a",), "en": ("b",)}, "en", "small"), method="lrp2")
