"""What is added to which token of a request: pieces of its positions, each with the digest of a row."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from langsteer.engines.vllm.catalogue import NONE, Catalogue, Tables
from langsteer.engines.vllm.spans import Span, text_spans
from langsteer.engines.vllm.word import KEY, Word
from langsteer.errors import VectorError

OPEN = -1  # the end of a piece that goes on for as long as tokens are written
Piece = tuple[int, int, str]


@dataclass(frozen=True)
class Prompt:
    """A prompt's tokens, as the engine reads them, and what they are.

    `bos` is the beginning-of-sequence token, None where the model has none.
    """

    ids: Sequence[int]
    bos: int | None = None
    special: frozenset[int] = frozenset()
    tokenizer: Any = field(default=None, compare=False)


@dataclass(frozen=True)
class Steering:
    """`pieces` (first token, end or OPEN, digest of a row) in rising order, all at one scale."""

    scale: float
    pieces: tuple[Piece, ...]

    def plain(self) -> dict[str, Any]:
        """As it travels with the request: numbers, texts and lists."""
        return {"scale": self.scale, "pieces": [list(piece) for piece in self.pieces]}


def steering_of(word: Word, catalogue: Catalogue, prompt: Prompt) -> Steering | None:
    """What a request's word means for its prompt; None where nothing is added.

    Raises VectorError where there is no vector for the language, or no such text in the prompt.
    """
    if word.language is None:
        return None
    entry = catalogue.entries.get(word.language)
    if entry is None:
        if word.language in catalogue.pivots:
            return None
        there = ", ".join(sorted(catalogue.entries))
        raise VectorError(f"there is no vector for {word.language}: there are {there}")
    scale = entry.strength if word.strength is None else word.strength
    template, source, generated = entry.rows[word.positions]
    inside = _inside(word, prompt) if template != source else []
    kinds = np.full(len(prompt.ids) + 1, 0, dtype=np.int8)
    for first, end in inside:
        kinds[first:end] = 1
    if prompt.ids and prompt.ids[0] == prompt.bos:
        kinds[0] = 3
    kinds[-1] = 2
    pieces = _pieces(kinds, (template, source, generated, NONE))
    return Steering(scale, pieces) if pieces and scale else None


def bias_of(word: Word, catalogue: Catalogue) -> Mapping[int, float]:
    """What a request's word adds to logits, by token; nothing for most."""
    if word.language is None or word.language not in catalogue.entries:
        return {}
    return catalogue.bias(word.language, word.strength)


def read_steering(value: Any, catalogue: Tables | None = None) -> Steering | None:
    """The steering that travels with a request, in an engine's own process; None for none.

    Raises VectorError where it is not what `plain` makes, or names a row that `catalogue` has not.
    """
    if value is None:
        return None
    if not is_plain(value):
        raise VectorError(f"{KEY} was not made out by the process that takes requests")
    try:
        pieces = tuple((int(a), int(b), str(digest)) for a, b, digest in value["pieces"])
        steering = Steering(float(value["scale"]), pieces)
    except (TypeError, ValueError) as error:
        raise VectorError(f"{KEY} is not understood: {error}") from error
    known = catalogue.places if catalogue is not None else {}
    unknown = {digest for *_, digest in pieces if digest not in known}
    if catalogue is not None and unknown:
        raise VectorError(f"the engine has no vector {min(unknown)}: it was started with others")
    return steering


def is_plain(value: Any) -> bool:
    """Whether a word has been made out already."""
    return isinstance(value, Mapping) and set(value) == {"scale", "pieces"}


def _inside(word: Word, prompt: Prompt) -> list[Span]:
    """The spans of tokens that are text in the language."""
    count = len(prompt.ids)
    if word.spans is not None:
        if any(end > count for _, end in word.spans):
            raise VectorError(f"{KEY}: a span ends after the prompt's {count} tokens")
        return list(word.spans)
    if word.texts is not None:
        if prompt.tokenizer is None:
            raise VectorError(f"{KEY}: texts need a tokeniser, and the engine has none: give spans")
        return text_spans(prompt.tokenizer, prompt.ids, word.texts)
    ordinary = [i for i, token in enumerate(prompt.ids) if token not in prompt.special]
    return [(i, i + 1) for i in ordinary]


def _pieces(kinds: np.ndarray[Any, Any], digests: Sequence[str]) -> tuple[Piece, ...]:
    """Runs of one digest among tokens of these kinds, of which the last goes on; NONE left out."""
    starts = np.flatnonzero(np.diff(kinds, prepend=-1))
    pieces: list[Piece] = []
    for start, end in zip(starts.tolist(), [*starts[1:].tolist(), OPEN], strict=True):
        digest = digests[kinds[start]]
        if pieces and pieces[-1][1] == start and pieces[-1][2] == digest:
            pieces[-1] = (pieces[-1][0], end, digest)
        elif digest != NONE:
            pieces.append((start, end, digest))
    return tuple(pieces)
