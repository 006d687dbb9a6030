"""Records of plain numbers as JSON and back: frozen dataclasses, checked field by field; their files.

A float that does not exist is NaN in a record and null in its file.
"""

import contextlib
import math
import types
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar, Union, get_args, get_origin, get_type_hints

from langsteer.errors import AnalysisError
from langsteer.storage.files import write_json
from langsteer.storage.parsed import parse_json
from langsteer.storage.pointers import read_text

T = TypeVar("T")


@dataclass(frozen=True)
class RecordFile:
    """What the record of a command's results is called: in its file, and the file itself."""

    format: str
    version: int
    name: str
    command: str


class PlainRecord:
    """A frozen dataclass that is written as plain JSON."""

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values; a number that does not exist is null."""
        plain: dict[str, Any] = as_plain(asdict(self))  # type: ignore[call-overload]
        return plain

    @classmethod
    def from_json(cls, values: Any) -> Self:
        """What `as_json` gave. Raises AnalysisError where the values are not such."""
        return built(cls, values, "results")


class FiledRecord(PlainRecord):
    """A frozen dataclass that is a command's results: as JSON, and in a file of its own."""

    FILE: ClassVar[RecordFile]

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values, of which the first two say what they are; NaN becomes null."""
        kind = {"format": self.FILE.format, "format_version": self.FILE.version}
        return {**kind, **super().as_json()}

    @classmethod
    def from_json(cls, values: Any) -> Self:
        """The results that `as_json` wrote. Raises AnalysisError where the values are not such."""
        file = cls.FILE
        if not isinstance(values, dict) or values.get("format") != file.format:
            raise AnalysisError(f"these are not the results of {file.command}")
        if values.get("format_version") != file.version:
            raise AnalysisError(
                f"the results have format version {values.get('format_version')}; this langsteer "
                f"reads version {file.version}: run {file.command} again"
            )
        return super().from_json(values)

    def write(self, folder: str | Path) -> Path:
        """Write the results' file into a folder, whole or not at all. Raises SaveError."""
        return write_json(Path(folder) / self.FILE.name, self.as_json())

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read what `write` wrote; `path` is the file or its folder. Raises AnalysisError."""
        path = Path(path) / cls.FILE.name if Path(path).is_dir() else Path(path)
        values = read_json(path)
        try:
            return cls.from_json(values)
        except AnalysisError as error:
            raise AnalysisError(f"{path}: {error}") from error


def read_json(path: Path) -> Any:
    """What a JSON file holds. Raises AnalysisError where it cannot be read."""
    try:
        return parse_json(read_text(path, "utf-8-sig"))
    except OSError as error:
        raise AnalysisError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise AnalysisError(f"{path} is not JSON: {error}") from error


def as_plain(value: Any) -> Any:
    """Plain JSON values of a record's `asdict`; a number that does not exist becomes null."""
    if isinstance(value, dict):
        return {key: as_plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_plain(element) for element in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def built(kind: Callable[..., T], value: Any, place: str) -> T:
    """`value`, plain JSON, as the dataclass `kind`. Raises AnalysisError, naming the place."""
    if not isinstance(value, dict):
        raise AnalysisError(f"{place} is damaged: not an object")
    hints = get_type_hints(kind)
    arguments = {}
    for field in fields(kind):  # type: ignore[arg-type]
        if field.name not in value:
            raise AnalysisError(f"{place} is damaged: it has no {field.name}")
        arguments[field.name] = _typed(
            hints[field.name], value[field.name], f"{place}.{field.name}"
        )
    return kind(**arguments)


def _typed(hint: Any, value: Any, place: str) -> Any:
    origin, inside = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        (kind,) = (k for k in inside if k is not type(None))
        return None if value is None else _typed(kind, value, place)
    if is_dataclass(hint):
        return built(hint, value, place)  # type: ignore[arg-type]
    if origin is dict and isinstance(value, dict):
        return {key: _typed(inside[1], entry, f"{place}.{key}") for key, entry in value.items()}
    if origin is tuple and isinstance(value, list):
        kinds = [inside[0]] * len(value) if inside[-1] is Ellipsis else inside
        if len(kinds) == len(value):
            return tuple(
                _typed(kind, element, f"{place}[{i}]")
                for i, (kind, element) in enumerate(zip(kinds, value, strict=True))
            )
    if hint is float and (value is None or _is_number(value)):
        with contextlib.suppress(OverflowError):  # a whole number that no float holds
            return math.nan if value is None else float(value)
    if hint in (int, str, bool) and type(value) is hint:
        return value
    raise AnalysisError(f"{place} is damaged: {str(value)[:40]!r}")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
