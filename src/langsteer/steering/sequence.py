"""ChangeSequence: several changes of one model, each with its own layer, positions and strength."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from langsteer.errors import VectorError
from langsteer.states.intervention import Intervention, PositionKind
from langsteer.steering.change import Change, check_strength
from langsteer.steering.clamp import Clamp
from langsteer.steering.logit_bias import LogitBias
from langsteer.steering.low_rank import LowRank
from langsteer.steering.projection import Projection
from langsteer.steering.vector import SteeringVector
from langsteer.storage.tensors import FileKind
from langsteer.version import __version__

PART_KINDS: tuple[type[Change], ...] = (SteeringVector, Projection, LowRank, Clamp, LogitBias)
SHARED = ("language", "pivot", "model")


@dataclass(frozen=True, eq=False)
class ChangeSequence(Change):
    """`changes`, one after another, of one model, language and pivot: such as a reading part, which
    acts on the prompt, and a writing part, which acts on what is generated.

    Where two act at one layer, the later acts on what the earlier made. `strength` multiplies the
    strength of each. `options` name the `method`, where all of them are one method's.
    """

    kind: ClassVar[FileKind] = FileKind("langsteer sequence of changes", 1, "sequence")

    changes: tuple[Change, ...]
    strength: float = 1.0
    options: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, Any] = field(default_factory=dict)
    version: str = __version__

    def __post_init__(self) -> None:
        if not self.changes:
            raise VectorError("a sequence needs at least one change")
        if any(isinstance(change, ChangeSequence) for change in self.changes):
            raise VectorError("a sequence is of single changes: hand over the parts of the other")
        first = self.changes[0]
        for change in self.changes[1:]:
            for name in SHARED:
                if getattr(change, name) != getattr(first, name):
                    raise VectorError(
                        f"the parts of a sequence have one {name}, and these have "
                        f"{_short(getattr(first, name))} and {_short(getattr(change, name))}"
                    )
        check_strength(self.strength)

    @classmethod
    def of(cls, changes: Sequence[Change], **fields: Any) -> "ChangeSequence":
        """Changes one after another, of which some may be sequences themselves."""
        return cls(tuple(part for change in changes for part in change.used_parts), **fields)

    @property
    def language(self) -> str:  # type: ignore[override]
        return self.changes[0].language

    @property
    def pivot(self) -> str:  # type: ignore[override]
        return self.changes[0].pivot

    @property
    def model(self) -> dict[str, Any]:  # type: ignore[override]
        return self.changes[0].model

    @property
    def method(self) -> str:  # type: ignore[override]
        return self.options.get("method") or " + ".join(change.method for change in self.changes)

    @property
    def corpus(self) -> dict[str, Any]:  # type: ignore[override]
        return self.changes[0].corpus

    @property
    def positions(self) -> PositionKind | None:  # type: ignore[override]
        """Those of all parts, or None where they differ."""
        kinds = {change.positions for change in self.changes}
        return kinds.pop() if len(kinds) == 1 else None

    @property
    def layers(self) -> tuple[int, ...]:
        return tuple(sorted({layer for change in self.changes for layer in change.layers}))

    @property
    def hidden_size(self) -> int:
        return self.changes[0].hidden_size

    @property
    def parts(self) -> tuple[Change, ...]:
        return self.changes

    @property
    def used_parts(self) -> tuple[Change, ...]:
        return tuple(part.with_strength(self.strength * part.strength) for part in self.changes)

    def interventions(self, strength: float | None = None) -> Sequence[Intervention]:
        factor = check_strength(self.strength if strength is None else strength)
        return tuple(
            item
            for change in self.changes
            for item in change.interventions(factor * change.strength)
        )

    def logit_bias(self, strength: float | None = None) -> Tensor | None:
        factor = check_strength(self.strength if strength is None else strength)
        made = [change.logit_bias(factor * change.strength) for change in self.changes]
        biases = [bias for bias in made if bias is not None]
        return torch.stack(biases).sum(0) if biases else None

    def at(self, positions: PositionKind) -> "ChangeSequence":
        """The same at other positions, but for biases, which act on what is generated alone."""
        moved = (c if isinstance(c, LogitBias) else c.at(positions) for c in self.changes)
        return replace(self, changes=tuple(moved))

    def carried_to(self, model: Any) -> "ChangeSequence":
        return replace(self, changes=tuple(change.carried_to(model) for change in self.changes))

    def tensors(self) -> dict[str, Tensor]:
        return {
            f"{place}.{name}": tensor
            for place, change in enumerate(self.changes)
            for name, tensor in change.tensors().items()
        }

    def record(self) -> dict[str, Any]:
        parts = [{"kind": change.kind.format, **change.record()} for change in self.changes]
        own = ("strength", "options", "scores", "version")
        return {"parts": parts, **{name: getattr(self, name) for name in own}}

    @classmethod
    def from_file(cls, tensors: Mapping[str, Tensor], record: dict[str, Any]) -> "ChangeSequence":
        kinds = {kind.kind.format: kind for kind in PART_KINDS}
        changes = []
        for place, part in enumerate(record["parts"]):
            if part.get("kind") not in kinds:
                raise VectorError(f"its part {place + 1} is a {part.get('kind')!r}")
            prefix = f"{place}."
            own = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
            rest = {key: value for key, value in part.items() if key != "kind"}
            changes.append(kinds[part["kind"]].from_file(own, rest))
        own_fields = {
            k: record[k] for k in ("strength", "options", "scores", "version") if k in record
        }
        return cls(tuple(changes), **own_fields)

    def describe(self) -> dict[str, Any]:
        parts = [change.describe() for change in self.changes]
        return {**super().describe(), "parts": parts}


def states_part(change: Change) -> Change | None:
    """What of a change acts on hidden states; None where all of it is added to logits."""
    kept = tuple(part for part in change.parts if not isinstance(part, LogitBias))
    if len(kept) == len(change.parts):
        return change
    if not kept:
        return None
    return ChangeSequence.of(
        [part for part in change.used_parts if not isinstance(part, LogitBias)]
    )


def _short(value: Any) -> str:
    return str(value.get("name")) if isinstance(value, dict) else str(value)
