"""Change: what is done to a model's hidden states, whatever its kind, and how it is applied.

A steering vector, a projection, a low-rank map and a sequence of them are changes. Each knows the model that
it belongs to, its layers, positions and strength; each is applied, checked, saved and loaded in the same way.
"""

import contextlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self, TypeVar

import torch
from torch import Tensor

from langsteer.errors import VectorError
from langsteer.model.opening import as_model
from langsteer.states.intervention import POSITIONS, Intervention, PositionKind, intervene
from langsteer.steering.decoding.biased import biased
from langsteer.steering.files import one_file
from langsteer.steering.sharing import Shareable
from langsteer.storage.tensors import FileKind, read_tensors, write_tensors
from langsteer.text.languages import canonical, language_name

T = TypeVar("T")

SERVES = {  # by the objective that was learned with
    "centred": "questions about a text, answered in {} or by choosing",
    "translation": "translating a text into {}",
}
MAP_TYPES = ("model", "options", "corpus", "scores")


class Change(Shareable, ABC):
    """A change of the hidden states of one model, for one language.

    Subclasses are frozen dataclasses with these fields. `model` holds the name and fingerprint of
    the model it was fitted on, `corpus` the name, fingerprint and number of lines of the text it was
    fitted on, `scores` what a search found. `positions` is None where parts have their own.
    """

    kind: ClassVar[FileKind]

    language: str
    pivot: str
    model: dict[str, Any]
    method: str
    strength: float
    positions: PositionKind | None
    options: dict[str, Any]
    corpus: dict[str, Any]
    scores: dict[str, Any]
    version: str

    @property
    @abstractmethod
    def layers(self) -> tuple[int, ...]:
        """The layers that are changed, in rising order."""

    @property
    @abstractmethod
    def hidden_size(self) -> int:
        """The size of the hidden states that it changes."""

    @abstractmethod
    def interventions(self, strength: float | None = None) -> Sequence[Intervention]:
        """What is done at each layer, at its own positions and at its own strength or `strength`."""

    def logit_bias(self, strength: float | None = None) -> Tensor | None:
        """What is added to the logits [vocabulary] of each token that is written; None for nothing."""
        return None

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """The numbers that its file holds, by name."""

    @abstractmethod
    def record(self) -> dict[str, Any]:
        """All that its file says beside its numbers, as JSON values."""

    @classmethod
    @abstractmethod
    def from_file(cls, tensors: Mapping[str, Tensor], record: dict[str, Any]) -> Self:
        """The change that `tensors` and `record` were made from. Raises VectorError and the like."""

    @property
    def parts(self) -> tuple["Change", ...]:
        """The changes that it is made of, one after another: itself, where it is one."""
        return (self,)

    @property
    def used_parts(self) -> tuple["Change", ...]:
        """Its parts at the strengths at which they act."""
        return self.parts

    @property
    def relative_strength(self) -> float:
        """Length of what is added ÷ mean length of the states it is added to; NaN where unknown."""
        return math.nan

    @property
    def serves(self) -> str:
        """What it is good for, in words, where its objective tells; else empty."""
        return SERVES.get(self.options.get("objective", ""), "").format(language_name(self.pivot))

    def with_strength(self, strength: float) -> Self:
        """The same change at another strength."""
        return replace(self, strength=strength)  # type: ignore[type-var]

    def at(self, positions: PositionKind) -> Self:
        """The same change at other positions."""
        return replace(self, positions=positions)  # type: ignore[type-var]

    def applied(
        self,
        model: Any,
        *,
        strength: float | None = None,
        positions: PositionKind | None = None,
        mask: Tensor | None = None,
        any_thread: bool = False,
        other_weights: bool = False,
    ) -> AbstractContextManager[None]:
        """Steer every forward pass and `generate` inside a `with` block; see `steer`."""
        return steer(
            model,
            self,
            strength=strength,
            positions=positions,
            mask=mask,
            any_thread=any_thread,
            other_weights=other_weights,
        )

    def check_fits(self, model: Any, *, other_weights: bool = False) -> None:
        """Raise VectorError, naming the first property that differs, where `model` is another.

        Weights are compared only where the data type is the same. `other_weights` permits a model
        of the same shape with other weights, such as a fine-tuned one.
        """
        here = as_model(model)
        check_model(self.kind.name, self.model, here, self.hidden_size, other_weights)
        for layer in self.layers:
            here.check_layer(layer)

    def carried_to(self, model: Any) -> Self:
        """The same change as one of `model`, a tuned version of the model it was fitted on.

        `model["carried_from"]` keeps the record of that one. Raises VectorError where architecture,
        layers, hidden size or vocabulary differ.
        """
        here = as_model(model)
        self.check_fits(here, other_weights=True)
        if self.model.get("fingerprint") == here.fingerprint:
            return self
        origin = self.model.get("carried_from", self.model)
        about = {"name": here.name, "fingerprint": here.fingerprint, "carried_from": origin}
        return replace(self, model=about)  # type: ignore[type-var]

    def save(self, path: str | Path) -> Path:
        """Write a safetensors file, whole or not at all. Raises SaveError."""
        return write_tensors(path, self.kind, self.tensors(), self.record())

    @classmethod
    def load(cls, path: str | Path, model: Any = None) -> Self:
        """Read a file of this kind that `save` wrote; with `model`, also check that it fits.

        `path` may be a folder with one file, or a repository of the hub.
        `langsteer.load` reads any kind. Raises VectorError where the file is missing, damaged, or
        something else.
        """
        path = one_file(path)
        return cls.checked(path, *read_tensors(path, cls.kind), model)

    @classmethod
    def checked(
        cls, path: str | Path, tensors: Mapping[str, Tensor], record: dict[str, Any], model: Any
    ) -> Self:
        """What a file at `path` held, as a change. Raises VectorError, naming the file."""
        try:
            check_record(record)
            change = cls.from_file(tensors, record)
        except (KeyError, TypeError, ValueError, VectorError) as error:
            reason = f"it has no {error}" if isinstance(error, KeyError) else error
            raise VectorError(f"{path} is damaged: {reason}") from error
        if model is not None:
            change.check_fits(model)
        return change

    def describe(self) -> dict[str, Any]:
        """Everything that it knows about itself but its numbers, as JSON values."""
        relative = self.relative_strength
        return {
            "kind": self.kind.name,
            "language": self.language,
            "pivot": self.pivot,
            "model": self.model,
            "layers": list(self.layers),
            "hidden_size": self.hidden_size,
            "strength": self.strength,
            "relative_strength": relative if math.isfinite(relative) else None,
            "positions": self.positions,
            "method": self.method,
            "serves": self.serves,
            "options": self.options,
            "corpus": self.corpus,
            "scores": self.scores,
            "version": self.version,
        }


class OneLayer(Change):
    """A change at one layer, of which `values` [hidden] is added to every state that it changes."""

    values: Tensor
    layer: int

    @property
    def layers(self) -> tuple[int, ...]:
        return (self.layer,)

    @property
    def hidden_size(self) -> int:
        return self.values.shape[0]


@contextlib.contextmanager
def steer(
    model: Any,
    changes: Change | Sequence[Change | None],
    *,
    strength: float | None = None,
    positions: PositionKind | None = None,
    mask: Tensor | None = None,
    any_thread: bool = False,
    other_weights: bool = False,
) -> Iterator[None]:
    """Steer a model inside a `with` block: one change for all rows, or one (or None) a row.

    `strength` and `positions` replace the changes' own. `mask`, boolean [rows, prompt tokens] as
    padded for the model, marks the source tokens; without it, with positions `source`, the whole
    prompt but its special tokens is steered. Contexts nest and add up. The model is unchanged
    afterwards, also after an exception. Acts in the thread that entered it, so that threads do
    not steer each other; `any_thread` lifts that. Raises VectorError where a change does not fit.
    """
    here = as_model(model)
    rows = None if isinstance(changes, Change) else list(changes)
    given = [changes] if isinstance(changes, Change) else changes
    distinct = {id(change): change for change in given if change is not None}
    with contextlib.ExitStack() as stack:
        for change in distinct.values():
            change.check_fits(here, other_weights=other_weights)
        stack.enter_context(biased(here, given, strength, any_thread))
        for change in distinct.values():
            chosen = None if rows is None else torch.tensor([row is change for row in rows])
            items = [replace(item, rows=chosen) for item in change.interventions(strength)]
            if items:
                stack.enter_context(intervene(here, items, positions, mask, any_thread))
        yield


class Fingerprinted(Protocol):
    """A model as far as it takes to tell it from others: a `Model`, or one that an engine runs."""

    @property
    def name(self) -> str: ...
    @property
    def fingerprint(self) -> dict[str, str | int]: ...
    @property
    def hidden_size(self) -> int: ...


def check_model(
    noun: str, fitted: Mapping[str, Any], here: Fingerprinted, hidden_size: int, other_weights: bool
) -> None:
    """Raise VectorError, naming the first property that differs, where `here` is not the model
    that something (a `noun`) of this hidden size was fitted on, as its record says.
    """
    there, ours = fitted.get("fingerprint", {}), here.fingerprint
    name = fitted.get("name", "another model")
    pairs = [
        (key, there.get(key), ours[key])
        for key in ("architecture", "layers", "hidden_size", "vocab_size")
    ]
    for key, theirs, own in [*pairs, ("hidden_size", hidden_size, here.hidden_size)]:
        if theirs != own:
            raise VectorError(
                f"this {noun} was fitted on {name} and does not fit {here.name}: "
                f"{key.replace('_', ' ')} is {theirs} there and {own} here"
            )
    known = there.get("weights") and ours["weights"]
    if not known or there.get("dtype") != ours["dtype"] or other_weights:
        return
    if there["weights"] != ours["weights"]:
        raise VectorError(
            f"this {noun} was fitted on {name}, and {here.name} has other weights: fit one for "
            "it, or carry this one over with other_weights=True (--carry)"
        )


def check_strength(strength: float) -> float:
    """The strength itself. Raises VectorError where it is not a finite number."""
    if not math.isfinite(strength):
        raise VectorError(f"a strength must be a finite number, not {strength}")
    return strength


def check_positions(positions: str) -> None:
    """Raise VectorError where there are no such positions."""
    if positions not in POSITIONS:
        raise VectorError(f"no positions {positions!r}: one of {', '.join(POSITIONS)}")


def check_finite(noun: str, *tensors: Tensor, where: str = "") -> None:
    """Raise VectorError where one of the tensors of a `noun` holds NaN or infinity."""
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors):
        raise VectorError(f"the {noun} holds NaN or infinity{where}")


def check_record(record: Mapping[str, Any]) -> None:
    """Raise VectorError where a value that a file holds is of the wrong type."""
    kinds: dict[str, type | tuple[type, ...]] = {"layer": int, "strength": (int, float)}
    kinds |= dict.fromkeys(("language", "pivot", "method"), str) | {"state_norm": (int, float)}
    for name, kind in (kinds | dict.fromkeys(MAP_TYPES, dict)).items():
        if name in record and (
            not isinstance(record[name], kind) or isinstance(record[name], bool)
        ):
            raise VectorError(f"its {name} is {record[name]!r}")


def known_fields(cls: Any, record: Mapping[str, Any]) -> dict[str, Any]:
    """What a record holds of the fields of a dataclass; languages by the tags of today."""
    names = {f.name for f in fields(cls)}
    return {
        key: canonical(value) if key in ("language", "pivot") else value
        for key, value in record.items()
        if key in names
    }


def filled(cls: Callable[..., T], known: Mapping[str, Any]) -> T:
    """A dataclass with these fields. Raises VectorError, naming those that it needs and lacks."""
    lacking = [
        f.name
        for f in fields(cls)  # type: ignore[arg-type]
        if f.default is MISSING and f.default_factory is MISSING and f.name not in known
    ]
    if lacking:
        raise VectorError(f"it does not say its {', '.join(lacking)}")
    return cls(**known)


def record_of(change: Any, *numbers: str) -> dict[str, Any]:
    """The fields of a change but `numbers`, which are its tensors."""
    return {f.name: getattr(change, f.name) for f in fields(change) if f.name not in numbers}
