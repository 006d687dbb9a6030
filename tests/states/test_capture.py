import pytest
import torch

from langsteer.errors import StateError
from langsteer.model.model import Model, frozen
from langsteer.model.tokens import Prompt, encode
from langsteer.states.capture import capture, mean_states, pool_weights, sentence_states
from langsteer.states.intervention import output_states
from tests.helpers import ARCHITECTURES, build_model, tiny

TEXTS = ["Habari ya asubuhi", "Ndiyo", "Asante sana, rafiki", "Karibu tena kesho"]


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("budget", [20, 45, 1000])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_states_are_the_blocks_own_outputs(architecture: str, budget: int, side: str) -> None:
    model = tiny(architecture)
    tokens = encode(model, TEXTS)
    seen: list[int] = []
    for states in capture(model, TEXTS, [0, 2], budget=budget, padding_side=side):
        inputs = model.batch([tokens[i].ids for i in states.index], side)
        own: dict[int, torch.Tensor] = {}
        hooks = [
            model.blocks[layer].register_forward_hook(
                lambda m, a, o, layer=layer, own=own: own.__setitem__(
                    layer, output_states(o).clone()
                )
            )
            for layer in (0, 2)
        ]
        with torch.inference_mode():
            model.network(**inputs)
        for hook in hooks:
            hook.remove()
        assert all(torch.equal(states.layers[layer], own[layer]) for layer in (0, 2))
        assert torch.equal(
            states.source, inputs["attention_mask"].bool() & (inputs["input_ids"] != 1)
        )
        seen += states.index
    assert sorted(seen) == list(range(len(TEXTS)))


def test_nothing_above_the_deepest_layer_is_run(llama: Model) -> None:
    ran: list[int] = []
    hooks = [
        block.register_forward_hook(lambda m, a, o, i=i: ran.append(i))
        for i, block in enumerate(llama.blocks)
    ]
    hooks.append(llama.head.register_forward_hook(lambda m, a, o: ran.append(99)))
    mean_states(llama, TEXTS, [1])
    for hook in hooks:
        hook.remove()
    assert set(ran) == {0, 1}


def test_means_agree_with_sentences_whatever_the_batch(llama: Model) -> None:
    whole = sentence_states(llama, TEXTS, [0, 3])
    for budget in (20, 1000):
        means = mean_states(llama, TEXTS, [0, 3], budget=budget)
        for place, layer in enumerate((0, 3)):
            torch.testing.assert_close(means.mean[layer].float(), whole[:, place].mean(0))
            assert means.norm[layer] == pytest.approx(
                float(whole[:, place].norm(dim=1).mean()), rel=1e-4
            )


def test_pooling() -> None:
    source = torch.tensor([[False, True, True, True], [False, False, True, False]])
    assert pool_weights(source, "last").tolist() == [[0, 0, 0, 1], [0, 0, 1, 0]]
    assert pool_weights(source, (0, -1)).tolist() == [[0, 0.5, 0, 0.5], [0, 0, 1, 0]]
    assert pool_weights(source, "mean")[0].sum() == 1
    with pytest.raises(StateError, match="no pooling"):
        pool_weights(source, "max")


def test_only_the_source_of_a_prompt_counts(llama: Model) -> None:
    tokens = encode(llama, [Prompt("abc", "Text: ", "\nEnd")])[0]
    assert [llama.tokenizer.decode([i]) for i, s in zip(tokens.ids, tokens.source, strict=True) if s] == [
        "a", "b", "c",
    ]  # fmt: skip


def test_numbers_that_are_not_finite_name_layer_and_text() -> None:
    model = build_model("llama")
    with torch.no_grad():
        model.network.get_input_embeddings().weight[model.tokenizer.convert_tokens_to_ids("Q")] = (
            float("inf")
        )
    with pytest.raises(StateError, match="layer 1 of text 3 are not finite"):
        mean_states(model, ["abc", "abd", "aQc"], [1])


def test_frozen_restores() -> None:
    model = build_model("llama")
    model.network.train()
    with frozen(model):
        assert not any(p.requires_grad for p in model.network.parameters())
        assert not model.network.training
    assert all(p.requires_grad for p in model.network.parameters())
    assert all(m.training for m in model.network.modules())


def test_the_real_model_at_its_last_layer_is_before_the_norm(gemma: Model) -> None:
    (states,) = capture(gemma, ["Habari ya asubuhi"], [17])
    ids = gemma.batch([encode(gemma, ["Habari ya asubuhi"])[0].ids])
    with torch.inference_mode():
        assert gemma.norm is not None
        assert torch.equal(gemma.norm(states.layers[17]), gemma.run_decoder(ids))
