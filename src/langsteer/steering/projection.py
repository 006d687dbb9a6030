"""Projection: a linear map of the hidden states, at one layer or at several."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
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
from langsteer.storage.tensors import FileKind
from langsteer.version import __version__

Form = Literal["blend", "add"]
FORMS: tuple[Form, ...] = ("blend", "add")


@dataclass(frozen=True, eq=False)
class Projection(Change):
    """Maps `maps[l]` [hidden, hidden] and offsets `offsets[l]` [hidden], one of each a layer.

    `strength` is α, the share of the way from h to W h + b (form `blend`), or the factor of W h + b
    that is added (form `add`). The rest is as in `Change`.
    """

    kind: ClassVar[FileKind] = FileKind("langsteer projection", 1, "projection")

    maps: Mapping[int, Tensor]
    offsets: Mapping[int, Tensor]
    language: str
    pivot: str
    model: dict[str, Any]
    strength: float = 1.0
    form: Form = "blend"
    positions: PositionKind = "source"
    options: dict[str, Any] = field(default_factory=dict)
    corpus: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, Any] = field(default_factory=dict)
    method: str = "projection"
    version: str = __version__

    def __post_init__(self) -> None:
        if not self.maps or set(self.maps) != set(self.offsets):
            raise VectorError("a projection needs a map and an offset for each of its layers")
        for layer, matrix in self.maps.items():
            size = self.offsets[layer].shape[0]
            if matrix.shape != (size, size):
                raise VectorError(
                    f"the projection's map at layer {layer} has shape {list(matrix.shape)}, "
                    f"and its offset {size}: one is [hidden, hidden], the other [hidden]"
                )
            check_finite("projection", matrix, self.offsets[layer], where=f" at layer {layer}")
        if self.form not in FORMS:
            raise VectorError(f"no form {self.form!r} of projection: one of {', '.join(FORMS)}")
        check_strength(self.strength)
        check_positions(self.positions)

    @property
    def layers(self) -> tuple[int, ...]:
        return tuple(sorted(self.maps))

    @property
    def hidden_size(self) -> int:
        return next(iter(self.offsets.values())).shape[0]

    def interventions(self, strength: float | None = None) -> tuple[Intervention, ...]:
        alpha = check_strength(self.strength if strength is None else strength)
        made = _Blend if self.form == "blend" else _Add
        return tuple(
            Intervention(
                layer,
                made(self.maps[layer], self.offsets[layer], alpha),
                positions=self.positions,
            )
            for layer in self.layers
        )

    def tensors(self) -> dict[str, Tensor]:
        maps = {f"map.{layer}": self.maps[layer] for layer in self.layers}
        return maps | {f"offset.{layer}": self.offsets[layer] for layer in self.layers}

    def record(self) -> dict[str, Any]:
        return record_of(self, "maps", "offsets")

    @classmethod
    def from_file(cls, tensors: Mapping[str, Tensor], record: dict[str, Any]) -> "Projection":
        """The strength of files of version 0.1 is called alpha; those of low rank name a method."""
        known = known_fields(cls, record)
        if "alpha" in record:
            known["strength"] = record["alpha"]
        if "method" not in known and "method" in record.get("options", {}):
            known["method"] = record["options"]["method"]
        maps, offsets = _numbered(tensors, "map."), _numbered(tensors, "offset.")
        return filled(cls, {"maps": maps, "offsets": offsets, **known})

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "form": self.form}


class _Blend:
    """h ← (1 − α) h + α (W h + b), in float32."""

    def __init__(self, matrix: Tensor, offset: Tensor, alpha: float) -> None:
        identity = torch.eye(len(matrix), device=matrix.device)
        self._matrix = alpha * (matrix.float() - identity)
        self._offset = alpha * offset.float()

    def __call__(self, hidden: Tensor) -> Tensor:
        if self._matrix.device != hidden.device:
            self._matrix = self._matrix.to(hidden.device)
            self._offset = self._offset.to(hidden.device)
        moved = torch.nn.functional.linear(hidden.float(), self._matrix, self._offset)
        return hidden + moved.to(hidden.dtype)


class _Add(_Blend):
    """h ← h + α (W h + b), in float32."""

    def __init__(self, matrix: Tensor, offset: Tensor, alpha: float) -> None:
        self._matrix, self._offset = alpha * matrix.float(), alpha * offset.float()


def _numbered(tensors: Mapping[str, Tensor], prefix: str) -> dict[int, Tensor]:
    return {
        int(name.removeprefix(prefix)): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
