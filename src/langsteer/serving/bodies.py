"""What the bodies of requests to another engine hold, as far as the layer in front of it reads them."""

import difflib
import json
from collections.abc import Mapping
from typing import Any

from langsteer.serving.errors import HALF, RequestError, why_unread

FIELD = "steering"
ALIKE = 0.75  # of a slip in the field's name; no field of llama.cpp or vLLM is over 0.6


def read_object(content: bytes) -> dict[str, Any]:
    """The body of a request. Raises RequestError where it is no object of JSON."""
    try:
        body = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise RequestError(why_unread(error)) from error
    if not isinstance(body, dict):
        raise RequestError("the body is not an object")
    return body


def check_text(body: Mapping[str, Any]) -> None:
    """Raise RequestError where a field holds half a character, which engines have no words for."""
    for field, value in body.items():
        try:
            json.dumps({field: value}, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            where = "" if field in ("prompt", "messages") else f"{field!a:.200}: "
            raise RequestError(f"{where}{HALF}", param=ascii(field)[1:-1]) from error
        except RecursionError as error:
            raise RequestError(why_unread(error)) from error


def check_slip(body: Mapping[str, Any]) -> None:
    """Raise RequestError where a field's name is nearly `steering`: an engine would pass it over."""
    for field in body:
        letters = "".join(filter(str.isalpha, field.lower()))
        if field != FIELD and difflib.get_close_matches(letters, [FIELD], 1, ALIKE):
            message = f"{field!a:.200} is not understood: the field is called {FIELD}"
            raise RequestError(message, param=field)


def turns_of(body: Mapping[str, Any]) -> list[list[str]]:
    """What the users of a chat wrote: the texts of each turn, of which the last is heard."""
    turns = body.get("messages")
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        raise RequestError("messages is a list of turns", param="messages")
    written = [_content(turn) for turn in turns if turn.get("role") == "user"]
    return [texts for texts in written if texts]


def _content(turn: Mapping[str, Any]) -> list[str]:
    content = turn.get("content")
    if isinstance(content, list):
        parts = [part for part in content if isinstance(part, dict) and part.get("type") == "text"]
        return [str(part.get("text", "")) for part in parts]
    return [content] if isinstance(content, str) else []


def prompts_of(body: Mapping[str, Any]) -> list[list[list[str]]]:
    """For each prompt of a completion, its text as the one turn; of tokens, none."""
    value = body.get("prompt")
    if isinstance(value, str):
        return [[[value]]]
    if isinstance(value, list) and value:
        if all(isinstance(text, str) for text in value):
            return [[[text]] for text in value]
        if all(isinstance(ids, list) for ids in value):
            return [[] for _ in value]
        if all(type(token) is int for token in value):
            return [[]]
    raise RequestError("prompt is a text, tokens, or a list of either", param="prompt")
