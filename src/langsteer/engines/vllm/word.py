"""What a request says in `vllm_xargs`: a language, or an object in JSON.

    {"langsteer": "sw"}
    {"langsteer": "{\"language\": \"sw\", \"strength\": 0.5, \"positions\": \"text\", \"texts\": [\"Habari\"]}"}

`positions` are `text` (or `source`, which is the same), `prompt`, `generated` or `all`. Where the text in the
language lies in the prompt is said by `texts`, which are looked for in it, or by `spans` of tokens, [first, end); by
neither where it is all of the prompt but special tokens.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from langsteer.errors import LanguageError, VectorError
from langsteer.states.intervention import POSITIONS, PositionKind
from langsteer.storage.parsed import parse_json
from langsteer.text.languages import parse_tag

KEY = "langsteer"
MOST = 100.0  # a strength beyond this is a slip, and overflows in half precision
FIELDS = ("language", "strength", "positions", "texts", "spans")
ALSO_CALLED: dict[str, PositionKind] = {"text": "source"}


@dataclass(frozen=True)
class Word:
    """What a request asks for. None: no steering (`language`), the vector's own, or not said."""

    language: str | None
    strength: float | None = None
    positions: PositionKind | None = None
    texts: tuple[str, ...] | None = None
    spans: tuple[tuple[int, int], ...] | None = None


def read_word(value: Any) -> Word:
    """What a request's word says. Raises VectorError where it is not understood."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            value = parse_json(value)
        except json.JSONDecodeError as error:
            raise VectorError(f"{KEY} is not JSON: {error}") from error
    if value is None:
        return Word(None)
    if isinstance(value, str):
        value = {"language": value}
    if not isinstance(value, Mapping):
        raise VectorError(f"{KEY} is a language or an object in JSON, not {value!r:.80}")
    if unknown := sorted(set(value) - set(FIELDS)):
        raise VectorError(f"{KEY} has no {unknown[0]!a}: it takes {', '.join(FIELDS)}")
    if "language" not in value:
        raise VectorError(f"{KEY} names no language")
    return Word(
        _language(value["language"]),
        _strength(value.get("strength")),
        _positions(value.get("positions")),
        _texts(value.get("texts")),
        _spans(value.get("spans")),
    )


def _language(value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise VectorError(f"{KEY}: the language is a tag, not {value!r:.80}")
    try:
        return parse_tag(value)
    except LanguageError as error:
        raise VectorError(f"{KEY}: {value!a:.80} is no language") from error


def _strength(value: Any) -> float | None:
    if value is None:
        return None
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or abs(value) > MOST:
        raise VectorError(f"{KEY}: a strength is a number from {-MOST:g} to {MOST:g}")
    return float(value)


def _positions(value: Any) -> PositionKind | None:
    value = ALSO_CALLED.get(value, value) if isinstance(value, str) else value
    if value is not None and value not in POSITIONS:
        names = ", ".join((*POSITIONS, *ALSO_CALLED))
        raise VectorError(f"{KEY}: no positions {value!a:.80}: one of {names}")
    return value


def _texts(value: Any) -> tuple[str, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise VectorError(f"{KEY}: texts are a list of texts")
    return tuple(value)


def _spans(value: Any) -> tuple[tuple[int, int], ...] | None:
    if value is None:
        return None
    try:
        spans = tuple((first, end) for first, end in value)
    except (TypeError, ValueError):
        spans = ((0, 0),)
    whole = all(type(edge) is int for span in spans for edge in span)
    if not whole or any(not 0 <= first < end for first, end in spans):
        raise VectorError(f"{KEY}: spans are a list of [first token, end]")
    return spans
