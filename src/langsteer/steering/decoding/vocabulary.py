"""What a model's tokens are written with: the text of each, and masks over the vocabulary."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from langsteer.errors import ModelError
from langsteer.model.model import Model
from langsteer.text.languages import script_of, script_share

CHINESE_JAPANESE, LATIN, SYMBOLS, OTHERS = range(4)
"""The families of tokens that the language confusion gate tells apart (arXiv 2510.17555)."""


def token_texts(model: Model) -> list[str]:
    """The text of each token of the vocabulary; "" for special tokens. Read once for a model.

    Part of a character reads as the replacement character, which is no letter.
    """
    return list(model.kept.get("token texts", lambda: _texts(model)))


def foreign_tokens(model: Model, language: str, *also: str) -> Tensor:
    """Boolean [vocabulary]: tokens with letters, all of them in scripts other than the language's.

    Digits, punctuation, spaces, special tokens and parts of characters are in no script. `also` are
    tags of languages whose scripts are not foreign either.
    """
    tags = [language, *also]

    def foreign(text: str) -> bool:
        return all(script_share(text, tag) == 0.0 for tag in tags)

    scripts = tuple(sorted(set(map(script_of, tags))))
    mask: Tensor = model.kept.get("foreign tokens", lambda: _mask(model, foreign), scripts)
    return mask


def token_families(model: Model) -> Tensor:
    """Whole numbers [vocabulary]: CHINESE_JAPANESE, LATIN, SYMBOLS or OTHERS, by any letter of it."""

    def make() -> Tensor:
        return torch.tensor([_family(text) for text in token_texts(model)])

    families: Tensor = model.kept.get("token families", make)
    return families


def _family(text: str) -> int:
    """A letter that Chinese and Latin text share, such as µ, is of no family."""
    chinese, latin = script_share(text, "ja"), script_share(text, "en")
    if chinese == latin == 1.0:
        return SYMBOLS
    if chinese > 0 and latin < 1.0:
        return CHINESE_JAPANESE
    return LATIN if latin > 0 else OTHERS


def _mask(model: Model, holds: Callable[[str], bool]) -> Tensor:
    return torch.tensor([holds(text) for text in token_texts(model)])


def _texts(model: Model) -> list[str]:
    tokenizer: Any = model.tokenizer
    if tokenizer is None:
        raise ModelError(f"{model.name} has no tokeniser: wrap_model(network, tokenizer)")
    count = min(model.vocab_size, len(tokenizer))
    texts = tokenizer.batch_decode([[i] for i in range(count)], clean_up_tokenization_spaces=False)
    special = {*tokenizer.all_special_ids, *_marked(tokenizer), *_ends(model)}
    known = ["" if i in special else text for i, text in enumerate(texts)]
    return known + [""] * (model.vocab_size - count)


def _marked(tokenizer: Any) -> list[int]:
    added = getattr(tokenizer, "added_tokens_decoder", {})
    return [i for i, token in added.items() if getattr(token, "special", False)]


def _ends(model: Model) -> list[int]:
    """The tokens that end a text."""
    ends = getattr(getattr(model.network, "generation_config", None), "eos_token_id", None)
    return [ends] if isinstance(ends, int) else list(ends or [])
