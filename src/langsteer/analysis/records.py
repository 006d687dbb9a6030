"""Records of plain numbers as JSON and back: frozen dataclasses, checked field by field.

A float that does not exist is NaN in a record and null in its file.
"""

import math
import types
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from langsteer.errors import AnalysisError

T = TypeVar("T")


def as_plain(value: Any) -> Any:
    """Plain JSON values of a record's `asdict`; a number that does not exist becomes null."""
    if isinstance(value, dict):
        return {key: as_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def built(kind: Callable[..., T], value: Any, place: str) -> T:
    """`value`, plain JSON, as the dataclass `kind`. Raises AnalysisError, naming the place."""
    if not isinstance(value, dict):
        raise AnalysisError(f"{place} is damaged: not an object")
    hints = get_type_hints(kind)
    found = {}
    for part in fields(kind):  # type: ignore[arg-type]
        if part.name not in value:
            raise AnalysisError(f"{place} is damaged: it has no {part.name}")
        found[part.name] = _typed(hints[part.name], value[part.name], f"{place}.{part.name}")
    return kind(**found)


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
        return {key: _typed(inside[1], item, f"{place}.{key}") for key, item in value.items()}
    if origin is tuple and isinstance(value, list):
        kinds = [inside[0]] * len(value) if inside[-1] is Ellipsis else inside
        if len(kinds) == len(value):
            return tuple(
                _typed(kind, item, f"{place}[{i}]")
                for i, (kind, item) in enumerate(zip(kinds, value, strict=True))
            )
    if hint is float and (value is None or _is_number(value)):
        return math.nan if value is None else float(value)
    if hint in (int, str, bool) and type(value) is hint:
        return value
    raise AnalysisError(f"{place} is damaged: {str(value)[:40]!r}")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
