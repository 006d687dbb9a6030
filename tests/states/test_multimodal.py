"""Models that see are steered in their text, image tokens and all, as by hand."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers as t
from torch import Tensor

from langsteer.model.model import Model
from langsteer.model.opening import wrap_model
from tests.helpers import BOS, LAYERS, build_network, character_tokenizer
from tests.made.by_hand import check_forward, check_generation

IMAGE, BEGIN, END = 100, 101, 102
PATCH = 14


def text_settings(**more: Any) -> dict[str, Any]:
    config = build_network("llama").config
    names = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads")
    names += ("num_key_value_heads", "intermediate_size", "bos_token_id", "pad_token_id")
    return {**{name: getattr(config, name) for name in names}, "eos_token_id": 2, **more}


def gemma3() -> tuple[Any, dict[str, Tensor]]:
    sight = {"hidden_size": 16, "intermediate_size": 16, "image_size": 2 * PATCH}
    sight |= {"num_hidden_layers": 1, "num_attention_heads": 2, "patch_size": PATCH}
    config = t.Gemma3Config(
        text_config=text_settings(head_dim=8),
        vision_config=sight,
        mm_tokens_per_image=4,
        image_token_index=IMAGE,
        boi_token_index=BEGIN,
        eoi_token_index=END,
    )
    torch.manual_seed(0)
    image = {"pixel_values": torch.randn(1, 3, 2 * PATCH, 2 * PATCH)}
    return t.Gemma3ForConditionalGeneration(config).eval(), image


def qwen2_vl() -> tuple[Any, dict[str, Tensor]]:
    rotary = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0}
    config = t.Qwen2VLConfig(
        text_config=text_settings(rope_parameters=rotary),
        vision_config={"depth": 1, "embed_dim": 16, "hidden_size": 32, "num_heads": 2},
        image_token_id=IMAGE,
        vision_start_token_id=BEGIN,
        vision_end_token_id=END,
        video_token_id=103,
    )
    torch.manual_seed(0)
    patches = torch.randn(16, 3 * 2 * PATCH * PATCH)
    image = {"pixel_values": patches, "image_grid_thw": torch.tensor([[1, 4, 4]])}
    return t.Qwen2VLForConditionalGeneration(config).eval(), image


MODELS: dict[str, Callable[[], tuple[Any, dict[str, Tensor]]]] = {
    "gemma3": gemma3,
    "qwen2_vl": qwen2_vl,
}


@torch.inference_mode()
@pytest.mark.parametrize("seeing", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_a_model_that_sees(name: str, seeing: bool) -> None:
    network, image = MODELS[name]()
    model = wrap_model(network, character_tokenizer())
    assert model.layers == LAYERS
    between = [BEGIN, *([IMAGE] * 4), END] if seeing else []
    ids = torch.tensor([[BOS, 20, 21, *between, 22, 23]])
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if seeing:
        inputs |= image
        kinds = {"mm_token_type_ids": (ids == IMAGE).long()}
        inputs |= kinds if name == "qwen2_vl" else {"token_type_ids": kinds["mm_token_type_ids"]}
    kept = {"suppress_tokens": [0, BOS, IMAGE, BEGIN, END, 103]}
    check_forward(model, inputs)
    check_generation(model, inputs, kept)


@torch.inference_mode()
def test_the_text_of_a_batch() -> None:
    model: Model = wrap_model(gemma3()[0], character_tokenizer())
    check_generation(model, model.batch([[BOS, 20, 21, 22], [BOS, 30]]))
