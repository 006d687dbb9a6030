"""Wrappers around functions of another package, put there by name."""

import functools
import importlib
from collections.abc import Callable, Mapping
from typing import Any

_MARK = "_langsteer_wraps"


def wrap(points: Mapping[str, Callable[..., Any]]) -> None:
    """Put each wrapper, whose first argument is what it wraps, in the place of `module:name`, once."""
    for place, wrapper in points.items():
        module, _, name = place.partition(":")
        owner: Any = importlib.import_module(module)
        *path, last = name.split(".")
        owner = functools.reduce(getattr, path, owner)
        own = getattr(owner, last)
        if getattr(own, _MARK, None) is None:
            setattr(owner, last, _wrapped(own, wrapper))


def _wrapped(own: Callable[..., Any], wrapper: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(own)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        return wrapper(own, *args, **kwargs)

    setattr(wrapped, _MARK, own)
    return wrapped
