"""What tests share: tiny models of many architectures, vectors, adding by hand, pairs, the command."""

import functools
import sys
from dataclasses import replace
from typing import Any

import pytest
import tokenizers
import torch
import transformers as t
from torch import Tensor

from langsteer import cli
from langsteer.model.model import Model
from langsteer.model.opening import wrap_model
from langsteer.states.intervention import PositionKind, output_states
from langsteer.steering.logit_bias import LogitBias
from langsteer.steering.vector import SteeringVector
from langsteer.text.corpus import ParallelCorpus, builtin

VOCABULARY = 128
LAYERS = 4

_SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 1024,
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
    "gpt2": (t.GPT2Config, {"max_position_embeddings": 128}),
    "gpt_neox": (t.GPTNeoXConfig, {}),
    "opt": (
        t.OPTConfig,
        {"ffn_dim": 48, "word_embed_proj_dim": 32, "max_position_embeddings": 128},
    ),
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
    with torch.inference_mode(False):  # or its weights could never be learned through
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


LAYER = 1
BOS = 1


def make_vector(model: Model, seed: int = 0, **changes: Any) -> SteeringVector:
    generator = torch.Generator().manual_seed(seed)
    fields: dict[str, Any] = {
        "values": torch.randn(model.hidden_size, generator=generator),
        "layer": LAYER,
        "language": "sw",
        "pivot": "en",
        "model": {"name": model.name, "fingerprint": model.fingerprint},
        "method": "test",
        "positions": "all",
        **changes,
    }
    return SteeringVector(**fields)


def make_bias(model: Model, language: str, seed: int = 0, strength: float = 1.0) -> LogitBias:
    """A bias of every third token."""
    values = 3 * torch.randn(model.vocab_size, generator=torch.Generator().manual_seed(seed))
    values[torch.arange(len(values)) % 3 != 0] = 0
    about = {"name": model.name, "fingerprint": model.fingerprint}
    return LogitBias(values, language, "en", about, "test", strength)


def batch(model: Model, side: str, lengths: tuple[int, ...] = (7, 4, 5)) -> dict[str, Tensor]:
    rows = [[BOS, *range(10 + 9 * i, 10 + 9 * i + n - 1)] for i, n in enumerate(lengths)]
    return model.batch(rows, side)


class ByHand:
    """Adds `delta` to block outputs at `where(step)`, with a plain hook and nothing else."""

    def __init__(
        self, model: Model, delta: Tensor, masks: list[Tensor], layer: int = LAYER
    ) -> None:
        self.model, self.delta, self.masks, self.layer, self.step = model, delta, masks, layer, 0

    def __enter__(self) -> "ByHand":
        def hook(module: Any, args: Any, output: Any) -> Any:
            hidden = output_states(output).clone()
            mask = self.masks[min(self.step, len(self.masks) - 1)]
            delta = self.delta.to(hidden.dtype)
            for row, column in mask.nonzero().tolist():
                hidden[row, column] = hidden[row, column] + delta
            self.step += 1
            return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

        self.hook = self.model.blocks[self.layer].register_forward_hook(hook)
        return self

    def __exit__(self, *error: Any) -> None:
        self.hook.remove()


def real_tokens(inputs: dict[str, Tensor]) -> Tensor:
    return inputs["attention_mask"].bool() & (inputs["input_ids"] != BOS)


def vector_at(
    model: Model, layer: int, positions: PositionKind = "source", seed: int = 0
) -> SteeringVector:
    values = torch.randn(model.hidden_size, generator=torch.Generator().manual_seed(seed)) * 2
    owner = {"name": model.name, "fingerprint": model.fingerprint}
    return SteeringVector(values, layer, "sw", "en", owner, "test", positions=positions)


def pairs(count: int = 24) -> ParallelCorpus:
    return replace(short(builtin("sw").lines(range(count))), name="test", topics=(), parts=())


def short(text: ParallelCorpus) -> ParallelCorpus:
    texts = {tag: tuple(line[:60] for line in lines) for tag, lines in text.texts.items()}
    return replace(text, texts=texts)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    old, sys.argv = sys.argv, ["langsteer", *arguments]
    try:
        code: object = 0
        try:
            cli.main()
        except SystemExit as error:
            code = error.code
    finally:
        sys.argv = old
    captured = capsys.readouterr()
    return (code if isinstance(code, int) else 0), captured.out, captured.err
