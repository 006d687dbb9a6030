"""Text to tokens: which tokens are the text in the language, and batches under a token budget."""

import itertools
from collections.abc import Iterator, Sequence, Sized
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from langsteer.errors import LengthError, ModelError
from langsteer.model.model import Model

TOKEN_BUDGET = 2048
PROCESSOR_BUDGET = 1024  # more does not stay in its caches
SHOWN = 40  # characters of a text that a message shows


@dataclass(frozen=True)
class Prompt:
    """Text in the language with a template around it."""

    source: str
    before: str = ""
    after: str = ""

    def __str__(self) -> str:
        return self.before + self.source + self.after

    @property
    def pieces(self) -> tuple[str, ...]:
        """Template and source by turns, the first template."""
        return (self.before, self.source, self.after)


@dataclass(frozen=True)
class Conversation:
    """Text in the language at several places of a template: `pieces` are template and source by
    turns, the first template.
    """

    pieces: tuple[str, ...]

    def __str__(self) -> str:
        return "".join(self.pieces)

    @property
    def source(self) -> str:
        """The text in the language, a line a place."""
        return "\n".join(self.pieces[1::2])


Text = str | Prompt | Conversation


@dataclass(frozen=True)
class Tokens:
    """One encoded text: its ids, and which of them stand for the source (never a special token)."""

    ids: list[int]
    source: list[bool]

    def __len__(self) -> int:
        return len(self.ids)

    def followed_by(self, suffix: Sequence[int]) -> "Tokens":
        """These tokens and then `suffix`, which is template."""
        return Tokens([*self.ids, *suffix], [*self.source, *([False] * len(suffix))])


def encode(model: Model, prompts: Sequence[Text]) -> list[Tokens]:
    """Tokenise texts, with the beginning-of-sequence token where the model has one.

    A plain string is all source. A token belongs to the source where any of its characters do.
    Raises ModelError where the model has no tokeniser, or a text has no tokens, more than the model
    reads, or such as the model does not know.
    """
    if model.tokenizer is None:
        raise ModelError(f"{model.name} has no tokeniser: wrap_model(network, tokenizer)")
    encoded = [_encode_text(model, Prompt(p) if isinstance(p, str) else p) for p in prompts]
    _check_lengths(model, prompts, encoded)
    return encoded


def _check_lengths(model: Model, prompts: Sequence[Text], encoded: Sequence[Tokens]) -> None:
    most = model.positions
    long = [i for i, tokens in enumerate(encoded) if most is not None and len(tokens) > most]
    if long:
        first = str(prompts[long[0]])
        beginning = first if len(first) <= SHOWN else first[:SHOWN] + "…"
        which = f"text {long[0] + 1}" if len(encoded) > 1 else "the text"
        raise LengthError(
            f"{which} has {len(encoded[long[0]])} tokens, and {model.name} has {most} positions: "
            f"{beginning!r}{f' (and {len(long) - 1} more like it)' if len(long) > 1 else ''}; "
            "shorten it or leave it out"
        )


def without_bos(tokenizer: Any, text: str) -> str:
    """`text` less the beginning-of-sequence token that it spells out and the tokeniser adds too."""
    bos = tokenizer.bos_token
    added = bos and list(tokenizer("")["input_ids"])[:1] == [tokenizer.bos_token_id]
    return text.removeprefix(bos) if added else text


def encode_suffix(model: Model, suffix: str) -> list[int]:
    """The ids of text that is appended to other tokens: no special tokens."""
    return list(model.tokenizer(suffix, add_special_tokens=False)["input_ids"])


def batches(
    tokens: Sequence[Sized], budget: int = TOKEN_BUDGET, most: int | None = None
) -> Iterator[list[int]]:
    """Indices of texts of like length, so that rows × longest row ≤ `budget`, longest first.

    A text longer than the budget stands alone. `most` bounds the rows of a batch.
    """
    order = sorted(range(len(tokens)), key=lambda i: -len(tokens[i]))
    batch: list[int] = []
    for index in order:
        longest = len(tokens[batch[0]]) if batch else len(tokens[index])
        full = (len(batch) + 1) * longest > budget or (most is not None and len(batch) >= most)
        if batch and full:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def token_budget(model: Model) -> int:
    """How many tokens to read at a time, where nothing has to be kept from one batch to the next."""
    return PROCESSOR_BUDGET if model.device.type == "cpu" else TOKEN_BUDGET


def count_batches(
    tokens: Sequence[Sized], budget: int = TOKEN_BUDGET, most: int | None = None
) -> int:
    return sum(1 for _ in batches(tokens, budget, most))


def pad_mask(rows: Sequence[Sequence[bool]], padding_side: str = "left") -> Tensor:
    """Boolean rows of different lengths as one tensor [rows, longest], padded with False."""
    longest = max(len(row) for row in rows)
    mask = torch.zeros(len(rows), longest, dtype=torch.bool)
    for i, row in enumerate(rows):
        where = slice(longest - len(row), None) if padding_side == "left" else slice(len(row))
        mask[i, where] = torch.tensor(row, dtype=torch.bool)
    return mask


def _encode_text(model: Model, prompt: Prompt | Conversation) -> Tokens:
    tokenizer = model.tokenizer
    text = str(prompt)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ModelError(
            f"the text {text!r} is not Unicode: it holds half a character, or bytes that are not UTF-8"
        ) from error
    if tokenizer.is_fast:
        encoded = tokenizer(text, return_offsets_mapping=True, return_special_tokens_mask=True)
        ids = list(encoded["input_ids"])
        special = [bool(flag) for flag in encoded["special_tokens_mask"]]
        spans = _source_spans(prompt.pieces)
        offsets = encoded["offset_mapping"]
        inside = [any(a < end and b > start for start, end in spans) for a, b in offsets]
    else:
        ids, inside = _encode_by_prefix(tokenizer, prompt)
        special = list(tokenizer.get_special_tokens_mask(ids, already_has_special_tokens=True))
    if special and special[-1] and len(ids) > 1:  # an end-of-sequence token would end the text
        ids, special, inside = ids[:-1], special[:-1], inside[:-1]
    if not any(not flag for flag in special):
        raise ModelError(f"the text {text!r} has no tokens")
    known = getattr(model.network.get_input_embeddings(), "num_embeddings", None)
    if known is not None and max(ids) >= known:
        raise ModelError(
            f"the tokeniser of {model.name} makes tokens that the model does not know (number "
            f"{max(ids)}, of {text[:SHOWN]!r}): it is another model's, or was added to"
        )
    return Tokens(ids, [a and not b for a, b in zip(inside, special, strict=True)])


def _source_spans(pieces: Sequence[str]) -> list[tuple[int, int]]:
    """Where the text in the language begins and ends, in characters."""
    ends = list(itertools.accumulate(map(len, pieces)))
    return list(zip(ends[0::2], ends[1::2], strict=False))


def _encode_by_prefix(
    tokenizer: Any, prompt: Prompt | Conversation
) -> tuple[list[int], list[bool]]:
    """For tokenisers without offsets: the source is what its removal from the text changes."""
    text = str(prompt)
    ids = list(tokenizer(text)["input_ids"])
    inside = [False] * len(ids)
    for start, end in _source_spans(prompt.pieces):
        before = list(tokenizer(text[:start])["input_ids"]) if start else []
        until = list(tokenizer(text[:end])["input_ids"])
        for i in range(_shared(ids, before), _shared(ids, until)):
            inside[i] = True
    return ids, inside


def _shared(a: Sequence[int], b: Sequence[int]) -> int:
    return next(
        (i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b))
    )
