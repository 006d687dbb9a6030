"""Vectors by language, and the rows that they take up in the tables of steered layers.

What a change adds to a token depends on what kind of token it is: template, source, or generated. For each kind the
parts of the change that act there are one row: the sum, at every layer, of what they add. A row is known
by the digest of these numbers. What a change adds to logits is no row: it travels with a request.
"""

import functools
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from langsteer.errors import VectorError
from langsteer.states.intervention import POSITIONS, PositionKind
from langsteer.steering.change import Change
from langsteer.steering.folder import changes_by_language
from langsteer.steering.logit_bias import LogitBias, request_bias
from langsteer.steering.sequence import ChangeSequence
from langsteer.steering.vector import SteeringVector

NONE = ""  # the digest of the row that adds nothing
DIGITS = 32
KINDS = ("template", "source", "generated")
# Whether each kind of token is acted on
ACTED_ON: dict[PositionKind, tuple[bool, bool, bool]] = {
    "source": (False, True, False),
    "prompt": (True, True, False),
    "generated": (False, False, True),
    "all": (True, True, True),
}

Rows = tuple[str, str, str]  # the digest for each of KINDS


@dataclass(frozen=True)
class Entry:
    """A language's change: its own strength, and its rows at its own positions (None) or at others."""

    language: str
    strength: float
    rows: Mapping[PositionKind | None, Rows]


class Tables(Protocol):
    """What a table is made from at each of `layers`, and the place of each row in them by its digest."""

    @property
    def layers(self) -> tuple[int, ...]: ...
    @property
    def places(self) -> Mapping[str, int]: ...
    def table(self, layer: int) -> Tensor: ...


@dataclass(frozen=True, eq=False)
class Catalogue:
    """The changes that requests may name. `places` holds each row's place in the tables, by digest:
    place 0 adds nothing. `digest` is that of all of them.
    """

    changes: Mapping[str, Change]
    entries: Mapping[str, Entry]
    rows: Sequence[Mapping[int, Tensor]]
    places: Mapping[str, int]

    @property
    def pivots(self) -> frozenset[str]:
        return frozenset(change.pivot for change in self.changes.values())

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers at which anything is added, in rising order."""
        return tuple(sorted({layer for row in self.rows for layer in row}))

    @property
    def hidden_size(self) -> int:
        return next(iter(self.changes.values())).hidden_size

    @functools.cached_property
    def digest(self) -> str:
        named = [
            f"{e.language} {e.strength} {sorted(map(str, e.rows.items()))} {sorted(self.bias(e.language).items())}"
            for e in self.entries.values()
        ]
        return hashlib.sha256("\n".join(sorted(named)).encode()).hexdigest()[:DIGITS]

    def bias(self, language: str, strength: float | None = None) -> Mapping[int, float]:
        """What the change of a language adds to logits, by token, at its own strength or at another."""
        change = self.changes[language]
        factor = change.strength if strength is None else strength
        return self._bias(language, float(factor))

    @functools.lru_cache(maxsize=256)  # noqa: B019 - a catalogue lives as long as its process
    def _bias(self, language: str, strength: float) -> Mapping[int, float]:
        return request_bias(self.changes[language].logit_bias(strength))

    def table(self, layer: int) -> Tensor:
        """What each row adds at a layer: float32 [rows, hidden]."""
        table = torch.zeros(len(self.rows), self.hidden_size)
        for place, row in enumerate(self.rows):
            if layer in row:
                table[place] = row[layer]
        return table


def read_catalogue(paths: str | Path | Iterable[str | Path]) -> Catalogue:
    """The catalogue of files and folders. Raises VectorError where one cannot be used here."""
    listed = [paths] if isinstance(paths, str | Path) else list(paths)
    return make_catalogue(changes_by_language(listed))


def make_catalogue(changes: Mapping[str, Change]) -> Catalogue:
    """The catalogue of changes by language. Raises VectorError where there are none, or one is of
    a kind that no vector is.
    """
    if not changes:
        raise VectorError("there is no vector to serve")
    rows: list[Mapping[int, Tensor]] = [{}]
    places = {NONE: 0}
    entries = {}
    for tag, change in sorted(changes.items()):
        parts = _parts(change)
        at: dict[PositionKind | None, Rows] = {}
        for positions in (None, *POSITIONS):
            at[positions] = _rows(parts, positions, rows, places)
        entries[tag] = Entry(tag, float(change.strength), at)
    return Catalogue(dict(changes), entries, rows, places)


def what_hinders(change: Change) -> str | None:
    """Why vLLM cannot do a change, of which it adds vectors and biases only; None where it can."""
    whole = isinstance(change, ChangeSequence)
    for part in change.parts:
        if isinstance(part, LogitBias):
            continue
        if not isinstance(part, SteeringVector):
            return f"vLLM adds vectors, and this {'has a part that ' if whole else ''}is a {part.kind.name}"
        if part.keeps_length:
            return "vLLM adds vectors, and this keeps the length of each state"
    return None


def _parts(change: Change) -> list[tuple[SteeringVector, float]]:
    """The vectors that a change adds, and the strength of each beside that of the change."""
    if (reason := what_hinders(change)) is not None:
        raise VectorError(
            f"{reason.replace('this', f'that of {change.language}')}: leave it out, or serve it with "
            "--engine transformers"
        )
    whole = isinstance(change, ChangeSequence)
    parts = [part for part in change.parts if isinstance(part, SteeringVector)]
    return [(part, part.strength if whole else 1.0) for part in parts]


def _rows(
    parts: Sequence[tuple[SteeringVector, float]],
    positions: PositionKind | None,
    rows: list[Mapping[int, Tensor]],
    places: dict[str, int],
) -> Rows:
    """The digests of the rows at these positions; rows that are new are put down."""
    digests = []
    for kind in range(len(KINDS)):
        row: dict[int, Tensor] = {}
        for vector, strength in parts:
            if ACTED_ON[positions or vector.positions][kind]:
                added = strength * vector.values.float().cpu()
                row[vector.layer] = row[vector.layer] + added if vector.layer in row else added
        digest = row_digest(row)
        if digest not in places:
            places[digest] = len(rows)
            rows.append(row)
        digests.append(digest)
    template, source, generated = digests
    return template, source, generated


def row_digest(row: Mapping[int, Tensor]) -> str:
    """What a row is known by: its layers and numbers, and nothing else. Empty for one that adds nothing."""
    acting = {layer: values for layer, values in row.items() if bool(values.any())}
    if not acting:
        return NONE
    digest = hashlib.sha256()
    for layer, values in sorted(acting.items()):
        digest.update(f"{layer} ".encode() + values.contiguous().numpy().tobytes())
    return digest.hexdigest()[:DIGITS]
