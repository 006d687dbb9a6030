"""Tiny models of many architectures, built from configurations: nothing is downloaded."""

import functools
from typing import Any

import tokenizers
import torch
import transformers as t

from langsteer.models import Model, wrap_model

VOCABULARY = 128
LAYERS = 4

_SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_MOE = {"head_dim": 8, "moe_intermediate_size": 16, "num_experts_per_tok": 2}

CONFIGS: dict[str, tuple[Any, dict[str, Any]]] = {
    "llama": (t.LlamaConfig, {}),
    "mistral": (t.MistralConfig, {}),
    "qwen2": (t.Qwen2Config, {}),
    "qwen3": (t.Qwen3Config, {"head_dim": 8}),
    "gemma2": (t.Gemma2Config, {"head_dim": 8}),
    "gemma3": (t.Gemma3TextConfig, {"head_dim": 8}),
    "cohere": (t.CohereConfig, {}),
    "gpt2": (t.GPT2Config, {}),
    "gpt_neox": (t.GPTNeoXConfig, {}),
    "opt": (t.OPTConfig, {"ffn_dim": 48, "word_embed_proj_dim": 32}),
    "bloom": (t.BloomConfig, {}),
    "phi3": (t.Phi3Config, {}),
    "olmo2": (t.Olmo2Config, {}),
    "mixtral": (t.MixtralConfig, {"num_local_experts": 4}),
    "qwen3_moe": (t.Qwen3MoeConfig, {"num_experts": 4, **_MOE}),
}
ARCHITECTURES = tuple(CONFIGS)


def build_network(architecture: str, seed: int = 0, **changes: Any) -> Any:
    config_class, extra = CONFIGS[architecture]
    torch.manual_seed(seed)
    config = config_class(**{**_SIZES, **extra, **changes})
    return t.AutoModelForCausalLM.from_config(config).eval()


def build_model(architecture: str, seed: int = 0, **changes: Any) -> Model:
    """A tiny model with a tokeniser that maps each character to a token."""
    return wrap_model(
        build_network(architecture, seed, **changes),
        character_tokenizer(),
        name=f"tiny-{architecture}",
    )


@functools.cache
def tiny(architecture: str) -> Model:
    """The same tiny model for every test that leaves it as it was."""
    return build_model(architecture)


def character_tokenizer() -> Any:
    characters = [chr(i) for i in range(32, 127)] + ["\n"]
    vocabulary = {"<pad>": 0, "<bos>": 1, "<eos>": 2, "<unk>": 3}
    for character in characters:
        vocabulary[character] = len(vocabulary)
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Split(
        tokenizers.Regex(r"[\s\S]"), behavior="isolated"
    )
    backend.decoder = tokenizers.decoders.Fuse()
    backend.post_processor = tokenizers.processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", 1)]
    )
    return t.PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
        unk_token="<unk>",
    )
