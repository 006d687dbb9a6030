"""SteeringVector: one vector, added at one layer."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor

from langsteer.errors import VectorError
from langsteer.states.intervention import Addition, Intervention, PositionKind
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


class Turning(Addition):
    """Add `delta` [hidden] to every hidden state, and give it back the length that it had."""

    def __call__(self, hidden: Tensor) -> Tensor:
        return same_length(hidden.float(), super().__call__(hidden).float()).to(hidden.dtype)


def same_length(before: Tensor, after: Tensor) -> Tensor:
    """States `after` a change [..., hidden], each as long as it was `before`."""
    length, longer = before.norm(dim=-1, keepdim=True), after.norm(dim=-1, keepdim=True)
    return after * (length / longer.clamp(min=1e-12))


@dataclass(frozen=True, eq=False)
class SteeringVector(OneLayer):
    """A vector [hidden] that is added to the hidden states at one layer: h ← h + strength × values.

    `loss` is the loss at each evaluation of a gradient fit, and `state_norm` the mean length of
    the language's pooled hidden states at the layer, against which the strength has a meaning. Where
    it `keeps_length`, each state is turned and keeps its own length. The rest is as in `Change`.
    """

    kind: ClassVar[FileKind] = FileKind("langsteer steering vector", 1, "vector")

    values: Tensor
    layer: int
    language: str
    pivot: str
    model: dict[str, Any]
    method: str
    strength: float = 1.0
    positions: PositionKind = "source"
    state_norm: float = 0.0
    options: dict[str, Any] = field(default_factory=dict)
    corpus: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, Any] = field(default_factory=dict)
    loss: tuple[float, ...] = ()
    keeps_length: bool = False
    version: str = __version__

    def __post_init__(self) -> None:
        if self.values.dim() != 1:
            raise VectorError(f"a steering vector has one dimension, not {self.values.dim()}")
        check_finite("steering vector", self.values)
        check_strength(self.strength)
        check_positions(self.positions)

    @property
    def relative_strength(self) -> float:
        """Length of what is added ÷ mean length of the hidden states it is added to."""
        length = abs(self.strength) * float(self.values.norm())
        return length / self.state_norm if self.state_norm else float("nan")

    def interventions(self, strength: float | None = None) -> tuple[Intervention, ...]:
        factor = check_strength(self.strength if strength is None else strength)
        kind = Turning if self.keeps_length else Addition
        added = kind(factor * self.values.float())
        return (Intervention(self.layer, added, positions=self.positions),)

    def tensors(self) -> dict[str, Tensor]:
        return {"values": self.values}

    def record(self) -> dict[str, Any]:
        return record_of(self, "values")

    @classmethod
    def from_file(cls, tensors: Mapping[str, Tensor], record: dict[str, Any]) -> "SteeringVector":
        if set(tensors) != {"values"}:
            raise VectorError("it does not hold the values of one vector and nothing else")
        known = known_fields(cls, record) | {"loss": tuple(record.get("loss", ()))}
        return filled(cls, {"values": tensors["values"], **known})

    def describe(self) -> dict[str, Any]:
        described = super().describe()
        described["layer"] = self.layer
        return {**described, "loss": list(self.loss)}


def check_comparable(vectors: Iterable[SteeringVector]) -> list[SteeringVector]:
    """The vectors, of one layer, model and pivot, one a language. Raises VectorError."""
    listed = list(vectors)
    if not listed:
        raise VectorError("there is no vector to look at")
    first, seen = listed[0], set()
    for vector in listed:
        if vector.language in seen:
            raise VectorError(f"there are several vectors for {vector.language}: keep one")
        seen.add(vector.language)
        for what, own, other in (
            ("layer", first.layer, vector.layer),
            ("pivot", first.pivot, vector.pivot),
        ):
            if own != other:
                raise VectorError(
                    f"vectors of different {what}s are not compared: that of {first.language} has "
                    f"the {what} {own}, that of {vector.language} {other}"
                )
        if difference := _other_model(first, vector):
            raise VectorError(
                f"vectors of different models are not compared: {first.language}'s is of "
                f"{first.model.get('name')}, {vector.language}'s of {vector.model.get('name')} "
                f"({difference})"
            )
        if not float(vector.values.norm()):
            raise VectorError(f"the vector of {vector.language} has no length")
    return listed


def _other_model(first: SteeringVector, second: SteeringVector) -> str:
    """The first property in which the models of two vectors differ, in words; empty for none."""
    here, there = (vector.model.get("fingerprint", {}) for vector in (first, second))
    keys = ["architecture", "layers", "hidden_size", "vocab_size"]
    if here.get("dtype") == there.get("dtype") and here.get("weights") and there.get("weights"):
        keys.append("weights")
    for key in keys:
        if here.get(key) != there.get(key):
            if key == "weights":
                return "their weights differ"
            return f"{key.replace('_', ' ')} {here.get(key)} and {there.get(key)}"
    if first.values.shape != second.values.shape:
        return f"hidden size {first.values.shape[0]} and {second.values.shape[0]}"
    return ""
