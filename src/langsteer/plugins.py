"""Registries that other packages join: what langsteer has, and what entry points of a group add.

A package adds a fitting method, say, by an object in one file and one line in its pyproject.toml:

    [project.entry-points."langsteer.methods"]
    my_method = "my_package.my_method:METHOD"
"""

import importlib
import importlib.metadata
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, TypeVar

from langsteer.errors import PluginError

T = TypeVar("T")


class Registry(Mapping[str, T], Generic[T]):
    """What there is of a kind, by name: `own` first, then what entry points of `group` name.

    Each is "module:name", and is loaded when it is asked for. `check` turns what that gives into an
    entry, or raises. A name that is langsteer's own stays so.
    """

    def __init__(self, group: str, own: Mapping[str, str], check: Callable[[str, Any], T]) -> None:
        self.group, self.own, self._check = group, own, check

    def __getitem__(self, name: str) -> T:
        if name in self.own:
            module, _, attribute = self.own[name].partition(":")
            return self._check(name, getattr(importlib.import_module(module), attribute))
        return load_plugin(entry_points(self.group)[name], self._check)

    def __iter__(self) -> Iterator[str]:
        yield from self.own
        yield from (name for name in entry_points(self.group) if name not in self.own)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, name: object) -> bool:
        return name in self.own or name in entry_points(self.group)


def entry_points(group: str) -> dict[str, importlib.metadata.EntryPoint]:
    """The entry points of a group by name, not loaded. Raises PluginError where two have one name."""
    points: dict[str, importlib.metadata.EntryPoint] = {}
    for point in _installed(group):
        there = points.get(point.name)
        if there is not None and there.value != point.value:
            raise PluginError(
                f"{_package(there)} and {_package(point)} both add {point.name!r} to {group}: "
                "uninstall one of them"
            )
        points[point.name] = point
    return points


def load_plugin(point: importlib.metadata.EntryPoint, check: Callable[[str, Any], T]) -> T:
    """What an entry point names, checked. Raises PluginError, naming its package, where it fails."""
    try:
        loaded = point.load()
    except Exception as error:  # whatever another package does on import
        raise PluginError(
            f"{point.name} of {_package(point)} cannot be loaded from {point.value}: "
            f"{type(error).__name__}: {error}"
        ) from error
    try:
        return check(point.name, loaded)
    except TypeError as error:
        raise PluginError(f"{point.name} of {_package(point)}: {error}") from error


def instance_of(kind: type[T]) -> Callable[[str, Any], T]:
    """A check that an entry point gives an object of `kind`, which carries the entry point's name."""

    def check(name: str, loaded: Any) -> T:
        if not isinstance(loaded, kind):
            raise TypeError(f"it gives a {type(loaded).__name__}, not a {kind.__name__}")
        if (own := getattr(loaded, "name", name)) != name:
            raise TypeError(f"its own name is {own!r}: give both the same")
        return loaded

    return check


def _installed(group: str) -> list[importlib.metadata.EntryPoint]:
    return list(importlib.metadata.entry_points(group=group))


def _package(point: importlib.metadata.EntryPoint) -> str:
    return point.dist.name if point.dist is not None else "a package"
