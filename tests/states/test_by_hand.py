"""A vector equals a hook written by hand, to the last bit, in every way that transformers runs a model."""

import contextlib
import importlib.util
from typing import Any

import pytest
import torch
from torch import Tensor

from langsteer.model.model import Model
from langsteer.model.opening import wrap_model
from tests.helpers import (
    ARCHITECTURES,
    BOS,
    LAYER,
    batch,
    build_model,
    make_vector,
    real_tokens,
    tiny,
)
from tests.made.by_hand import by_hand, check_forward, check_generation, written

WAYS: dict[str, dict[str, Any]] = {
    "dynamic cache": {},
    "static cache": {"cache_implementation": "static"},
    "chunked prefill": {"prefill_chunk_size": 3},
    "beams": {"num_beams": 3, "num_return_sequences": 2},
    "several sequences": {"do_sample": True, "num_return_sequences": 3},
}
QUANTISED = {"quanto": "optimum.quanto", "hqq": "hqq"}


@torch.inference_mode()
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_ways_to_generate(architecture: str, way: str) -> None:
    model = build_model(architecture)
    check_generation(model, batch(model, "left"), WAYS[way])


@torch.inference_mode()
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("architecture", ["mistral", "gemma2", "gemma3"])
def test_past_a_sliding_window(architecture: str, way: str) -> None:
    if way == "chunked prefill":
        pytest.skip("transformers does not cut a prompt for a sliding window")
    model = build_model(architecture, sliding_window=4)
    check_generation(model, batch(model, "left"), WAYS[way])


@torch.inference_mode()
@pytest.mark.parametrize("beams", [1, 2])
@pytest.mark.parametrize("architecture", ["llama", "gpt2", "qwen3"])
@pytest.mark.parametrize("backend", QUANTISED)
def test_a_quantised_cache(backend: str, architecture: str, beams: int) -> None:
    """transformers quantises no cache of a model with a sliding window."""
    with contextlib.suppress(ModuleNotFoundError):
        if importlib.util.find_spec(QUANTISED[backend]):
            settings = {"backend": backend, "nbits": 4, "q_group_size": 4, "residual_length": 2}
            cache = {"cache_implementation": "quantized", "cache_config": settings}
            cache["num_beams"] = beams
            model = build_model(architecture)
            check_generation(model, batch(model, "left"), cache)
            return
    pytest.skip(f"{QUANTISED[backend]} is not here")


@torch.inference_mode()
@pytest.mark.skipif(
    not torch.cuda.is_available(), reason="caches are moved off a GPU, and here is none"
)
@pytest.mark.parametrize("kind", ["offloaded", "offloaded_static"])
@pytest.mark.parametrize("architecture", ["llama", "gemma3", "gpt2"])
def test_a_cache_in_the_memory_of_the_processor(architecture: str, kind: str) -> None:
    built = build_model(architecture)
    model = wrap_model(built.network.to("cuda"), built.tokenizer, name=built.name)
    check_generation(model, batch(model, "left"), {"cache_implementation": kind})


@torch.inference_mode()
@pytest.mark.parametrize("architecture", ["llama", "gemma3", "gpt2"])
def test_assisted_decoding(architecture: str) -> None:
    model, assistant = build_model(architecture), build_model(architecture, seed=1)
    ids = torch.tensor([[BOS, *([30, 31, 32, 33] * 3)]])
    given = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    for more in ({"prompt_lookup_num_tokens": 3}, {"assistant_model": assistant.network}):
        check_generation(model, given, {**more, "max_new_tokens": 12, "min_new_tokens": 12})


@torch.inference_mode()
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_kinds_of_attention(architecture: str, attention: str, side: str) -> None:
    model = with_attention(architecture, attention)
    check_forward(model, batch(model, side))


@torch.inference_mode()
def test_flex_attention() -> None:
    """It is compiled, which takes seconds."""
    model = with_attention("llama", "flex_attention")
    check_forward(model, batch(model, "left"))


def with_attention(architecture: str, attention: str) -> Model:
    model = build_model(architecture)
    with contextlib.suppress(ValueError, ImportError):
        model.network.set_attn_implementation(attention)
    if model.network.config._attn_implementation != attention:
        pytest.skip(f"{architecture} has no {attention}")
    return model


@torch.inference_mode()
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_in_bfloat16(architecture: str) -> None:
    model = build_model(architecture)
    model.network.to(torch.bfloat16)
    check_forward(model, batch(model, "left"))
    check_generation(model, batch(model, "left"))


@pytest.mark.filterwarnings("ignore:`gradient_checkpointing_enable`:FutureWarning")
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_gradient_checkpointing(architecture: str) -> None:
    """Gradients too, where the blocks are run once more on the way back."""
    model = build_model(architecture)
    vector = make_vector(model)
    model.network.gradient_checkpointing_enable({"use_reentrant": False})
    model.network.train()
    weight = model.network.get_input_embeddings().weight
    inputs = batch(model, "right")

    def gradient() -> Tensor:
        torch.manual_seed(0)  # what is dropped out
        runs: list[int] = []
        part = next(model.blocks[LAYER].children())
        count = part.register_forward_pre_hook(lambda *given: runs.append(1))
        weight.grad = None
        output = model.network(**inputs, use_cache=False).logits
        output[real_tokens(inputs)].square().mean().backward()
        count.remove()
        assert len(runs) == 2  # it is checkpointed
        assert weight.grad is not None
        return weight.grad.clone()

    plain = gradient()
    with vector.applied(model):
        steered = gradient()
    with by_hand(model, vector.values):
        expected = gradient()
    assert torch.equal(steered, expected)
    assert not torch.allclose(steered, plain)


@torch.inference_mode()
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_embeddings_in_place_of_ids(architecture: str) -> None:
    """Then the first token of each row is taken for the beginning of its text."""
    model = tiny(architecture)
    vector = make_vector(model)
    inputs = batch(model, "left")
    given = dict(inputs)
    given["inputs_embeds"] = model.network.get_input_embeddings()(given.pop("input_ids"))
    with vector.applied(model):
        steered = model.network(**given).logits
    with vector.applied(model):
        expected = model.network(**inputs).logits
    real = inputs["attention_mask"].bool()
    assert torch.allclose(steered[real], expected[real], atol=1e-6)
    with vector.applied(model):
        told = written(model, given)
        wanted = written(model, inputs)
    new = told[0].shape[1]
    assert torch.equal(told[0], wanted[0][:, -new:])
