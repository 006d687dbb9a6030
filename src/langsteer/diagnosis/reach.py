"""How far a constant offset, a linear map, and a vector learned from labels could go at each layer.

First to the first order, at all layers and positions by one backward pass; then a few exactly. All is learned from
one half of the items and tried on the other, by turns. Of what is run exactly the best strength is told, on
the items that it is told of: a bound, and not a recipe.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from langsteer.diagnosis.items import TaskItem
from langsteer.diagnosis.labels import vector_of_labels
from langsteer.diagnosis.scoring import Asked, Scale, answer_scores
from langsteer.diagnosis.slopes import KINDS, Slopes, slopes
from langsteer.evaluation.statistics import (
    Array,
    Interval,
    difference,
    paired_bootstrap,
)
from langsteer.fitting.projection import Moments
from langsteer.model.model import Model
from langsteer.model.tokens import encode
from langsteer.states.capture import sentence_states
from langsteer.states.intervention import PositionKind
from langsteer.steering.change import Change
from langsteer.steering.projection import Projection
from langsteer.steering.vector import SteeringVector
from langsteer.text.corpus import ParallelCorpus, spread

Means = Literal["offset", "map", "labels"]
MEANS: tuple[Means, ...] = ("offset", "map", "labels")

CHOICES = 3  # of an item that has more: the right one, and the likeliest others
LEARNING_CHOICES = 2
STRENGTHS: dict[Means, tuple[float, ...]] = {
    "offset": (0.5, 1.0),
    "map": (0.5,),
    "labels": (0.5, 1.0),
}
MOST_SLOPES = 120  # items, of which a mean slope is known well enough to tell layers apart
RIDGE = 1.0  # of the map, relative to the mean square of the states' numbers
STEP = 0.1  # of the states' length: how far the first-order estimate goes along labels
LINES = 200  # of a corpus that stands in for the English of the items
USUAL_DEPTH = 0.45
LAST = 1  # layers at the end that nothing is learned at


@dataclass(frozen=True)
class Slope:
    """What a change of a kind would win to the first order, in nats an item."""

    means: Means
    layer: int
    positions: PositionKind
    nats: float


@dataclass(frozen=True)
class Reach:
    """What a change won on items that it was not learned from, run exactly, at its best strength."""

    means: Means
    layer: int
    positions: PositionKind
    strength: float
    gain: Interval


@dataclass(frozen=True)
class Reaches:
    """`slopes` are those of all layers and positions; `exact` the best of each kind, and the offset
    at the usual layer. `pairs` says what offset and map are learned from.
    """

    slopes: tuple[Slope, ...]
    exact: tuple[Reach, ...]
    pairs: str

    @property
    def best(self) -> Reach | None:
        """The one that won most."""
        return max(self.exact, key=lambda reach: reach.gain.value, default=None)


class Halves:
    """States of texts in the language and of their English: float32 [texts, layers, hidden] each.

    `sides` says of each item to which half its texts belong, where the texts are the items' own;
    else all texts are learned from for both.
    """

    def __init__(self, here: Tensor, there: Tensor | None, sides: Tensor, own: bool) -> None:
        self.here, self.there, self.sides, self.own = here, there, sides, own

    @property
    def norms(self) -> Tensor:
        """Mean length of the states at each layer."""
        return self.here.norm(dim=-1).mean(0)

    def learned_from(self, side: int) -> Tensor:
        """Which texts are learned from for what is tried on items of a side."""
        return self.sides != side if self.own else torch.ones(len(self.here), dtype=torch.bool)

    def pairs(self, layer: int, side: int) -> tuple[Tensor, Tensor]:
        """States in the language and in English, float32 [texts, hidden]."""
        assert self.there is not None
        index = self.learned_from(side)
        return self.here[index, layer], self.there[index, layer]

    def offset(self, layer: int, side: int) -> Tensor:
        here, there = self.pairs(layer, side)
        return (there - here).mean(0)

    def projection(self, layer: int, side: int) -> tuple[Tensor, Tensor]:
        """W [hidden, hidden] and b [hidden]."""
        moments = Moments(self.here.shape[-1])
        moments.add(*self.pairs(layer, side))
        matrix, offset = moments.solve(RIDGE, intercept=True)
        return matrix.float(), offset.float()


class _Mapped:
    """What the map adds to states, from pairs and not from W: there are fewer than dimensions."""

    def __init__(self, here: Tensor, there: Tensor) -> None:
        self.mean = here.mean(0)
        self.centred = here - self.mean
        step = there - here
        self.offset = step.mean(0)
        gram = self.centred @ self.centred.T
        penalty = RIDGE * gram.diagonal().sum() / here.shape[1]
        inverse = torch.linalg.inv(gram + penalty * torch.eye(len(here)))
        self.steps = inverse @ (step - self.offset)

    def __call__(self, states: Tensor) -> Tensor:
        return self.offset + ((states - self.mean) @ self.centred.T) @ self.steps


def halves_of(
    model: Model, items: Sequence[TaskItem], corpus: ParallelCorpus | None
) -> tuple[Halves, str]:
    """What offset and map are learned from: the items and their English, else the corpus."""
    layers = list(range(model.layers))
    sides = torch.arange(len(items)) % 2
    english = [item.english for item in items if item.english is not None]
    own = encode(model, [item.own.prompt for item in items])
    here = sentence_states(model, own, layers, progress="States in the language")
    if len(english) == len(items):
        there = encode(model, [wording.prompt for wording in english])
        states = sentence_states(model, there, layers, progress="States in English")
        return Halves(here, states, sides, own=True), "the items and their English"
    if corpus is None:
        return Halves(here, None, sides, own=True), ""
    corpus = corpus.lines(spread(len(corpus), LINES))
    lines = [
        sentence_states(model, corpus.texts[tag], layers) for tag in (corpus.language, corpus.pivot)
    ]
    return Halves(lines[0], lines[1], sides, own=False), f"{len(corpus)} lines of {corpus.name}"


def reaches(
    model: Model,
    items: Sequence[TaskItem],
    asked: Asked,
    scores: Sequence[Array],
    scale: Scale,
    language: str,
    corpus: ParallelCorpus | None = None,
) -> Reaches:
    """Slopes of all, and the best of each kind run exactly.

    `scores` are those of the answers as they are; `corpus` stands in where items have no English.
    """
    halves, told = halves_of(model, items, corpus)
    whole = scale.calibrated or scale.unit == "nats"
    few = asked if whole else asked.among(scores, LEARNING_CHOICES)
    biases = torch.tensor(np.mean(np.array(scores), 0)) if scale.calibrated else None
    found = _slopes(model, few.part(range(len(items))[:MOST_SLOPES]), halves, biases)
    tried = _tried(model, found)
    compared = asked if whole else asked.among(scores, CHOICES)
    before = scale.values(scores, asked.right)
    runs = _Runs(model, few, compared, asked, scale, halves, biases, before, language)
    exact = [runs.reach(*place) for place in tried]
    return Reaches(tuple(found), tuple(exact), told)


def _slopes(model: Model, asked: Asked, halves: Halves, biases: Tensor | None) -> list[Slope]:
    paired = halves.there is not None
    layers = range(model.layers - LAST)
    sides = halves.sides
    mapped = {
        (layer, side): _Mapped(*halves.pairs(layer, side))
        for layer in (layers if paired else ())
        for side in (0, 1)
    }

    def shift(layer: int, states: Tensor, owners: Sequence[int]) -> Tensor:
        if layer not in layers:
            return torch.zeros_like(states)
        rows = [mapped[layer, int(sides[i])](row) for row, i in zip(states, owners, strict=True)]
        return torch.stack(rows)

    there = slopes(model, asked, biases, shift if paired else None)
    return [slope for layer in layers for slope in _slopes_at(there, halves, layer)]


def _slopes_at(there: Slopes, halves: Halves, layer: int) -> list[Slope]:
    told = []
    sides = halves.sides[: len(there.gradients)]
    for place, kind in enumerate(KINDS):
        own = there.gradients[:, layer, place]
        won: dict[Means, Tensor] = {"labels": torch.zeros(len(own))}
        for side in (0, 1):
            tried = sides == side
            direction = own[~tried].mean(0)
            length = STEP * halves.norms[layer] / direction.norm().clamp(min=1e-12)
            won["labels"][tried] = own[tried] @ direction * length
        if halves.there is not None:
            won["offset"] = torch.zeros(len(own))
            for side in (0, 1):
                tried = sides == side
                won["offset"][tried] = own[tried] @ halves.offset(layer, side)
            if kind != "generated":
                won["map"] = there.shifted[:, layer, place]
        told += [Slope(means, layer, kind, float(nats.mean())) for means, nats in won.items()]
    return told


def _tried(model: Model, found: Sequence[Slope]) -> list[tuple[Means, int, PositionKind, float]]:
    """Which are run exactly: kind, layer, positions, and the sign of their strengths."""
    places: list[tuple[Means, int, PositionKind, float]] = []
    if any(slope.means == "offset" for slope in found):
        usual = max(0, min(model.layers - 2, round(USUAL_DEPTH * model.layers)))
        places.append(("offset", usual, "source", 1.0))
    for means in MEANS:
        own = [slope for slope in found if slope.means == means]
        if own:
            best = max(own, key=lambda s: abs(s.nats) if means == "offset" else s.nats)
            places.append((means, best.layer, best.positions, -1.0 if best.nats < 0 else 1.0))
    return list(dict.fromkeys(places))


class _Runs:
    """Exact runs: learned from one half of the items, and tried on the other."""

    def __init__(
        self,
        model: Model,
        learned: Asked,
        compared: Asked,
        whole: Asked,
        scale: Scale,
        halves: Halves,
        biases: Tensor | None,
        before: Array,
        language: str,
    ) -> None:
        self.model, self.learned, self.scale = model, learned, scale
        self.compared, self.whole = compared, whole
        self.halves, self.biases, self.language = halves, biases, language
        self.sides = [np.flatnonzero(halves.sides.numpy() == side).tolist() for side in (0, 1)]
        self.before = before

    def reach(self, means: Means, layer: int, positions: PositionKind, sign: float) -> Reach:
        """The best of the strengths of one kind of change at one place.

        The strength is chosen among the likeliest answers; what it wins, among all of them, as an
        answer that was unlikely may have become likely.
        """
        strengths = [sign * s for s in STRENGTHS[means]]
        changes = [self._change(means, layer, positions, side) for side in (0, 1)]
        after = self._values(self.compared, changes, strengths)
        best = int(np.argmax([values.mean() for values in after]))
        won = after[best]
        if self.whole != self.compared:
            (won,) = self._values(self.whole, changes, strengths[best : best + 1])
        gain = paired_bootstrap(difference, self.before, won)
        return Reach(means, layer, positions, strengths[best], gain)

    def _values(
        self, asked: Asked, changes: Sequence[Change], strengths: Sequence[float]
    ) -> list[Array]:
        """The value of each item at each strength, under the change of its half."""
        scores: list[list[Array]] = [[np.empty(0)] * len(asked.right) for _ in strengths]
        for side, change in zip(self.sides, changes, strict=True):
            own = [change.with_strength(s) for s in strengths]
            part = answer_scores(self.model, asked.part(side), own, "Tried exactly")
            for place, rows in enumerate(part):
                for i, row in zip(side, rows, strict=True):
                    scores[place][i] = row
        return [self.scale.values(rows, asked.right) for rows in scores]

    def _change(self, means: Means, layer: int, positions: PositionKind, side: int) -> Change:
        about = {
            "language": self.language,
            "pivot": "en",
            "model": {"name": self.model.name, "fingerprint": self.model.fingerprint},
            "method": means,
            "positions": positions,
        }
        if means == "map":
            matrix, offset = self.halves.projection(layer, side)
            return Projection({layer: matrix}, offsets={layer: offset}, **about)  # type: ignore[arg-type]
        if means == "offset":
            return SteeringVector(self.halves.offset(layer, side), layer, **about)  # type: ignore[arg-type]
        others = self.sides[1 - side]
        norm = float(self.halves.norms[layer])
        part = self.learned.part(others)
        values = vector_of_labels(self.model, part, layer, positions, norm, self.biases)
        return SteeringVector(values, layer, **about)  # type: ignore[arg-type]
