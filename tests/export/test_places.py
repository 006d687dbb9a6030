"""Where a bias is added to a block's output as it is: found out by trying."""

import pytest
import torch

from langsteer.errors import ExportError
from langsteer.export.places import exact_places, find_bias, without_weights
from langsteer.model.model import Model
from tests.helpers import build_model, tiny

LAYER = 2
BIAS = {
    "llama": ("mlp.down_proj", "mlp_bias"),
    "cohere": ("self_attn.o_proj", "attention_bias"),
    "gpt2": ("mlp.c_proj", None),
    "gpt_neox": ("mlp.dense_4h_to_h", None),
    "opt": ("fc2", None),
    "bloom": ("mlp.dense_4h_to_h", None),
}
WITHOUT = {
    "mistral": "mlp.down_proj",
    "qwen2": "mlp.down_proj",
    "qwen3": "mlp.down_proj",
    "phi3": "mlp.down_proj",
    "mixtral": "mlp.experts",
    "qwen3_moe": "mlp.experts",
}
NORMED = ("gemma2", "gemma3", "olmo2")


@pytest.mark.parametrize("architecture", BIAS)
def test_the_bias_of_the_last_projection(architecture: str) -> None:
    assert find_bias(tiny(architecture), LAYER) == BIAS[architecture]


@pytest.mark.parametrize("architecture", WITHOUT)
def test_an_architecture_without_such_a_bias(architecture: str) -> None:
    with pytest.raises(ExportError, match=f"{WITHOUT[architecture]} has no bias, and no option"):
        find_bias(tiny(architecture), LAYER)


@pytest.mark.parametrize("architecture", NORMED)
def test_a_norm_after_the_last_projection(architecture: str) -> None:
    with pytest.raises(ExportError, match=r"a norm \(post_feedforward_layernorm\) follows"):
        find_bias(tiny(architecture), LAYER)


def test_attention_counts_where_branches_are_parallel_alone() -> None:
    assert "attention.dense" in exact_places(tiny("gpt_neox"), LAYER)
    after = build_model("gpt_neox", use_parallel_residual=False)
    assert "attention.dense" not in exact_places(after, LAYER)
    assert find_bias(after, LAYER) == BIAS["gpt_neox"]


def test_a_bias_of_an_option_that_is_on_already() -> None:
    assert find_bias(build_model("llama", mlp_bias=True), LAYER) == ("mlp.down_proj", None)


def test_in_half_precision(llama: Model) -> None:
    half = build_model("llama")
    half.network.to(torch.bfloat16)
    assert find_bias(half, LAYER) == find_bias(llama, LAYER)


def test_the_model_is_left_as_it_was(llama: Model) -> None:
    before, hooks = llama.fingerprint, len(llama.blocks[LAYER].mlp._forward_hooks)
    find_bias(llama, LAYER)
    assert len(llama.blocks[LAYER].mlp._forward_hooks) == hooks
    assert not llama.network.config.mlp_bias
    assert build_model("llama").fingerprint == before
    assert all(p.is_meta for p in without_weights(llama, "mlp_bias").network.parameters())
