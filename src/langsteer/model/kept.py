"""What is worked out once of a model, and kept with it."""

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

T = TypeVar("T")


class Kept:
    """Values by name. One that was made from something (`key`) is made anew from another."""

    def __init__(self) -> None:
        self._values: dict[str, tuple[Hashable, Any]] = {}

    def get(self, name: str, make: Callable[[], T], key: Hashable = None) -> T:
        """The value of this name; of `make` where there is none that was made from `key`."""
        if name not in self._values or self._values[name][0] != key:
            self._values[name] = (key, make())
        value: T = self._values[name][1]
        return value
