from pathlib import Path

import pytest
import torch
from torch import nn

from langsteer.capture import sentence_states
from langsteer.corpus import ParallelCorpus, builtin
from langsteer.errors import CorpusError, FitError, ModelError
from langsteer.fitting import METHODS, fit, learn
from langsteer.fitting.learned import LearnedOptions
from langsteer.fitting.learned import fit as fit_learned
from langsteer.fitting.mean_difference import fit_layers
from langsteer.intervention import resumed
from langsteer.models import Model, frozen
from langsteer.vector import SteeringVector
from tests.models import ARCHITECTURES, build_model, tiny
from tests.test_intervention import batch


def pairs(count: int = 24) -> ParallelCorpus:
    text = builtin("sw").lines(range(count))
    short = {tag: tuple(line[:60] for line in lines) for tag, lines in text.texts.items()}
    return ParallelCorpus(short, "en", "test")


def test_the_mean_difference_is_the_difference_of_means(llama: Model) -> None:
    text = pairs()
    for vector in fit_layers(llama, text, [0, 2, 3]):
        here, there = (
            sentence_states(llama, text.texts[t], [vector.layer])[:, 0] for t in ("sw", "en")
        )
        torch.testing.assert_close(
            vector.values, there.mean(0) - here.mean(0), atol=1e-5, rtol=1e-4
        )


@pytest.mark.parametrize("name", ["mean_difference", "principal_component", "probe"])
def test_a_planted_shift_is_found(name: str) -> None:
    """The language is the pivot with capital letters, whose embeddings lie a fixed step away."""
    model = build_model("llama", num_hidden_layers=2)
    shift = torch.zeros(32)
    shift[5] = 3.0
    with torch.no_grad():
        table = model.network.get_input_embeddings().weight
        for letter in "abcdefghijklmnopqrstuvwxyz":
            small, capital = model.tokenizer.convert_tokens_to_ids([letter, letter.upper()])
            table[capital] = table[small] - shift
        for block in model.blocks:  # blocks that pass their input on
            for weight in (block.self_attn.o_proj.weight, block.mlp.down_proj.weight):  # type: ignore[union-attr]
                weight.zero_()  # type: ignore[operator]
    english = tuple(t for t in pairs(60).texts["en"])
    letters = ["".join(c for c in text.lower() if c.isalpha() and c.isascii()) for text in english]
    text = ParallelCorpus(
        {"sw": tuple(t.upper() for t in letters), "en": tuple(letters)}, "en", "planted"
    )
    vector = fit(model, text, method=name, layer=0)
    cosine = nn.functional.cosine_similarity(vector.values, shift, dim=0)
    # A probe finds what separates the two best, which need not be all that differs.
    assert cosine > (0.5 if name == "probe" else 0.99)
    if name != "probe":
        assert float(vector.values.norm()) == pytest.approx(3.0, rel=0.05)


@pytest.mark.parametrize("objective", ["hidden", "output"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_learning_lowers_its_loss(architecture: str, objective: str) -> None:
    model = tiny(architecture)
    before = {k: v.clone() for k, v in model.network.state_dict().items()}
    vector = fit(
        model, pairs(12), method="learned", objective=objective, passes=3, rate=0.03, layer=1
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
        fit(llama, pairs(12), method="learned", passes=2, layer=1, seed=4) for _ in range(2)
    )
    assert torch.equal(first.values, second.values)


def test_an_interrupted_fit_goes_on(
    llama: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = LearnedOptions(layer=1, passes=4, rate=0.01, patience=9)
    whole = fit_learned(llama, pairs(12), options)
    from langsteer.fitting import learned

    steps = 0
    step = learned._Run._step

    def interrupted(self: learned._Run, index: list[int]) -> float:
        nonlocal steps
        steps += 1
        if steps == 6:
            raise KeyboardInterrupt
        return step(self, index)

    monkeypatch.setattr(learned._Run, "_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit_learned(llama, pairs(12), options, checkpoint=tmp_path / "fit")
    monkeypatch.setattr(learned._Run, "_step", step)
    resumed_fit = fit_learned(llama, pairs(12), options, checkpoint=tmp_path / "fit")
    assert len(resumed_fit.loss) == 4
    assert torch.equal(resumed_fit.values, whole.values)


def test_learn_chooses_on_lines_it_did_not_fit_on(llama: Model) -> None:
    vector = learn(llama, builtin("sw"), layers=[1, 2], strengths=[0.5, 1.0])
    assert vector.corpus["lines"] == 168
    assert vector.scores["chosen_on"]["lines"] == 49
    best = min(vector.scores["trials"], key=lambda t: t["divergence"])
    assert (vector.layer, vector.strength) == (best["layer"], best["strength"])
    assert len(vector.scores["trials"]) == 4


def test_bad_requests(llama: Model) -> None:
    with pytest.raises(FitError, match="no method 'magic'; there are learned"):
        fit(llama, pairs(), method="magic")
    with pytest.raises(FitError, match="has no option 'rate'"):
        fit(llama, pairs(), method="mean_difference", rate=1)
    with pytest.raises(ModelError, match="no layer 40"):
        fit(llama, pairs(), layer=40)
    with pytest.raises(FitError, match="is the last"):
        fit(llama, pairs(), method="learned", layer=3)
    with pytest.raises(FitError, match="too small to fit"):
        fit(llama, pairs(3))
    with pytest.raises(CorpusError, match="too small to split"):
        learn(llama, pairs(4))
    with pytest.raises(CorpusError, match="has no Greek"):
        fit(llama, pairs(), "el")
    assert set(METHODS) == {"learned", "mean_difference", "principal_component", "probe"}


def test_the_real_model_is_brought_nearer_to_english(gemma: Model) -> None:
    """On sentences that were not fitted on."""
    with frozen(gemma):
        vector: SteeringVector = learn(gemma, builtin("sw"), strengths=[0.5, 1.0])
    assert vector.scores["divergence"] < vector.scores["divergence_unsteered"]
