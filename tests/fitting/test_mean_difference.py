import pytest
import torch
from torch import nn

from langsteer.errors import FitError
from langsteer.fitting.learning import fit
from langsteer.fitting.mean_difference import fit_layers
from langsteer.fitting.readings import PivotReadings
from langsteer.model.model import Model
from langsteer.states.capture import sentence_states
from langsteer.text.corpus import ParallelCorpus
from tests.helpers import build_model, pairs


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


def test_another_pivot_is_refused(llama: Model) -> None:
    with pytest.raises(FitError, match="is not that of test"):
        fit_layers(llama, pairs(12), [1], readings=PivotReadings(llama, pairs(13)))
