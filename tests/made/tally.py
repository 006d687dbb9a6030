"""How often what was tried: what the long runs of tests/reliability write down."""

from collections.abc import Callable

Tally = Callable[..., None]
