"""Published files: every fault is one line that names the file, the line and what was expected."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from langsteer.errors import BenchmarkError
from langsteer.storage import pointers
from langsteer.storage.parsed import parse_json

Kinds = Mapping[str, type | tuple[type, ...]]


def lines(path: Path, layout: str) -> Iterator[tuple[int, str]]:
    """Numbered lines, from 1, without their ends. `layout` says what the folder should hold."""
    text = read_text(path, layout)
    for number, line in enumerate(text.split("\n"), 1):
        yield number, line.removesuffix("\r")


def read_text(path: Path, layout: str) -> str:
    try:
        return pointers.read_text(path, "utf-8-sig").removesuffix("\n")
    except (FileNotFoundError, NotADirectoryError):
        raise BenchmarkError(f"there is no file {path}: expected a folder with {layout}") from None
    except UnicodeDecodeError as error:
        raise BenchmarkError(f"{path} is not UTF-8 text (byte {error.start})") from error
    except OSError as error:
        raise BenchmarkError(f"cannot read {path}: {error.strerror}") from error


def json_lines(path: Path, kinds: Kinds, layout: str) -> list[dict[str, Any]]:
    """One JSON object a line, each with the fields of `kinds`, of those types."""
    rows = []
    for number, line in lines(path, layout):
        if not line.strip():
            continue
        try:
            row = parse_json(line)
        except ValueError as error:
            raise BenchmarkError(
                f"{path}, line {number}: not JSON ({error}); expected an object with "
                f"{', '.join(kinds)}"
            ) from error
        rows.append(checked(row, kinds, f"{path}, line {number}"))
    return filled(rows, path)


def checked(row: Any, kinds: Kinds, where: str) -> dict[str, Any]:
    """`row` where it is an object with these fields of these types."""
    if not isinstance(row, dict):
        raise BenchmarkError(f"{where}: expected an object with {', '.join(kinds)}")
    for field, kind in kinds.items():
        if field not in row:
            raise BenchmarkError(
                f"{where}: no field {field!r}; it has {', '.join(map(str, row)) or 'none'}"
            )
        if not isinstance(row[field], kind):
            names = kind if isinstance(kind, tuple) else (kind,)
            raise BenchmarkError(
                f"{where}: {field!r} is {row[field]!r}, expected "
                f"{' or '.join(name.__name__ for name in names)}"
            )
    return row


def table(
    path: Path,
    columns: Sequence[str],
    layout: str,
    *,
    header: bool = True,
    delimiter: str = "\t",
    quoted: bool | None = False,
) -> list[tuple[int, dict[str, str]]]:
    """Rows by line number. With `header`, the file's first line must name all of `columns`.

    `quoted`: fields may stand in double quotes, those within doubled, as pandas writes them; None
    for files of either kind, told by whether a doubled quote occurs.
    """
    text = read_text(path, layout)
    if quoted is None:
        quoted = '""' in text
    reader = csv.reader(
        _with_ends(text) if quoted else text.split("\n"),
        delimiter=delimiter,
        quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
        strict=quoted,
    )
    names = list(columns)
    rows: list[tuple[int, dict[str, str]]] = []
    place = 0
    try:
        if header:
            names = next(reader, [])
            _check_header(names, columns, path)
        while True:
            place = reader.line_num + 1
            values = next(reader, None)
            if values is None:
                break
            if values and any(values):
                rows.append((place, _row(values, names, f"{path}, line {place}")))
    except csv.Error as error:
        raise BenchmarkError(f"{path}, line {place}: {error}") from error
    return filled(rows, path)


def _with_ends(text: str) -> Iterator[str]:
    """The lines with their line feeds: other ends of lines may stand inside a text."""
    return (line + "\n" for line in text.split("\n"))


def _check_header(names: Sequence[str], columns: Sequence[str], path: Path) -> None:
    missing = [column for column in columns if column not in names]
    if missing:
        raise BenchmarkError(
            f"{path}, line 1: no column {', '.join(map(repr, missing))}; expected the header "
            f"{', '.join(columns)}"
        )


def _row(values: Sequence[str], names: Sequence[str], where: str) -> dict[str, str]:
    if len(values) != len(names):
        raise BenchmarkError(
            f"{where}: {len(values)} columns, expected {len(names)}: {', '.join(names)}"
        )
    return dict(zip(names, (value.rstrip("\r") for value in values), strict=True))


def filled(rows: list[Any], path: Path) -> list[Any]:
    if not rows:
        raise BenchmarkError(f"{path} has no items")
    return rows


def number(text: str, where: str, field: str) -> int:
    """A whole number, written with or without commas for the thousands."""
    try:
        return int(text.replace(",", "").strip())
    except ValueError:
        raise BenchmarkError(f"{where}: {field!r} is {text!r}, expected a number") from None
