"""The registry of fitting methods: one a file, a line each, and what other packages add.

A package adds one by an entry point of the group `langsteer.methods` that names a `Method`.
"""

from langsteer.errors import FitError
from langsteer.fitting import (
    learned,
    low_rank,
    mean_difference,
    principal_component,
    probe,
    projection,
)
from langsteer.fitting.options import Method
from langsteer.plugins import Registry, instance_of

GROUP = "langsteer.methods"
DEFAULT_METHOD = learned.NAME

METHODS: Registry[Method] = Registry(
    GROUP,
    {
        method.name: method
        for method in (
            learned.METHOD,
            mean_difference.METHOD,
            principal_component.METHOD,
            probe.METHOD,
            low_rank.METHOD,
            projection.METHOD,
            projection.METHOD_ALL,
        )
    },
    instance_of(Method),
)


def get_method(name: str) -> Method:
    """Raises FitError where there is no such method."""
    if name not in METHODS:
        raise FitError(f"there is no method {name!r}; there are {', '.join(METHODS)}")
    return METHODS[name]
