"""What a file of text is: one of langsteer's own, by what it says or holds, or else JSON or text."""

import codecs
import json
from pathlib import Path
from typing import Any

from langsteer.storage.parsed import parse_json

_START = 4096  # bytes
DIAGNOSIS = "a diagnosis (langsteer diagnose)"
_HELD = {  # by the keys of a JSON object that has no `format`
    DIAGNOSIS: {"corners", "reaches", "verdict"},
    "the results of a search (langsteer fit --for)": {"recipe", "better", "standings"},
}
_TRIALS = "the trials of a search (langsteer fit --for)"


def own_kind(path: str | Path) -> str | None:
    """What a JSON file of langsteer's own is; None for any other file."""
    start = _text_start(path)
    if not start.lstrip("\ufeff").lstrip().startswith("{"):
        return None
    if (kind := _kind_of(_parsed(_first_line(path)))) is not None:
        return kind
    try:
        return _kind_of(_parsed(Path(path).read_text(encoding="utf-8-sig")))
    except (OSError, ValueError):
        return None


def text_kind(path: str | Path) -> str | None:
    """What a file of text is, one of langsteer's own or not; None where it is empty, or no text."""
    start = _text_start(path).strip("\ufeff \t\r\n")
    if not start:
        return None
    return own_kind(path) or ("JSON" if start[0] in "{[" else "text")


def _kind_of(value: Any) -> str | None:
    if not isinstance(value, dict):
        return None
    if isinstance(named := value.get("format"), str) and named.startswith("langsteer "):
        return f"of the format {named!r}"
    if value.keys() == {"about"}:
        return _TRIALS
    return next((kind for kind, keys in _HELD.items() if keys <= value.keys()), None)


def _parsed(text: str) -> Any:
    try:
        return parse_json(text)
    except json.JSONDecodeError:
        return None


def _first_line(path: str | Path) -> str:
    try:
        with Path(path).open(encoding="utf-8-sig") as file:
            return file.readline()
    except (OSError, ValueError):
        return ""


def _text_start(path: str | Path) -> str:
    """How a file begins; empty where that is no UTF-8 text."""
    try:
        with Path(path).open("rb") as file:
            data = file.read(_START)
        text = codecs.getincrementaldecoder("utf-8")().decode(data)
    except (OSError, UnicodeDecodeError):
        return ""
    return "" if "\0" in text else text
