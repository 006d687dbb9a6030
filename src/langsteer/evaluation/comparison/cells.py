"""A cell: how one method did on one benchmark in one language, item by item, and its file.

A results folder holds `cells/MODEL/BENCHMARK/LANGUAGE/METHOD.json`, or `METHOD.error.json` where
the method failed. Every number of a report is made from these files.
"""

import functools
import gzip
import json
import math
import re
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from langsteer.errors import CellError, LanguageError
from langsteer.extras import need
from langsteer.storage.files import write_json, write_text
from langsteer.storage.parsed import parse_json
from langsteer.storage.pointers import read_whole
from langsteer.text.languages import parse_tag

FORMAT, FORMAT_VERSION = "langsteer cell", 1
FOLDER = "cells"
PACKED = ".gz"
_FAILED = ".error.json"

T = TypeVar("T")
Kind = Literal["choice", "generate"]
Key = tuple[str, str, str, str]
"""model, benchmark, language, method"""


@dataclass(frozen=True)
class Item:
    """The answer to one item: `scores`, a log-probability a choice, or the metric's `value`."""

    id: str
    target: Any = None
    scores: tuple[float, ...] = ()
    value: float | None = None
    answer: str | None = None


@dataclass(frozen=True)
class Cost:
    """What a cell took: tokens that went through the model, and seconds with and before them."""

    tokens: int = 0
    seconds: float = 0.0
    peak_bytes: int = 0
    training_seconds: float = 0.0


@dataclass(frozen=True)
class Cell:
    """Raises CellError where it contradicts itself, or reports on items that it was chosen with.

    `missed` counts the items of which the method's change of the hidden states touched no token.
    """

    model: str
    benchmark: str
    language: str
    method: str
    method_title: str
    form: str
    part: str
    kind: Kind
    metric: str
    items: tuple[Item, ...]
    chosen_on: frozenset[str] = frozenset()
    settings: Mapping[str, Any] = field(default_factory=dict)
    harness: Mapping[str, float] = field(default_factory=dict)
    cost: Cost = Cost()
    versions: Mapping[str, str] = field(default_factory=dict)
    missed: int = 0

    def __post_init__(self) -> None:
        try:
            _check(self)
        except CellError as error:
            raise CellError(f"{' / '.join(self.key)}: {error}") from None

    @property
    def key(self) -> Key:
        return self.model, self.benchmark, self.language, self.method

    def as_json(self) -> dict[str, Any]:
        items = [_item_json(item, self.kind) for item in self.items]
        plain = asdict(self) | {"items": items, "chosen_on": sorted(self.chosen_on)}
        return {"format": FORMAT, "format_version": FORMAT_VERSION, **plain}


@dataclass(frozen=True)
class Failure:
    """A cell that could not be made, and why, in one line."""

    model: str
    benchmark: str
    language: str
    method: str
    error: str

    @property
    def key(self) -> Key:
        return self.model, self.benchmark, self.language, self.method


@dataclass(frozen=True)
class Damage:
    """A file of a results folder that is no cell."""

    file: str
    error: str


@dataclass(frozen=True)
class Results:
    """What a results folder holds."""

    cells: tuple[Cell, ...]
    failures: tuple[Failure, ...] = ()
    damaged: tuple[Damage, ...] = ()


def cell_path(folder: str | Path, model: str, benchmark: str, language: str, method: str) -> Path:
    """Where the cell of a results folder is."""
    names = [file_name(part) for part in (model, benchmark, language, method)]
    return Path(folder, FOLDER, *names[:3], f"{names[3]}.json")


def existing_cell(folder: str | Path, *key: str) -> Path | None:
    """The file that a cell is in, as it was written or packed by gzip; None where there is none."""
    path = cell_path(folder, *key)
    files = (path, path.with_name(path.name + PACKED))
    return next((file for file in files if file.exists()), None)


def failure_path(folder: str | Path, *key: str) -> Path:
    """Where the failure of a cell is."""
    path = cell_path(folder, *key)
    return path.with_name(path.name.removesuffix(".json") + _FAILED)


def write_cell(folder: str | Path, cell: Cell) -> Path:
    """Write a cell, whole or not at all, in place of its failure. Scores have five decimals."""
    value = cell.as_json()
    lines = ",\n".join(_dump(item) for item in value["items"])
    text = json.dumps(value | {"items": []}, indent=1, ensure_ascii=False, allow_nan=False)
    path = cell_path(folder, *cell.key)
    write_text(path, text.replace('\n "items": []', f'\n "items": [\n{lines}\n ]', 1) + "\n")
    path.with_name(path.name + PACKED).unlink(missing_ok=True)
    failure_path(folder, *cell.key).unlink(missing_ok=True)
    return path


def write_failure(folder: str | Path, failure: Failure) -> Path:
    """Record that a cell failed."""
    return write_json(failure_path(folder, *failure.key), asdict(failure))


def read_cell(path: str | Path) -> Cell:
    """Read a cell's file. Raises CellError, which names the file and what is wrong with it."""
    value = _read_object(Path(path))
    if value.get("format") != FORMAT:
        raise CellError(f'{path} is not a cell: it has no "format": "{FORMAT}"')
    if value.get("format_version") != FORMAT_VERSION:
        raise CellError(
            f"{path} has format version {value.get('format_version')}, and this langsteer reads "
            f"{FORMAT_VERSION}: make it again, or use the langsteer that wrote it"
        )
    value["method_title"] = value.get("method_title") or value.get("method")
    return _checked(Cell, value, path, "delete it and make it again")


def read_results(folder: str | Path) -> Results:
    """All cells and failures of a results folder; files that cannot be read are told, not raised.

    A failure is left out where its cell was made since. Raises CellError for a folder without
    cells.
    """
    root = Path(folder) / FOLDER
    if not root.is_dir():
        raise CellError(
            f"{folder} is not a results folder: it has no folder {FOLDER!r}. Name the output "
            "folder of a comparison."
        )
    cells: dict[Key, Cell] = {}
    failures: list[Failure] = []
    damaged: list[Damage] = []
    for path in sorted([*root.rglob("*.json"), *root.rglob(f"*.json{PACKED}")]):
        name = path.relative_to(folder).as_posix()
        try:
            if path.name.startswith("."):
                continue
            if path.name.endswith(_FAILED):
                failures.append(_checked(Failure, _read_object(path), path, "delete it"))
                continue
            cell = read_cell(path)
            if cell.key in cells:
                raise CellError(f"{path} is a second file for the cell {' / '.join(cell.key)}")
            cells[cell.key] = cell
        except CellError as error:
            damaged.append(Damage(name, str(error)))
    open_failures = tuple(failure for failure in failures if failure.key not in cells)
    return Results(tuple(cells.values()), open_failures, tuple(damaged))


def _check(cell: Cell) -> None:
    try:
        if parse_tag(cell.language) != cell.language:
            raise CellError(f"language is {cell.language!r}, not {parse_tag(cell.language)!r}")
    except LanguageError as error:
        raise CellError(str(error)) from None
    if cell.kind not in get_args(Kind):
        raise CellError(f"kind is {cell.kind!r}, neither 'choice' nor 'generate'")
    if not cell.items:
        raise CellError("it has no items")
    ids = [item.id for item in cell.items]
    if len(set(ids)) < len(ids):
        twice = next(name for name in ids if ids.count(name) > 1)
        raise CellError(f"the item {twice!r} is there twice")
    for item in cell.items:
        _check_item(item, cell.kind)
    _check_choice(set(ids), cell.chosen_on)


def _check_choice(reported: Iterable[str], chosen_on: frozenset[str]) -> None:
    shared = sorted(chosen_on.intersection(reported))
    if shared:
        some = ", ".join(shared[:3]) + (", …" if len(shared) > 3 else "")
        raise CellError(
            f"refused: {len(shared)} of the items reported on were used to choose its settings "
            f"({some}). Choose on development items, and report on others."
        )


def _check_item(item: Item, kind: Kind) -> None:
    if kind == "generate":
        if item.value is None or not math.isfinite(item.value):
            raise CellError(f"the item {item.id!r} has no finite value")
        return
    if len(item.scores) < 2:
        raise CellError(f"the item {item.id!r} has fewer than two scores")
    if not all(math.isfinite(score) for score in item.scores):
        raise CellError(f"the item {item.id!r} has a score that is not a finite number")
    if not isinstance(item.target, int) or not 0 <= item.target < len(item.scores):
        raise CellError(f"the target of the item {item.id!r} is not one of its choices")


@functools.cache
def _adapter(kind: type) -> Any:
    return need("pydantic", "eval", "reading a comparison").TypeAdapter(kind)


def _checked(kind: type[T], value: dict[str, Any], path: Path | str, remedy: str) -> T:
    """A JSON object as a dataclass. Raises CellError, naming the first place that is wrong."""
    adapter = _adapter(kind)  # type: ignore[arg-type]
    pydantic = need("pydantic", "eval")
    try:
        return adapter.validate_python(value)
    except CellError as error:
        raise CellError(f"{path}: {error}") from None
    except pydantic.ValidationError as error:
        fault = error.errors(include_url=False)[0]
        place = ".".join(map(str, fault["loc"]))
        if fault["type"] == "missing":
            raise CellError(f"{path} lacks {place!r}: {remedy}") from None
        wrong = f"{place} is {str(fault['input'])[:40]!r}"
        raise CellError(f"{path} is damaged ({wrong}): {remedy}") from None


def _item_json(item: Item, kind: Kind) -> dict[str, Any]:
    if kind == "choice":
        scores = [round(score, 5) for score in item.scores]
        return {"id": item.id, "target": item.target, "scores": scores}
    return {"id": item.id, "value": item.value, "answer": item.answer, "target": item.target}


def _read_object(path: Path) -> dict[str, Any]:
    try:
        content = read_whole(path)
        text = gzip.decompress(content) if path.suffix == PACKED else content
        value = parse_json(text.decode("utf-8"))
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise CellError(f"{path} is damaged ({error}): delete it and make it again") from error
    except OSError as error:
        raise CellError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:  # not UTF-8, or not JSON
        raise CellError(f"{path} is not JSON ({error}): delete it and make it again") from error
    if not isinstance(value, dict):
        raise CellError(f"{path} is not a JSON object: delete it and make it again")
    return value


def _dump(value: Any) -> str:
    return "  " + json.dumps(value, ensure_ascii=False, allow_nan=False)


def file_name(part: str) -> str:
    """A model's or method's name as that of a file or folder."""
    return re.sub(r"[^\w.+-]", "_", part.replace("/", "--")).lstrip(".") or "_"
