"""A row of the table of engines."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """The vector of one language in an engine, against transformers with the same change.

    `largest` and `largest_unsteered` are the largest differences of log-probabilities, in nats, and
    `divergence`, `divergence_unsteered` and `effect` mean divergences, in nats a token: the last is how
    far steering moves transformers. At `other_tokens` of `places` (unsteered: `other_tokens_unsteered`)
    another token is the likeliest. None where an engine does not tell.
    """

    engine: str
    weights: str
    language: str
    places: int
    other_tokens: int
    other_tokens_unsteered: int
    largest: float | None = None
    largest_unsteered: float | None = None
    divergence: float | None = None
    divergence_unsteered: float | None = None
    effect: float | None = None
    share: float | None = None
    rest: float | None = None
