from pathlib import Path
from typing import Any

import pytest
import torch

from langsteer.errors import FitError, VectorError
from langsteer.fitting import descent, low_rank
from langsteer.fitting.learning import fit as fit_by_name
from langsteer.fitting.learning import learn
from langsteer.fitting.low_rank import LowRankOptions, fit
from langsteer.model.model import Model
from langsteer.states.intervention import intervene
from langsteer.steering.low_rank import LowRank
from langsteer.steering.vector import SteeringVector
from tests.helpers import ARCHITECTURES, batch, pairs, tiny


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_learning_lowers_its_loss(architecture: str) -> None:
    model = tiny(architecture)
    options = LowRankOptions(layer=1, steps=50, rate=0.03, rank=4)
    found = fit(model, pairs(12), options)
    assert found.loss[-1] < found.loss[0]
    assert found.layers == (1,)
    assert found.options["rank"] == 4


def test_the_map_does_what_was_learned(llama: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """The map moves a state by what the descent added to it, and no other state."""
    learned: list[Any] = []
    in_states = low_rank._Learned.in_states

    def noted(self: Any) -> Any:
        learned.append(self)
        return in_states(self)

    monkeypatch.setattr(low_rank._Learned, "in_states", noted)
    found = fit(llama, pairs(12), LowRankOptions(layer=1, steps=20, rate=0.05, rank=3))
    states = torch.randn(2, 5, llama.hidden_size)
    with torch.no_grad():
        expected = states + learned[0].shift(states)
    (change,) = found.interventions()
    torch.testing.assert_close(change.change(states), expected, atol=1e-4, rtol=1e-4)
    moved = (found.up @ found.down).double()
    assert 1 <= int(torch.linalg.matrix_rank(moved, rtol=1e-4)) <= 3


def test_what_depends_on_the_token_is_found_where_a_vector_cannot_find_it(llama: Model) -> None:
    """Lower loss than a vector's, from the same start, steps and pairs."""
    same: dict[str, Any] = {"layer": 1, "steps": 150, "rate": 0.03, "objective": "fisher"}
    text = pairs(12)
    vector = fit_by_name(llama, text, method="learned", **same)
    found = fit(llama, text, LowRankOptions(**same, rank=8))
    assert found.loss[-1] < vector.loss[-1]


def test_strength_is_chosen_on_lines_it_was_not_fitted_on(llama: Model, tmp_path: Path) -> None:
    found = learn(
        llama,
        pairs(40),
        method="low_rank",
        layer=1,
        steps=10,
        strengths=[0.5, 1.0],
        checkpoint=tmp_path / "fit",
    )
    assert isinstance(found, LowRank)
    assert found.corpus["lines"] == 32
    assert found.scores["chosen_on"]["lines"] == 8
    best = min(found.scores["trials"], key=lambda trial: trial["divergence"])
    assert found.strength == best["strength"]
    assert not list(tmp_path.iterdir())
    path = found.save(tmp_path / "map.safetensors")
    again = LowRank.load(path, llama)
    for name, numbers in found.tensors().items():
        assert torch.equal(again.tensors()[name], numbers)
    with pytest.raises(
        VectorError, match="not a langsteer vector file: it is a langsteer low-rank map"
    ):
        SteeringVector.load(path)
    inputs = batch(llama, "left")
    with torch.inference_mode():
        before = llama.network(**inputs).logits
        with intervene(llama, again.interventions()):
            assert not torch.equal(llama.network(**inputs).logits, before)


def test_an_interrupted_fit_goes_on(
    llama: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = LowRankOptions(layer=1, steps=60, rate=0.02, rank=2)
    whole = fit(llama, pairs(12), options)
    step = descent._Run._step

    def interrupted(self: descent._Run, index: list[int]) -> float:
        if self.done == 40:
            raise KeyboardInterrupt
        return step(self, index)

    monkeypatch.setattr(descent._Run, "_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit(llama, pairs(12), options, checkpoint=tmp_path / "fit")
    monkeypatch.setattr(descent._Run, "_step", step)
    resumed = fit(llama, pairs(12), options, checkpoint=tmp_path / "fit")
    for name, numbers in whole.tensors().items():
        assert torch.equal(resumed.tensors()[name], numbers)


def test_bad_options(llama: Model) -> None:
    with pytest.raises(FitError, match="rank must be 1 or more, not 0"):
        fit(llama, pairs(12), LowRankOptions(rank=0))
    with pytest.raises(FitError, match="layer 3 is the last"):
        fit(llama, pairs(12), LowRankOptions(layer=3))
    with pytest.raises(FitError, match="at least one strength"):
        learn(llama, pairs(12), method="low_rank", strengths=[])
