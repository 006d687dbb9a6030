"""A tiny model whose tokens are written in several scripts."""

from typing import Any

import tokenizers
import transformers as t

from langsteer.model.model import Model
from langsteer.model.opening import wrap_model
from tests.helpers import build_network

TOKENS = (
    "<pad>", "<bos>", "<eos>", "<unk>",
    " the", " and", "Rome", " και", " το", "α", "ن", "日本", " 12", ",", ".", "\n", "ν.", "xα", "µ",
)  # fmt: skip


def number(text: str) -> int:
    return TOKENS.index(text)


def build() -> Model:
    """Of the architecture llama, with a token for each of TOKENS."""
    backend = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({text: i for i, text in enumerate(TOKENS)}, unk_token="<unk>")
    )
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Split(
        tokenizers.Regex("|".join(sorted(map(_escaped, TOKENS), key=len, reverse=True))),
        behavior="isolated",
    )
    backend.decoder = tokenizers.decoders.Fuse()
    tokenizer: Any = t.PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
        unk_token="<unk>",
    )
    return wrap_model(
        build_network("llama", vocab_size=len(TOKENS)), tokenizer, name="tiny-scripts"
    )


def _escaped(text: str) -> str:
    return text.replace(".", r"\.")
