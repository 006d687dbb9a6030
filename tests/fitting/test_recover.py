"""ReCoVeR: steps at all layers, of what length, and from what."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from langsteer import load
from langsteer.errors import FitError
from langsteer.fitting.learning import fit, learn, learn_all
from langsteer.model.model import Model
from langsteer.steering.change import Change
from langsteer.steering.sequence import ChangeSequence
from langsteer.steering.vector import SteeringVector
from tests.helpers import pairs
from tests.made.multilingual import mean_at, three_languages, token_states


def values(change: Change, place: int = 0) -> Tensor:
    part = change.parts[place]
    assert isinstance(part, SteeringVector)
    return part.values


def test_the_step_by_hand(llama: Model) -> None:
    text = three_languages()
    means = {tag: mean_at(llama, lines, 2) for tag, lines in text.texts.items()}
    middle = torch.stack(list(means.values())).mean(0)
    own, other = means["sw"] - middle, means["en"] - middle
    for beta in (0.0, 0.5, 1.0):
        step = own - beta * other
        given = {"layer": 2, "beta": beta}
        unit = fit(llama, text, "sw", "recover", scaling="unit", **given)
        mean = fit(llama, text, "sw", "recover", share=0.25, **given)
        torch.testing.assert_close(values(mean), step.float() / 4, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(values(unit), (step / step.norm()).float(), atol=1e-5, rtol=1e-4)
    pair = fit(llama, text.only("sw"), method="recover", layer=2, scaling="unit")
    torch.testing.assert_close(values(pair), values(unit), atol=1e-5, rtol=1e-4)  # with beta 1
    pair = fit(llama, text.only("sw"), method="recover", layer=2, beta=0, share=1)
    half = (means["sw"] - means["en"]) / 2
    torch.testing.assert_close(values(pair), half.float(), atol=1e-5, rtol=1e-4)


def test_all_layers_are_moved_and_lengths_are_kept(llama: Model) -> None:
    text = three_languages()
    change = learn(llama, text, "et", "recover", strengths=[0.5])
    assert isinstance(change, ChangeSequence)
    assert (change.layers, change.positions, change.strength) == ((0, 1, 2, 3), "all", 0.5)
    lines = text.texts["en"]
    below = ChangeSequence(change.changes[:2], strength=0.5)
    before, after = (token_states(llama, lines, 2, steered) for steered in (below, change))
    moved = before + 0.5 * values(change, 2)
    torch.testing.assert_close(after, moved * (before.norm(dim=1) / moved.norm(dim=1))[:, None])


def test_it_is_read_back_and_some_layers_are_enough(llama: Model, tmp_path: Path) -> None:
    text = three_languages()
    files = {tag: tmp_path / f"{tag}.safetensors" for tag in text.languages}
    changes = learn_all(llama, text, "recover", layers=[1, 3], files=files)
    for tag, change in changes.items():
        assert (change.language, change.layers, change.method) == (tag, (1, 3), "recover")
        assert load(files[tag], llama).describe() == change.describe()
        assert change.parts[0].options["languages"] == ["sw", "et", "tr", "en"]


def test_what_cannot_be(llama: Model) -> None:
    with pytest.raises(FitError, match="recover takes one strength"):
        learn(llama, pairs(24), method="recover", strengths=[0.5, 1.0])
    with pytest.raises(FitError, match="scaling should be 'mean' or 'unit', not 'norm'"):
        fit(llama, pairs(12), method="recover", scaling="norm")
    with pytest.raises(FitError, match="is not learned from several languages together"):
        learn_all(llama, three_languages(), "recover", together=True)
