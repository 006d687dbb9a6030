from itertools import product
from pathlib import Path
from typing import get_args

import pytest
import torch

from langsteer import progress
from langsteer.fitting import descent
from langsteer.fitting.learned import LearnedOptions
from langsteer.fitting.learned import fit as fit_learned
from langsteer.fitting.learning import fit
from langsteer.fitting.objectives import ObjectiveName
from langsteer.model.model import Model
from langsteer.states.intervention import resumed
from tests.helpers import ARCHITECTURES, batch, pairs, tiny

DEFAULT = LearnedOptions().objective
OTHERS = sorted(set(get_args(ObjectiveName)) - {"contrastive", DEFAULT})


@pytest.mark.parametrize(
    ("architecture", "objective"),
    [(architecture, DEFAULT) for architecture in ARCHITECTURES]
    + list(product(("llama", "gemma2", "bloom"), OTHERS)),
)
def test_learning_lowers_its_loss(architecture: str, objective: str) -> None:
    model = tiny(architecture)
    before = {k: v.clone() for k, v in model.network.state_dict().items()}
    rounds = {"suffixes": (" so", " the", " in", " of", " a"), "steps": 50}  # 25 steps are 5 rounds
    vector = fit(
        model, pairs(15), method="learned", objective=objective, rate=0.03, layer=1, **rounds
    )
    assert vector.loss[-1] < vector.loss[0]
    assert all(torch.equal(v, before[k]) for k, v in model.network.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in model.network.parameters())


@torch.inference_mode()
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_resuming_at_a_layer_equals_the_whole_pass(architecture: str) -> None:
    model = tiny(architecture)
    inputs = batch(model, "left")
    found: list[torch.Tensor] = []
    hook = model.blocks[1].register_forward_hook(
        lambda m, a, o: found.append((o[0] if isinstance(o, tuple) else o).clone())
    )
    whole = model.network(**inputs).logits
    hook.remove()
    with resumed(model, 1, found[0]):
        assert torch.equal(model.network(**inputs).logits, whole)
    assert not any("forward" in block.__dict__ for block in model.blocks)


def test_the_same_seed_gives_the_same_vector(llama: Model) -> None:
    first, second = (
        fit(llama, pairs(12), method="learned", steps=5, layer=1, seed=4) for _ in range(2)
    )
    assert torch.equal(first.values, second.values)


def test_progress_names_the_language(
    llama: Model, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "_enabled", True)
    fit_learned(llama, pairs(12), LearnedOptions(layer=1, steps=2))
    assert f"{pairs(12).language}: learning, 2 steps…" in capsys.readouterr().err


def test_an_interrupted_fit_goes_on(
    llama: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = LearnedOptions(layer=1, steps=60, rate=0.01)
    whole = fit_learned(llama, pairs(12), options)
    steps = 0
    step = descent._Run._step

    def interrupted(self: descent._Run, index: list[int]) -> float:
        nonlocal steps
        steps += 1
        if steps == 40:
            raise KeyboardInterrupt
        return step(self, index)

    monkeypatch.setattr(descent._Run, "_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit_learned(llama, pairs(12), options, checkpoint=tmp_path / "fit")
    monkeypatch.setattr(descent._Run, "_step", step)
    resumed_fit = fit_learned(llama, pairs(12), options, checkpoint=tmp_path / "fit")
    assert len(resumed_fit.loss) == 3
    assert torch.equal(resumed_fit.values, whole.values)


def test_only_lines_that_are_learned_from_are_read(
    llama: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = pairs(40)
    read: list[int] = []
    states = descent.Pairs._keep_states

    def noted(self: descent.Pairs, label: str) -> None:
        read.append(len(self.texts))
        states(self, label)

    monkeypatch.setattr(descent.Pairs, "_keep_states", noted)
    vector = fit(llama, text, method="learned", layer=1, steps=2, batch=8)
    assert read == [16]
    assert vector.corpus == text.describe()
