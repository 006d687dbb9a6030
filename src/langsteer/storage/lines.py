"""JSON lines: one value a line, the lines numbered from 1."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langsteer.storage.files import write_text
from langsteer.storage.parsed import parse_json
from langsteer.storage.pointers import read_text

# Spaces, byte-order marks where files were joined, and DOS' end of file.
_AROUND = " \t\r\n\f\v\ufeff\x1a"


@dataclass(frozen=True)
class JsonLine:
    """A line that is not blank: its number, and its value or why it has none."""

    number: int
    value: Any = None
    error: str = ""


def json_lines(text: str) -> Iterator[JsonLine]:
    """The lines of a text that are not blank; one that is not JSON says so in its `error`.

    A line ends with a line feed alone: other ends of lines may stand inside a JSON text.
    """
    for number, line in enumerate(text.split("\n"), 1):
        line = line.strip(_AROUND)
        if not line:
            continue
        try:
            yield JsonLine(number, parse_json(line))
        except json.JSONDecodeError as error:
            yield JsonLine(number, error=error.msg)


def read_json_lines(path: str | Path) -> list[JsonLine]:
    """Those of a file in UTF-8. Raises OSError and UnicodeDecodeError."""
    return list(json_lines(read_text(path, "utf-8-sig")))


def write_json_lines(path: str | Path, rows: Iterable[Any]) -> Path:
    """Write a value a line, whole or not at all. Raises SaveError."""
    return write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
