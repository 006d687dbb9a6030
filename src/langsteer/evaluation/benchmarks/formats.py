"""Rows of published files in the formats that a benchmark's file can name."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from langsteer.errors import BenchmarkError
from langsteer.evaluation.benchmarks.common import Doc
from langsteer.evaluation.benchmarks.files import filled, json_lines, number, read_text, table
from langsteer.evaluation.benchmarks.schema import FORMATS, Column, Files
from langsteer.evaluation.benchmarks.templates import filled_in
from langsteer.extras import need
from langsteer.storage.parsed import parse_json

Rows = list[tuple[str, Doc]]
"""each row, and where it stands, for messages"""


def read_rows(files: Files, folder: Path, values: Mapping[str, Any], layout: str) -> Rows:
    """The items of the first file that is there, with the fields that `columns` says.

    `values` fills in the path. Raises BenchmarkError that names the file and the line.
    """
    path = _path(files, folder, values, layout)
    rows = _rows(files, path, layout)
    for column, pattern in files.only.items():
        wanted = filled_in(pattern, values, f"{path}: only")
        rows = [(where, row) for where, row in rows if row.get(column) == wanted]
        if not rows:
            raise BenchmarkError(f"{path} has no rows with the {column} {wanted!r}")
    return [(where, _fields(files, row, where)) for where, row in rows]


def _path(files: Files, folder: Path, values: Mapping[str, Any], layout: str) -> Path:
    paths = [filled_in(path, values, "files: path") for path in files.path]
    for path in paths:
        if "*" in path and (matches := sorted(folder.glob(path))):
            return matches[0]
        if (folder / path).exists():
            return folder / path
    return folder / next((path for path in paths if "*" not in path), paths[0])


def _rows(files: Files, path: Path, layout: str) -> Rows:
    kind = files.format or path.suffix.removeprefix(".")
    if kind in ("tsv", "csv"):
        return _table(files, path, layout, kind)
    if kind == "jsonl":
        return [
            (f"{path}, line {line}", row)
            for line, row in enumerate(json_lines(path, {}, layout), 1)
        ]
    if kind in ("json", "xml", "parquet"):
        rows = {"json": _json, "xml": _xml, "parquet": _parquet}[kind](files, path, layout)
        return [(f"{path}, item {place}", row) for place, row in enumerate(filled(rows, path), 1)]
    raise BenchmarkError(f"{path}: the format is not known; format: is one of {', '.join(FORMATS)}")


def _table(files: Files, path: Path, layout: str, kind: str) -> Rows:
    named = isinstance(files.header, list)
    columns: Sequence[str] = files.header if isinstance(files.header, list) else ()
    quoted = kind == "csv" if files.quoted is None else files.quoted
    if not named:
        columns = _header(files, read_text(path, layout), "\t" if kind == "tsv" else ",")
    rows = table(
        path,
        columns,
        layout,
        header=not named,
        delimiter="\t" if kind == "tsv" else ",",
        quoted=None if quoted == "auto" else quoted,
    )
    return [(f"{path}, line {line}", row) for line, row in rows]


def _header(files: Files, text: str, delimiter: str) -> list[str]:
    """The columns to ask of a file: of alternative names those that it has, else the last."""
    first = text.split("\n", 1)[0].rstrip("\r").replace('"', "").split(delimiter)
    return [_column(name, column, first) for name, column in _read(files)] + [
        name for name in files.only if name not in files.columns
    ]


def _read(files: Files) -> list[tuple[str, Column]]:
    return [(name, column) for name, column in files.columns.items() if not column.is_constant]


def _column(name: str, column: Column, there: Sequence[str] | Mapping[str, Any]) -> str:
    names = column.names or [name]
    return next((candidate for candidate in names if candidate in there), names[-1])


def _json(files: Files, path: Path, layout: str) -> list[Any]:
    try:
        content = parse_json(read_text(path, layout))
    except ValueError as error:
        raise BenchmarkError(f"{path} is not JSON ({error})") from error
    for key in files.within.split(".") if files.within else ():
        content = content.get(key) if isinstance(content, dict) else None
    if not isinstance(content, list) or not all(isinstance(row, dict) for row in content):
        place = f" under {files.within}" if files.within else ""
        raise BenchmarkError(f"{path}: expected a list of objects{place}")
    return content


def _xml(files: Files, path: Path, layout: str) -> list[Any]:
    """Each element's attributes and the texts of its children."""
    try:
        root = ElementTree.fromstring(read_text(path, layout))
    except ElementTree.ParseError as error:
        raise BenchmarkError(f"{path}, line {error.position[0]}: not XML ({error})") from error
    return [
        {**element.attrib, **{child.tag: child.text or "" for child in element}}
        for element in root.iter(files.within or "item")
    ]


def _parquet(files: Files, path: Path, layout: str) -> list[Any]:
    """All files of the part where it is in several, `test-*-of-*.parquet`."""
    start, sharded, _ = path.name.partition("-00000-of-")
    paths = sorted(path.parent.glob(f"{start}-*.parquet")) if sharded else [path]
    rows: list[Any] = []
    parquet = need("pyarrow.parquet", "eval", "a Parquet file")
    for shard in paths:
        try:
            rows += parquet.read_table(shard).to_pylist()
        except Exception as error:  # pyarrow's own kinds
            reason = str(error).strip().splitlines()[0]
            raise BenchmarkError(f"{shard} is not a Parquet file ({reason})") from error
    return rows


def _fields(files: Files, row: Doc, where: str) -> Doc:
    doc: Doc = {}
    taken = set()
    for name, column in files.columns.items():
        if column.is_constant:
            doc[name] = column.constant
            continue
        key = _column(name, column, row)
        if key not in row:
            raise BenchmarkError(f"{where}: no field {key!r}; it has {', '.join(row) or 'none'}")
        taken.add(key)
        doc[name] = _value(column, row[key], where, key)
    rest = {key: value for key, value in row.items() if key not in taken and key not in doc}
    return {**rest, **doc} if files.others else doc


def _value(column: Column, value: Any, where: str, key: str) -> Any:
    if column.kind == "number" and isinstance(value, str) and column.values is None:
        value = number(value, where, key)
    elif column.kind != "any" and column.values is None:
        wanted = int if column.kind == "number" else str
        if not isinstance(value, wanted):
            raise BenchmarkError(f"{where}: {key!r} is {value!r}, expected {wanted.__name__}")
    if column.values is None:
        return value
    if str(value) not in column.values:
        raise BenchmarkError(f"{where}: {key!r} is {value!r}, {_expected(column.values)}")
    if column.index:
        return column.values.index(str(value))
    return int(value) if column.kind == "number" else value


def _expected(values: Sequence[str]) -> str:
    if len(values) > 2 and list(values) == [
        str(int(values[0]) + i) if values[0].isdigit() else "" for i in range(len(values))
    ]:
        return f"not {values[0]} to {values[-1]}"
    if all(len(value) == 1 for value in values):
        return f"not {', '.join(values[:-1])} or {values[-1]}"
    return f"expected one of {', '.join(values)}"
