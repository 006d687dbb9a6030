"""The registry of fitting methods: one a file, a line each in `names`, and what other packages add.

A package adds one by an entry point of the group `langsteer.methods` that names a `Method`.
"""

from langsteer.errors import FitError
from langsteer.fitting.names import METHODS as OWN
from langsteer.fitting.options import Method
from langsteer.plugins import Registry, instance_of

GROUP = "langsteer.methods"
METHODS: Registry[Method] = Registry(GROUP, OWN, instance_of(Method))


def get_method(name: str) -> Method:
    """Raises FitError where there is no such method."""
    if name not in METHODS:
        raise FitError(f"there is no method {name!r}; there are {', '.join(METHODS)}")
    return METHODS[name]
