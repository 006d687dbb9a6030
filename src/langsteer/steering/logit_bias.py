"""LogitBias: what is added to the logits of each token that is written, whatever came before it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor

from langsteer.errors import VectorError
from langsteer.states.intervention import Intervention, PositionKind
from langsteer.steering.change import (
    Change,
    check_finite,
    check_strength,
    filled,
    known_fields,
    record_of,
)
from langsteer.storage.tensors import FileKind
from langsteer.version import __version__

MOST = 100.0  # either way, of a request's `logit_bias`: as good as a ban
DIGITS = 4


def request_bias(bias: Tensor | None) -> dict[int, float]:
    """What a bias [vocabulary] adds, by token, as the field `logit_bias` of a request may say it: from -100
    to 100, without tokens whose bias is 0. Nothing for none.
    """
    if bias is None:
        return {}
    numbers = bias.float().clamp(-MOST, MOST).cpu()
    tokens = numbers.abs().ge(0.5 * 10**-DIGITS).nonzero().flatten().tolist()
    return {i: round(n, DIGITS) for i, n in zip(tokens, numbers[tokens].tolist(), strict=True)}


@dataclass(frozen=True, eq=False)
class LogitBias(Change):
    """logits ← logits + strength × values [vocabulary], for each token that is written.

    It changes no hidden state, so that it has no layer. Where answers are scored and not written, their
    tokens count as written. The rest is as in `Change`.
    """

    kind: ClassVar[FileKind] = FileKind("langsteer logit bias", 1, "logit bias")

    values: Tensor
    language: str
    pivot: str
    model: dict[str, Any]
    method: str
    strength: float = 1.0
    positions: PositionKind = "generated"
    options: dict[str, Any] = field(default_factory=dict)
    corpus: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, Any] = field(default_factory=dict)
    version: str = __version__

    def __post_init__(self) -> None:
        if self.values.dim() != 1:
            raise VectorError(f"a logit bias has one dimension, not {self.values.dim()}")
        tokens = self.model.get("fingerprint", {}).get("vocab_size", len(self.values))
        if len(self.values) != tokens:
            raise VectorError(
                f"a logit bias has one number a token: {len(self.values)} of {tokens} are there"
            )
        check_finite("logit bias", self.values)
        check_strength(self.strength)
        if self.positions != "generated":
            raise VectorError(
                f"a logit bias acts on what is generated, and not at {self.positions!r}"
            )

    @property
    def layers(self) -> tuple[int, ...]:
        return ()

    @property
    def hidden_size(self) -> int:
        return int(self.model.get("fingerprint", {}).get("hidden_size", 0))

    def interventions(self, strength: float | None = None) -> tuple[Intervention, ...]:
        check_strength(self.strength if strength is None else strength)
        return ()

    def logit_bias(self, strength: float | None = None) -> Tensor:
        return check_strength(self.strength if strength is None else strength) * self.values

    def tensors(self) -> dict[str, Tensor]:
        return {"values": self.values}

    def record(self) -> dict[str, Any]:
        return record_of(self, "values")

    @classmethod
    def from_file(cls, tensors: Mapping[str, Tensor], record: dict[str, Any]) -> "LogitBias":
        if set(tensors) != {"values"}:
            raise VectorError("it does not hold the values of one bias and nothing else")
        return filled(cls, {"values": tensors["values"], **known_fields(cls, record)})

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "tokens": int((self.values != 0).sum())}
