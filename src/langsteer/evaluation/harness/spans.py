"""Where the text in the language stands in a rendered prompt."""

from collections.abc import Iterable, Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any

import regex

Span = tuple[int, int]

# A template may trim a text or change its ends; at least this share of it must be found again.
LEAST_SHARE = 0.6
LONGEST_COMPARISON = 4_000_000


def source_spans(prompt: str, texts: Iterable[str], perhaps: Iterable[str] = ()) -> list[Span]:
    """Character spans [start, end) of `texts` in `prompt`, merged and in order.

    Every place where a text stands word for word; where there is none, the longest part of it that
    does, if that is most of it. Those of `perhaps` count only word for word.
    """
    spans: list[Span] = []
    for text in dict.fromkeys(text.strip() for text in texts):
        if text:
            spans += _exact(prompt, text) or _nearest(prompt, text)
    for text in perhaps:
        if text.strip():
            spans += _exact(prompt, text.strip())
    return _merged(spans)


def texts_of(doc: Any, fields: Sequence[str] | None = None) -> list[str]:
    """The strings of an item: those of `fields`, or all that look like text rather than codes."""
    if not isinstance(doc, Mapping):
        return [doc] if isinstance(doc, str) else []
    chosen = doc.items() if fields is None else [(name, doc.get(name)) for name in fields]
    texts = [text for _, value in chosen for text in _strings(value)]
    return texts if fields is not None else [text for text in texts if _looks_like_text(text)]


def _strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, Mapping):
        return [text for inner in value.values() for text in _strings(inner)]
    if isinstance(value, list | tuple):
        return [text for inner in value for text in _strings(inner)]
    return []


def _looks_like_text(text: str) -> bool:
    letters = regex.findall(r"\p{L}", text)
    return len(letters) > 1 and (" " in text.strip() or len(text) >= 8 or not text.isascii())


def _exact(prompt: str, text: str) -> list[Span]:
    spans, start = [], prompt.find(text)
    while start >= 0:
        spans.append((start, start + len(text)))
        start = prompt.find(text, start + len(text))
    return spans


def _nearest(prompt: str, text: str) -> list[Span]:
    for part in (text[:-1], text[1:], text[1:-1]):
        if len(part) >= max(2, LEAST_SHARE * len(text)) and (spans := _exact(prompt, part)):
            return spans
    if len(prompt) * len(text) > LONGEST_COMPARISON:
        return []
    match = SequenceMatcher(None, prompt, text, autojunk=False).find_longest_match()
    if match.size < max(2, LEAST_SHARE * len(text)):
        return []
    return [(match.a, match.a + match.size)]


def _merged(spans: Sequence[Span]) -> list[Span]:
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged
