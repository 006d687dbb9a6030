"""Clamp: a state is raised along a direction where it lies below a level, and left alone elsewhere."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor

from langsteer.errors import VectorError
from langsteer.states.intervention import Intervention, PositionKind
from langsteer.steering.change import (
    Change,
    check_finite,
    check_positions,
    check_strength,
    filled,
    known_fields,
    record_of,
)
from langsteer.steering.vector import same_length
from langsteer.storage.tensors import FileKind
from langsteer.version import __version__

LEAST_LENGTH = 1e-12


@dataclass(frozen=True, eq=False)
class Clamp(Change):
    """h ← h + strength × max(0, level − u·h) u at one layer, with u the unit vector of `values` [hidden].

    A gate by itself: with `values` from the pivot towards the language, and the level of states that
    write the language, a token that is about to be in the language is not touched, and another is moved as
    far as it is from there. Strength 1 reaches the level. Where it `keeps_length`, a state that is moved
    is turned and keeps its own length. `state_norm` is as in `SteeringVector`. The rest is as in `Change`.
    """

    kind: ClassVar[FileKind] = FileKind("langsteer clamp", 1, "clamp")

    values: Tensor
    level: float
    layer: int
    language: str
    pivot: str
    model: dict[str, Any]
    method: str
    strength: float = 1.0
    positions: PositionKind = "generated"
    state_norm: float = 0.0
    keeps_length: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    corpus: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, Any] = field(default_factory=dict)
    version: str = __version__

    def __post_init__(self) -> None:
        if self.values.dim() != 1:
            raise VectorError(f"a clamp has a direction of one dimension, not {self.values.dim()}")
        check_finite("clamp", self.values)
        if not float(self.values.norm()) > LEAST_LENGTH:
            raise VectorError("a clamp's direction has no length")
        check_strength(self.level)
        check_strength(self.strength)
        check_positions(self.positions)

    @property
    def layers(self) -> tuple[int, ...]:
        return (self.layer,)

    @property
    def hidden_size(self) -> int:
        return self.values.shape[0]

    def interventions(self, strength: float | None = None) -> tuple[Intervention, ...]:
        factor = check_strength(self.strength if strength is None else strength)
        raised = Raising(self.values, self.level, factor, self.keeps_length)
        return (Intervention(self.layer, raised, positions=self.positions),)

    def tensors(self) -> dict[str, Tensor]:
        return {"values": self.values}

    def record(self) -> dict[str, Any]:
        return record_of(self, "values")

    @classmethod
    def from_file(cls, tensors: Mapping[str, Tensor], record: dict[str, Any]) -> "Clamp":
        if set(tensors) != {"values"}:
            raise VectorError("it does not hold one direction and nothing else")
        if not isinstance(record["level"], int | float) or isinstance(record["level"], bool):
            raise VectorError(f"its level is {record['level']!r}")
        return filled(cls, {"values": tensors["values"], **known_fields(cls, record)})

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "layer": self.layer, "level": self.level}


class Raising:
    """h ← h + factor × max(0, level − u·h) u, in float32."""

    def __init__(self, values: Tensor, level: float, factor: float, keeps_length: bool) -> None:
        self._unit = values.float() / values.float().norm()
        self._level, self._factor, self._keeps_length = level, factor, keeps_length

    def __call__(self, hidden: Tensor) -> Tensor:
        if self._unit.device != hidden.device:
            self._unit = self._unit.to(hidden.device)
        before = hidden.float()
        below = (self._level - before @ self._unit).clamp(min=0)
        after = before + self._factor * below[..., None] * self._unit
        return (same_length(before, after) if self._keeps_length else after).to(hidden.dtype)
