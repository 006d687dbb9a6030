"""MRRE: a reading part that turns the prompt, and an anchor that turns what is written."""

from pathlib import Path

import pytest
import torch

from langsteer import load
from langsteer.errors import FitError
from langsteer.fitting.answers import AnswerOptions, answers_read
from langsteer.fitting.learning import fit, learn, learn_all
from langsteer.model.model import Model
from langsteer.states.capture import mean_states
from langsteer.steering.vector import SteeringVector
from tests.helpers import pairs
from tests.made.multilingual import mean_at, token_states


def test_both_parts_by_hand(llama: Model) -> None:
    text = pairs(12)
    change = fit(llama, text, method="mrre", layer=1, strength=0.5, anchor=2.0)
    reading, anchor = change.parts
    assert isinstance(reading, SteeringVector)
    assert isinstance(anchor, SteeringVector)
    assert (reading.layer, reading.positions, reading.strength) == (1, "prompt", 0.5)
    assert (anchor.layer, anchor.positions, anchor.strength) == (3, "generated", 2.0)
    apart = mean_at(llama, text.texts["en"], 1) - mean_at(llama, text.texts["sw"], 1)
    torch.testing.assert_close(reading.values, apart.float(), atol=1e-5, rtol=1e-4)
    own, other = answers_read(llama, text, AnswerOptions())
    here, there = (mean_states(llama, read, [3]).mean[3] for read in (own, other))
    torch.testing.assert_close(anchor.values, (here - there).float())


def test_states_are_turned_and_keep_their_length(llama: Model) -> None:
    text = pairs(12)
    change = fit(llama, text, method="mrre", layer=1)
    lines = text.texts["sw"]
    before, after = (token_states(llama, lines, 1, steered) for steered in (None, change))
    (reading, _) = change.parts
    assert isinstance(reading, SteeringVector)
    moved = before + reading.values
    expected = moved * (before.norm(dim=1) / moved.norm(dim=1))[:, None]
    torch.testing.assert_close(after, expected)
    assert (after - before).norm() > 0.1


def test_the_reading_part_is_chosen_and_the_anchor_is_not(llama: Model, tmp_path: Path) -> None:
    text, files = pairs(40), {"sw": tmp_path / "sw.safetensors"}
    change = learn_all(
        llama, text, "mrre", layers=[0, 1], strengths=[0.5, 1.0], files=files, anchor=0.75
    )["sw"]
    reading, anchor = change.parts
    trials = change.scores["trials"]
    assert [(trial["layer"], trial["strength"]) for trial in trials] == [
        (layer, strength) for layer in (0, 1) for strength in (0.5, 1.0)
    ]
    best = min(trials, key=lambda trial: trial["divergence"])
    assert (reading.layers, reading.strength) == ((best["layer"],), best["strength"])
    assert (anchor.strength, change.strength, change.method) == (0.75, 1.0, "mrre")
    assert load(files["sw"], llama).describe() == change.describe()
    text_only = learn(llama, text, method="mrre", layers=[1], positions="source")
    assert [part.positions for part in text_only.parts] == ["source", "generated"]


def test_what_cannot_be_anchored(llama: Model) -> None:
    with pytest.raises(FitError, match=r"mrre: its second part .* layer 1 is not above 2"):
        fit(llama, pairs(12), method="mrre", layer=2, anchor_layer=1)
    with pytest.raises(FitError, match="long enough for an answer"):
        fit(llama, pairs(12), method="mrre", tokens=1)
    with pytest.raises(FitError, match="mrre has no option 'reach'"):
        fit(llama, pairs(12), method="mrre", reach=1)
