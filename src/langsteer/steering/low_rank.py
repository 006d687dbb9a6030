"""LowRank: a vector that depends a little on the token."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor

from langsteer.errors import VectorError
from langsteer.states.intervention import Intervention, PositionKind
from langsteer.steering.change import (
    OneLayer,
    check_finite,
    check_positions,
    check_strength,
    filled,
    known_fields,
    record_of,
)
from langsteer.storage.tensors import FileKind
from langsteer.version import __version__


@dataclass(frozen=True, eq=False)
class LowRank(OneLayer):
    """h ← h + strength × (values + up (down h)), with `values` [hidden], `up` [hidden, rank] and
    `down` [rank, hidden], at one layer.

    `state_norm` is as in `SteeringVector`, `loss` too. The rest is as in `Change`.
    """

    kind: ClassVar[FileKind] = FileKind("langsteer low-rank map", 1, "low-rank map")

    values: Tensor
    up: Tensor
    down: Tensor
    layer: int
    language: str
    pivot: str
    model: dict[str, Any]
    method: str = "low_rank"
    strength: float = 1.0
    positions: PositionKind = "source"
    state_norm: float = 0.0
    options: dict[str, Any] = field(default_factory=dict)
    corpus: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, Any] = field(default_factory=dict)
    loss: tuple[float, ...] = ()
    version: str = __version__

    def __post_init__(self) -> None:
        size, rank = self.up.shape if self.up.dim() == 2 else (0, 0)
        if self.values.shape != (size,) or self.down.shape != (rank, size) or not rank:
            raise VectorError(
                f"a low-rank map has values [hidden], up [hidden, rank] and down [rank, hidden], "
                f"not {list(self.values.shape)}, {list(self.up.shape)} and {list(self.down.shape)}"
            )
        check_finite("low-rank map", self.values, self.up, self.down)
        check_strength(self.strength)
        check_positions(self.positions)

    @property
    def rank(self) -> int:
        return self.up.shape[1]

    def interventions(self, strength: float | None = None) -> tuple[Intervention, ...]:
        factor = check_strength(self.strength if strength is None else strength)
        added = _Added(factor * self.values.float(), factor * self.up.float(), self.down.float())
        return (Intervention(self.layer, added, positions=self.positions),)

    def tensors(self) -> dict[str, Tensor]:
        return {"values": self.values, "up": self.up, "down": self.down}

    def record(self) -> dict[str, Any]:
        return record_of(self, "values", "up", "down")

    @classmethod
    def from_file(cls, tensors: Mapping[str, Tensor], record: dict[str, Any]) -> "LowRank":
        known = known_fields(cls, record) | {"loss": tuple(record.get("loss", ()))}
        numbers = {name: tensors[name] for name in ("values", "up", "down")}
        return filled(cls, {**numbers, **known})

    def describe(self) -> dict[str, Any]:
        described = {**super().describe(), "rank": self.rank}
        return {**described, "loss": list(self.loss)}


class _Added:
    """h ← h + v + U A h, in float32."""

    def __init__(self, values: Tensor, up: Tensor, down: Tensor) -> None:
        self._values, self._up, self._down = values, up, down

    def __call__(self, hidden: Tensor) -> Tensor:
        if self._values.device != hidden.device:
            parts = (self._values, self._up, self._down)
            self._values, self._up, self._down = (part.to(hidden.device) for part in parts)
        moved = self._values + hidden.float() @ self._down.T @ self._up.T
        return hidden + moved.to(hidden.dtype)
