"""SteeringVector: one vector, where it goes, what it belongs to, and its file."""

import contextlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from langsteer.errors import VectorError
from langsteer.model.model import Model, as_model
from langsteer.states.intervention import POSITIONS, Addition, Intervention, PositionKind, intervene
from langsteer.storage.tensors import FileKind, read_tensors, write_tensors
from langsteer.version import __version__

FILE = FileKind("langsteer steering vector", 1, "vector")
ROUTER_NAME = "router.safetensors"  # what may lie in a folder of vectors and is none


@dataclass(frozen=True, eq=False)
class SteeringVector:
    """A vector [hidden] that is added to the hidden states at one layer.

    What is added is `strength` × `values`. `model` holds the name and fingerprint of the model it
    was fitted on, `corpus` the name, fingerprint and number of lines of the text it was fitted on,
    `scores` what a search found, `loss` the loss at each evaluation of a gradient fit, and
    `state_norm` the mean length of the language's pooled hidden states at the layer, against
    which the strength has a meaning.
    """

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
    version: str = __version__

    def __post_init__(self) -> None:
        if self.values.dim() != 1:
            raise VectorError(f"a steering vector has one dimension, not {self.values.dim()}")
        if not bool(torch.isfinite(self.values).all()):
            raise VectorError("the steering vector holds NaN or infinity")
        _check_strength(self.strength)
        if self.positions not in POSITIONS:
            raise VectorError(f"no positions {self.positions!r}: one of {', '.join(POSITIONS)}")

    @property
    def relative_strength(self) -> float:
        """Length of what is added ÷ mean length of the hidden states it is added to."""
        length = abs(self.strength) * float(self.values.norm())
        return length / self.state_norm if self.state_norm else float("nan")

    @property
    def layers(self) -> tuple[int, ...]:
        return (self.layer,)

    def with_strength(self, strength: float) -> "SteeringVector":
        return replace(self, strength=strength)

    def interventions(self, strength: float | None = None) -> tuple[Intervention, ...]:
        """What the vector does to a residual stream, at its own strength unless told otherwise."""
        factor = self.strength if strength is None else strength
        _check_strength(factor)
        return (Intervention(self.layer, Addition(factor * self.values.float())),)

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
        check_model("vector", self.model, here, self.values.shape[0], other_weights)
        here.check_layer(self.layer)

    def carried_to(self, model: Any) -> "SteeringVector":
        """The same vector as one of `model`, a tuned version of the model it was fitted on.

        `model["carried_from"]` keeps the record of that one. Raises VectorError where architecture,
        layers, hidden size or vocabulary differ.
        """
        here = as_model(model)
        self.check_fits(here, other_weights=True)
        if self.model.get("fingerprint") == here.fingerprint:
            return self
        origin = self.model.get("carried_from", self.model)
        about = {"name": here.name, "fingerprint": here.fingerprint, "carried_from": origin}
        return replace(self, model=about)

    def save(self, path: str | Path) -> Path:
        """Write a safetensors file, whole or not at all. Raises SaveError."""
        record = asdict(replace(self, values=torch.empty(0)))
        del record["values"]
        return write_tensors(path, FILE, {"values": self.values}, record)

    @classmethod
    def load(cls, path: str | Path, model: Any = None) -> "SteeringVector":
        """Read a file that `save` wrote; with `model`, also check that it fits.

        Raises VectorError where the file is missing, damaged, or something else.
        """
        tensors, record = read_tensors(path, FILE)
        if set(tensors) != {"values"}:
            raise VectorError(f"{path} is not a langsteer vector file")
        known = {f.name for f in fields(cls)}
        try:
            _check_types(record)
            record["loss"] = tuple(record.get("loss", ()))
            vector = cls(
                values=tensors["values"], **{k: v for k, v in record.items() if k in known}
            )
        except (TypeError, VectorError) as error:
            raise VectorError(f"{path} is damaged: {error}") from error
        if model is not None:
            vector.check_fits(model)
        return vector


def vector_files(path: str | Path) -> list[Path]:
    """The vector files in a folder, which may be none and are not its router; else the file itself."""
    path = Path(path)
    if not path.is_dir():
        return [path]
    return sorted(file for file in path.glob("*.safetensors") if file.name != ROUTER_NAME)


def load_vectors(vectors: Iterable["str | Path | SteeringVector"]) -> list["SteeringVector"]:
    """Vectors themselves, of files, and of all files in folders but a router.

    Raises VectorError where a folder has none, or a file is damaged.
    """
    found: list[SteeringVector] = []
    for item in vectors:
        if isinstance(item, SteeringVector):
            found.append(item)
            continue
        files = vector_files(item)
        if not files:
            raise VectorError(f"there is no vector file (*.safetensors) in {item}")
        found += [SteeringVector.load(file) for file in files]
    return found


def read_vectors(*paths: str | Path) -> dict[str, SteeringVector]:
    """Vectors by language, from vector files and folders of them (`*.safetensors`, no router).

    Raises VectorError where a folder has none, one is damaged, or there are two for a language.
    """
    found: dict[str, SteeringVector] = {}
    for path in map(Path, paths):
        for vector in load_vectors([path]):
            if vector.language in found:
                raise VectorError(
                    f"{path} holds several vectors for {vector.language}: keep one a language"
                    if path.is_dir()
                    else f"{path} is one of several vectors for {vector.language}: name one"
                )
            found[vector.language] = vector
    return found


def check_comparable(vectors: Iterable[SteeringVector]) -> list[SteeringVector]:
    """The vectors, of one layer, model and pivot, one a language. Raises VectorError."""
    found = list(vectors)
    if not found:
        raise VectorError("there is no vector to look at")
    first, seen = found[0], set()
    for vector in found:
        if vector.language in seen:
            raise VectorError(f"there are several vectors for {vector.language}: keep one")
        seen.add(vector.language)
        for what, one, other in (
            ("layer", first.layer, vector.layer),
            ("pivot", first.pivot, vector.pivot),
        ):
            if one != other:
                raise VectorError(
                    f"vectors of different {what}s are not compared: that of {first.language} has "
                    f"the {what} {one}, that of {vector.language} {other}"
                )
        if difference := _other_model(first, vector):
            raise VectorError(
                f"vectors of different models are not compared: {first.language}'s is of "
                f"{first.model.get('name')}, {vector.language}'s of {vector.model.get('name')} "
                f"({difference})"
            )
        if not float(vector.values.norm()):
            raise VectorError(f"the vector of {vector.language} has no length")
    return found


def _other_model(one: SteeringVector, other: SteeringVector) -> str:
    """The first property in which the models of two vectors differ, in words; empty for none."""
    first, second = (v.model.get("fingerprint", {}) for v in (one, other))
    keys = ["architecture", "layers", "hidden_size", "vocab_size"]
    if first.get("dtype") == second.get("dtype") and first.get("weights") and second.get("weights"):
        keys.append("weights")
    for key in keys:
        if first.get(key) != second.get(key):
            if key == "weights":
                return "their weights differ"
            return f"{key.replace('_', ' ')} {first.get(key)} and {second.get(key)}"
    if one.values.shape != other.values.shape:
        return f"hidden size {one.values.shape[0]} and {other.values.shape[0]}"
    return ""


def check_model(
    noun: str, fitted: Mapping[str, Any], here: Model, hidden_size: int, other_weights: bool
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
    for key, one, other in [*pairs, ("hidden_size", hidden_size, here.hidden_size)]:
        if one != other:
            raise VectorError(
                f"this {noun} was fitted on {name} and does not fit {here.name}: "
                f"{key.replace('_', ' ')} is {one} there and {other} here"
            )
    known = there.get("weights") and ours["weights"]
    if not known or there.get("dtype") != ours["dtype"] or other_weights:
        return
    if there["weights"] != ours["weights"]:
        raise VectorError(
            f"this {noun} was fitted on {name}, and {here.name} has other weights: fit one for "
            "it, or carry this one over with other_weights=True (--carry)"
        )


@contextlib.contextmanager
def steer(
    model: Any,
    vectors: SteeringVector | Sequence[SteeringVector | None],
    *,
    strength: float | None = None,
    positions: PositionKind | None = None,
    mask: Tensor | None = None,
    any_thread: bool = False,
    other_weights: bool = False,
) -> Iterator[None]:
    """Steer a model inside a `with` block: one vector for all rows, or one (or None) a row.

    `strength` and `positions` replace the vectors' own. `mask`, boolean [rows, prompt tokens] as
    padded for the model, marks the source tokens; without it, with positions `source`, the whole
    prompt but its special tokens is steered. Contexts nest and add up. The model is unchanged
    afterwards, also after an exception. Acts in the thread that entered it, so that threads do
    not steer each other; `any_thread` lifts that. Raises VectorError where a vector does not fit.
    """
    here = as_model(model)
    rows = None if isinstance(vectors, SteeringVector) else list(vectors)
    distinct = _distinct([vectors] if isinstance(vectors, SteeringVector) else vectors)
    with contextlib.ExitStack() as stack:
        for vector in distinct:
            vector.check_fits(here, other_weights=other_weights)
            chosen = None if rows is None else torch.tensor([row is vector for row in rows])
            stack.enter_context(
                intervene(
                    here,
                    [replace(item, rows=chosen) for item in vector.interventions(strength)],
                    positions or vector.positions,
                    mask,
                    any_thread,
                )
            )
        yield


def _check_strength(strength: float) -> None:
    if not math.isfinite(strength):
        raise VectorError(f"a strength must be a finite number, not {strength}")


def _check_types(record: Mapping[str, Any]) -> None:
    kinds: dict[str, type | tuple[type, ...]] = {"layer": int, "strength": (int, float)}
    for name, kind in (
        kinds | dict.fromkeys(("model", "options", "corpus", "scores"), dict)
    ).items():
        if name in record and not isinstance(record[name], kind):
            raise VectorError(f"its {name} is {record[name]!r}")


def _distinct(vectors: Sequence[SteeringVector | None]) -> list[SteeringVector]:
    return list({id(v): v for v in vectors if v is not None}.values())
