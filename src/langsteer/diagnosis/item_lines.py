"""The lines of a file of one's own, and what all such files refuse."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

from langsteer.errors import CorpusError, DiagnosisError
from langsteer.storage.lines import JsonLine
from langsteer.storage.parsed import parse_json
from langsteer.storage.pointers import read_whole
from langsteer.text.files import decoded

_MARK = "\ufeff"  # a byte-order mark
_HALF = re.compile(r"[\ud800-\udfff]")


def read_file(path: Path) -> str:
    """The text of a file in UTF-8, or in UTF-16 with a byte-order mark, its ends of lines as a line feed. Raises
    DiagnosisError where it cannot be read, or is no such text.
    """
    try:
        text = decoded(read_whole(path), path)
    except CorpusError as error:
        raise DiagnosisError(str(error)) from error
    except OSError as error:
        raise DiagnosisError(f"cannot read {path}: {error.strerror}") from error
    return text.removeprefix(_MARK).replace("\r\n", "\n").replace("\r", "\n")


def refuse_array(text: str, path: Path, like: str) -> None:
    """Raise DiagnosisError where a text is one JSON array, and not a value a line; `like` shows a line."""
    if not text.lstrip().startswith("["):
        return
    try:
        whole = parse_json(text)
    except json.JSONDecodeError:
        return
    if isinstance(whole, list):
        raise DiagnosisError(
            f"{path} is one JSON array: write one object a line, without the brackets: {like}"
        )


def first_without(lines: Sequence[JsonLine], there: Sequence[bool]) -> int | None:
    """The number of the first line that lacks what others have; None where all of them have it, or none."""
    if all(there) or not any(there):
        return None
    return lines[there.index(False)].number


def check_object(line: JsonLine, path: Path, like: str) -> None:
    """Raise DiagnosisError where a line is no JSON object, or no text of UTF-8; `like` shows one that is."""
    if line.error or not isinstance(line.value, dict):
        reason = line.error or f"{type(line.value).__name__}, not an object"
        raise DiagnosisError(f"{path}, line {line.number} is not a JSON object ({reason}): {like}")
    if half := _HALF.search(json.dumps(line.value, ensure_ascii=False)):
        raise DiagnosisError(
            f"{path}, line {line.number} has half of a character (\\u{ord(half[0]):04x}, a lone surrogate): "
            "write the character whole, or leave it out"
        )
