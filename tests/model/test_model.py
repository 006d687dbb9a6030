from typing import Any

import pytest
import torch

from langsteer.model.model import Model
from tests.helpers import ARCHITECTURES, LAYERS, build_model, tiny


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_parts_of_every_architecture(architecture: str) -> None:
    model = tiny(architecture)
    assert model.layers == LAYERS
    assert model.hidden_size == 32
    assert model.norm is not None
    assert model.head is model.network.get_output_embeddings()
    ids = torch.tensor([[1, 20, 21, 22]])
    found: list[torch.Tensor] = []
    hook = model.norm.register_forward_hook(lambda m, a, o: found.append(o))
    with torch.inference_mode():
        output = model.run_decoder({"input_ids": ids, "attention_mask": torch.ones_like(ids)})
    hook.remove()
    assert torch.equal(found[-1], output)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_logits_a_block_at_a_time(architecture: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("langsteer.model.model.LOGIT_BLOCK", 50)
    model = tiny(architecture)
    states = torch.randn(3, model.hidden_size)
    with torch.inference_mode():
        whole = model.logits_of(states)
        blocks = dict(model.logit_blocks(states))
    assert list(blocks) == list(range(0, whole.shape[-1], 50))
    assert torch.allclose(torch.cat(list(blocks.values()), -1), whole, atol=1e-6)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_logits_of_some_tokens(architecture: str) -> None:
    model = tiny(architecture)
    states, tokens = torch.randn(3, model.hidden_size), torch.tensor([7, 0, 30])
    with torch.inference_mode():
        whole, some = model.logits_of(states), model.token_logits(states, tokens)
    assert torch.allclose(some, whole[:, tokens], atol=1e-6)


def test_a_head_that_looks_at_all_logits_is_left_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("langsteer.model.model.LOGIT_BLOCK", 50)
    model = build_model("llama")
    own = model.network.forward

    def normalised(*args: Any, **kwargs: Any) -> Any:
        output = own(*args, **kwargs)
        output.logits = output.logits.log_softmax(-1)
        return output

    model.network.forward = normalised
    states = torch.randn(3, model.hidden_size)
    with torch.inference_mode():
        [(start, logits)] = model.logit_blocks(states)
        assert start == 0
        assert torch.equal(logits, model.logits_of(states))
        tokens = torch.tensor([9, 2])
        assert torch.equal(model.token_logits(states, tokens), logits[:, tokens])


def test_the_real_model(gemma: Model) -> None:
    assert (gemma.layers, gemma.hidden_size, gemma.vocab_size) == (18, 640, 262144)
    assert gemma.bos_id == 2
