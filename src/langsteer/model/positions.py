"""How many tokens a model reads, by its configuration."""

from collections.abc import Iterator, Mapping
from typing import Any


def positions_of(config: Any) -> int | None:
    """How many positions a model was made for; None where its configuration sets no end.

    `config` is that of the text model. Rotary positions that are scaled reach further than
    `max_position_embeddings` says in some configurations: what they were scaled from, times the
    factor, counts then. A sliding window is no end: further tokens are read, through it. Models
    that mark distances alone (ALiBi) have none.
    """
    stated = getattr(config, "max_position_embeddings", None)
    if not isinstance(stated, int) or stated <= 0 or getattr(config, "alibi", False):
        return None
    return max([stated, *_scaled(config, stated)])


def _scaled(config: Any, stated: int) -> Iterator[int]:
    for scaling in _scalings(config):
        factor = scaling.get("factor")
        if scaling.get("rope_type", scaling.get("type", "default")) != "default" and factor:
            original = scaling.get("original_max_position_embeddings") or stated
            yield int(original * factor)


def _scalings(config: Any) -> Iterator[Mapping[str, Any]]:
    """The parameters of rotary positions, of all layers or by the kind of layer."""
    for name in ("rope_parameters", "rope_scaling"):
        parameters = getattr(config, name, None)
        if isinstance(parameters, Mapping):
            yield parameters
            yield from (part for part in parameters.values() if isinstance(part, Mapping))
