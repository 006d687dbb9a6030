import pytest
import torch
from torch import Tensor

from langsteer.analysis.layers.analyze import analyze
from langsteer.analysis.layers.reading import Reading, read_texts
from langsteer.errors import (
    StateError,
)
from langsteer.model.model import Model
from langsteer.model.tokens import encode
from langsteer.states.intervention import Addition, Intervention, intervene, output_states
from langsteer.text.corpus import ParallelCorpus
from tests.helpers import ARCHITECTURES, build_model, tiny
from tests.made.analysis import QUICK, TEXTS, noise, vector


def plain_states(model: Model, text: str) -> list[Tensor]:
    """Each layer's states at the source tokens, by transformers' own `output_hidden_states`."""
    (tokens,) = encode(model, [text])
    with torch.inference_mode():
        output = model.decoder(
            input_ids=torch.tensor([tokens.ids]), output_hidden_states=True, use_cache=False
        )
    states = list(output.hidden_states[1:])  # the last is after the final norm
    last: list[Tensor] = []
    hook = model.blocks[-1].register_forward_hook(lambda m, a, o: last.append(output_states(o)))
    with torch.inference_mode():
        model.decoder(input_ids=torch.tensor([tokens.ids]), use_cache=False)
    hook.remove()
    states[-1] = last[0]
    return [layer[0, tokens.source] for layer in states]


@pytest.mark.parametrize("budget", [30, 1000])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_reading_is_plain_output_hidden_states(architecture: str, budget: int) -> None:
    model = tiny(architecture)
    tokens = encode(model, TEXTS)
    picks = [(2, 3), (0, 1), (2, 20)]
    reading, after = read_texts(model, tokens, picks=picks, budget=budget)
    assert after is None
    whole = [plain_states(model, text) for text in TEXTS]
    first = tokens[0].source.index(True)
    close = {"atol": 2e-5, "rtol": 2e-4}
    for layer in range(model.layers):
        for i in range(len(TEXTS)):
            own = whole[i][layer]
            weights = torch.arange(1.0, len(own) + 1)
            torch.testing.assert_close(reading.mean[layer][i], own.mean(0), **close)
            torch.testing.assert_close(
                reading.weighted[layer][i], weights @ own / weights.sum(), **close
            )
            torch.testing.assert_close(reading.last[layer][i], own[-1], **close)
        for slot, (text, place) in enumerate(picks):
            torch.testing.assert_close(
                reading.picked[layer][slot], whole[text][layer][place - first], **close
            )
        lengths = torch.cat([text[layer] for text in whole]).norm(dim=1)
        assert reading.norms[layer].tokens == len(lengths)
        assert reading.norms[layer].mean == pytest.approx(float(lengths.mean()), rel=1e-4)


@pytest.mark.parametrize("layer", [0, 2, 3])
@pytest.mark.parametrize("architecture", ["llama", "gemma3", "gpt2", "opt", "qwen3_moe"])
def test_steered_reading_is_a_plain_steered_pass(architecture: str, layer: int) -> None:
    model = tiny(architecture)
    added = vector(model, noise(32, seed=4).float(), layer, strength=0.7)
    before, after = read_texts(model, encode(model, TEXTS), vector=added, budget=40)
    assert after is not None
    with intervene(model, [Intervention(layer, Addition(0.7 * added.values))], "source"):
        steered, _ = read_texts(model, encode(model, TEXTS))
    for place in range(model.layers):
        for kind in ("mean", "weighted", "last"):
            ours = getattr(after, kind)[place]
            torch.testing.assert_close(ours, getattr(steered, kind)[place], atol=2e-5, rtol=2e-4)
            assert (ours is getattr(before, kind)[place]) == (place < layer)
    moved = after.mean[layer] - before.mean[layer]
    torch.testing.assert_close(moved, (0.7 * added.values).expand_as(moved), atol=1e-5, rtol=1e-4)
    again, _ = read_texts(model, encode(model, TEXTS))
    torch.testing.assert_close(again.mean[3], before.mean[3])


def test_the_strength_can_be_replaced(llama: Model) -> None:
    added = vector(llama, noise(32).float(), 1)
    tokens = encode(llama, TEXTS)
    before, after = read_texts(llama, tokens, vector=added, strength=0.0)
    assert after is not None
    torch.testing.assert_close(after.mean[3], before.mean[3])


def test_states_that_are_not_finite() -> None:
    model = build_model("llama")
    with torch.no_grad():
        place = model.tokenizer.convert_tokens_to_ids("Q")
        model.network.get_input_embeddings().weight[place] = float("nan")
    with pytest.raises(StateError, match="layer 0 of text 2 are not finite"):
        read_texts(model, encode(model, ["abc", "aQc"]))
    text = ParallelCorpus({"sw": ("abc", "Qa"), "en": ("abd", "xyz")}, "en", "test")
    with pytest.raises(StateError, match="of text 2 are not finite"):
        analyze(model, text, options=QUICK)


def test_reading_holds_pooled_states_only(llama: Model) -> None:
    """Twice the tokens, the same memory."""

    def held(reading: Reading) -> int:
        kinds = (reading.mean, reading.weighted, reading.last, reading.picked)
        return sum(tensor.nelement() for kind in kinds for tensor in kind)

    short, long = (read_texts(llama, encode(llama, [text] * 3))[0] for text in ("abc", "abc" * 30))
    assert held(short) == held(long) == 4 * 3 * 3 * 32
