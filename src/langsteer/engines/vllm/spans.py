"""Where texts lie in a prompt that is tokens already."""

from collections.abc import Callable, Sequence
from typing import Any

from langsteer.errors import VectorError

Span = tuple[int, int]


def text_spans(tokenizer: Any, ids: Sequence[int], texts: Sequence[str]) -> list[Span]:
    """The tokens [first, end) that stand for each of `texts`, which follow one another in the prompt.

    A token belongs to a text where any of its characters do. White space around a text may have been
    taken off by a template. Raises VectorError where a text is not in the prompt.
    """
    ids = list(ids)
    prompt = _decode(tokenizer, ids)
    places = _places(prompt, [text for text in texts if text.strip()])
    offsets = _offsets(tokenizer, prompt, ids)
    if offsets is not None:
        return _by_offsets(places, offsets)
    return [
        _by_bisection(place, ids, lambda part: len(_decode(tokenizer, part))) for place in places
    ]


def _places(prompt: str, texts: Sequence[str]) -> list[Span]:
    """Where each text lies, in characters."""
    places, start = [], 0
    for text in texts:
        at, wanted = prompt.find(text, start), text
        if at < 0:
            wanted = text.strip()
            at = prompt.find(wanted, start)
        if at < 0:
            shown = wanted if len(wanted) <= 40 else f"{wanted[:37]}..."
            raise VectorError(
                f"the text {shown!a} is not in the prompt as its tokens spell it: steer the whole "
                "prompt (positions prompt), or give spans of tokens"
            )
        start = at + len(wanted)
        places.append((at, start))
    return places


def _decode(tokenizer: Any, ids: Sequence[int]) -> str:
    return str(tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))


def _offsets(tokenizer: Any, prompt: str, ids: list[int]) -> list[Span] | None:
    """The characters of each token; None where the prompt's text gives other tokens."""
    if not getattr(tokenizer, "is_fast", False):
        return None
    encoded = tokenizer(prompt, add_special_tokens=False, return_offsets_mapping=True)
    return list(encoded["offset_mapping"]) if list(encoded["input_ids"]) == ids else None


def _by_offsets(places: Sequence[Span], offsets: Sequence[Span]) -> list[Span]:
    spans = []
    for start, end in places:
        inside = [i for i, (a, b) in enumerate(offsets) if a < end and b > start]
        if inside:
            spans.append((inside[0], inside[-1] + 1))
    return spans


def _by_bisection(place: Span, ids: Sequence[int], length: Callable[[Sequence[int]], int]) -> Span:
    """The tokens of a place, by how long the text of the first n tokens is."""
    start, end = place
    first = _fewest(ids, lambda part: length(part) > start) - 1
    return first, _fewest(ids, lambda part: length(part) >= end)


def _fewest(ids: Sequence[int], enough: Callable[[Sequence[int]], bool]) -> int:
    """How many of the first tokens are enough."""
    low, high = 0, len(ids)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(ids[:middle]) else (middle + 1, high)
    return low
