"""A vector towards the language, from blocks of examples."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from langsteer import load
from langsteer.errors import FitError
from langsteer.fitting.language_vector import blocks
from langsteer.fitting.learning import fit, learn, learn_all
from langsteer.model.model import Model
from langsteer.steering.vector import SteeringVector
from tests.helpers import pairs
from tests.made.multilingual import mean_at


def test_blocks_of_lines() -> None:
    assert blocks("abcde", 2) == ["a\n\nb", "c\n\nd"]
    assert blocks("abc", 3) == ["a\n\nb\n\nc"]
    assert blocks("abc", 1) == ["a", "b", "c"]
    for shots in (0, 4):
        with pytest.raises(FitError, match=f"from 1 to 3 lines here, not {shots}"):
            blocks("abc", shots)


def test_it_leads_from_the_pivots_examples_to_the_languages(llama: Model) -> None:
    text = pairs(12)
    vector = fit(llama, text, method="language_vector", shots=3)
    assert isinstance(vector, SteeringVector)
    assert (vector.layer, vector.positions, vector.strength) == (2, "all", 1.0)
    here, there = (
        mean_at(llama, tuple("\n\n".join(lines[i : i + 3]) for i in range(0, 12, 3)), 2)
        for lines in (text.texts["sw"], text.texts["en"])
    )
    torch.testing.assert_close(vector.values, (here - there).float(), atol=1e-5, rtol=1e-4)
    single = fit(llama, text, method="language_vector", shots=1)
    mean = fit(llama, text, method="mean_difference", layer=2)
    assert isinstance(single, SteeringVector)
    assert isinstance(mean, SteeringVector)
    torch.testing.assert_close(single.values, -mean.values, atol=1e-5, rtol=1e-4)


def test_learned_and_read_back(llama: Model, tmp_path: Path) -> None:
    files = {"sw": tmp_path / "sw.safetensors"}
    given = {"layers": [1], "strengths": [0.5], "positions": "prompt"}
    vector = learn_all(llama, pairs(40), "language_vector", files=files, **given)["sw"]
    assert (vector.layers, vector.strength, vector.positions) == ((1,), 0.5, "prompt")
    assert load(files["sw"], llama).describe() == vector.describe()


def test_what_cannot_be(llama: Model) -> None:
    text = pairs(24)
    with pytest.raises(FitError, match="language_vector takes one strength"):
        learn(llama, text, method="language_vector", strengths=[0.5, 1])
    with pytest.raises(FitError, match="language_vector takes one layer"):
        learn(llama, text, method="language_vector", layers=[0, 1])
    same = replace(text, texts=dict.fromkeys(("sw", "en"), text.texts["en"]))
    with pytest.raises(FitError, match="sw and en have the same mean states at layer 2"):
        fit(llama, same, method="language_vector")
