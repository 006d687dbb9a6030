"""Whether values that somebody gave are of the types that are asked for."""

import math
from collections.abc import Callable, Mapping
from typing import Any, get_type_hints


def types_of(described: Callable[..., Any] | type) -> dict[str, Any]:
    """The types of a function's parameters or of a class's fields, with their bounds; none where one
    of them can be found only by a type checker.
    """
    try:
        return get_type_hints(described, include_extras=True)
    except NameError:
        return {}


def first_wrong(types: Mapping[str, Any], values: Mapping[str, Any]) -> str | None:
    """What is wrong with the first value that is not of its type: "steps should be …, not …"."""
    for name, value in values.items():
        wanted = _wanted_instead(types.get(name, Any), value)
        if wanted is not None:
            return f"{name} should be {wanted}, not {value!r}"
    return None


def _wanted_instead(kind: Any, value: Any) -> str | None:
    """What a value should be, where it is not of its kind; text and truth values are no numbers, and
    numbers are finite.
    """
    from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError

    try:
        adapter = TypeAdapter(kind, config=ConfigDict(arbitrary_types_allowed=True))
        made = adapter.validate_python(value)
    except PydanticUserError:
        return None  # a class of its own, which no file has
    except ValidationError as error:
        return str(error.errors()[0]["msg"]).removeprefix("Input should be ")
    if any(isinstance(own, float) and not math.isfinite(own) for own in _members(value)):
        return "finite numbers" if isinstance(value, list | tuple) else "a finite number"
    return "a number" if isinstance(value, str | bool) and type(made) in (int, float) else None


def _members(value: Any) -> list[Any] | tuple[Any, ...]:
    return value if isinstance(value, list | tuple) else [value]
