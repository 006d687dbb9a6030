"""Tab-separated text, with cells in double quotes as spreadsheets write them, or without."""

import csv
from collections.abc import Iterator

import regex

from langsteer.errors import CorpusError

_QUOTED = regex.compile(r'"(?:[^"]|"")*"', flags=regex.DOTALL)


def table_rows(text: str) -> list[list[str]]:
    """The cells of each line that is not blank.

    Double quotes are part of the text, as in a corpus of plain lines, unless every cell with one
    is written as a spreadsheet writes it and some cell shows that they had to be. Raises
    CorpusError where a cell is longer than a spreadsheet's may be.
    """
    plain = [row for line in _lines(text) if any(row := line.rstrip("\r\n").split("\t"))]
    if '"' not in text:
        return plain
    try:
        quoted = [row for row in csv.reader(_lines(text), delimiter="\t", strict=True) if any(row)]
    except csv.Error as error:
        if "field limit" in str(error):
            raise CorpusError(f"a cell in double quotes is too long to read: {error}") from error
        return plain
    return quoted if _is_quoted(plain, quoted) else plain


def _is_quoted(plain: list[list[str]], quoted: list[list[str]]) -> bool:
    if len({len(row) for row in quoted}) > 1:
        return False
    if len(quoted) != len(plain):  # a line feed inside a cell
        return True
    cells = [cell for row in plain for cell in row]
    marked = [cell for cell in cells if '"' in cell]
    if not all(map(_QUOTED.fullmatch, marked)):
        return False
    if any('"' in cell[1:-1] for cell in marked):
        return True
    body = [cell for row in plain[1:] for cell in row if cell]
    commas = [cell for cell in cells if "," in cell]
    return len(marked) > 1 and (all('"' in cell for cell in body) or marked == commas)


def _lines(text: str) -> Iterator[str]:
    return (line + "\n" for line in text.split("\n"))
