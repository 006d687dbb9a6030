"""How far a constant offset, a linear map, and a vector learned from labels could go at each layer.

First to the first order, at all layers and positions by one backward pass; then a few exactly. All is learned from
one half of the items and tried on the other, by turns. What is learned from labels is the mean gradient of the right
answers' log share, as long as wins one nat an item of those that it is of, to the first order. Of what is run exactly
the strength is chosen on the first of the items that it is told of: a bound, and not a recipe.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from langsteer.diagnosis.items import TaskItem
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
Place = tuple[Means, int, PositionKind, float]
"""What is run exactly: kind, layer, positions, and the sign of its strengths"""

LEARNING_CHOICES = 2  # of an item that has more: the right one, and the likeliest other
STRENGTHS: dict[Means, tuple[float, ...]] = {
    "offset": (0.5, 1.0),
    "map": (0.5,),
    "labels": (0.1, 0.3, 1.0),
}
FIRST = 32  # items that the strength is chosen on
MOST = 120  # items that slopes are of, and pairs that are learned from
RIDGE = 1.0  # of the map, relative to the mean square of the states' numbers
USUAL_DEPTH = 0.45
LAST = 1  # layers at the end that nothing is learned at


@dataclass(frozen=True)
class Slope:
    """What a change of a kind would win to the first order, in nats an item: of a vector from labels,
    where it wins one of those that it is learned from.
    """

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
    """States of texts in the language and of their English: float32 [texts, layers, hidden] each; of
    none, where `there` is None.

    `sides` says of each item to which half it belongs. Where the texts are the items' `own`, of as
    many as there are, each half is learned from its texts; else both from all texts.
    """

    def __init__(self, here: Tensor, there: Tensor | None, sides: Tensor, own: bool) -> None:
        self.here, self.there, self.sides, self.own = here, there, sides, own

    def learned_from(self, side: int) -> Tensor:
        """Which texts are learned from for what is tried on items of a side."""
        count = len(self.here)
        return self.sides[:count] != side if self.own else torch.ones(count, dtype=torch.bool)

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
        return linear_map(*self.pairs(layer, side))


def linear_map(here: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
    """W [hidden, hidden] and b [hidden], float32, from pairs of states [pairs, hidden] each."""
    moments = Moments(here.shape[1])
    moments.add(here, there)
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
    if len(english) == len(items):
        texts = [[item.own.prompt for item in items], [wording.prompt for wording in english]]
        told = ("States in the language", "States in English")
        here, there = (
            sentence_states(model, encode(model, own[:MOST]), layers, progress=label)
            for own, label in zip(texts, told, strict=True)
        )
        return Halves(here, there, sides, own=True), "the items and their English"
    if corpus is None:
        return Halves(torch.zeros(0), None, sides, own=True), ""
    corpus = corpus.lines(spread(len(corpus), MOST))
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
    few = asked
    if scale.may_leave_choices_out:
        few = asked.among(scores, LEARNING_CHOICES)
    biases = torch.tensor(np.mean(np.array(scores), 0)) if scale.calibrated else None
    there = _gradients(model, few.part(range(len(items))[:MOST]), halves, biases)
    slopes = [slope for layer in _layers(model) for slope in _slopes_at(there, halves, layer)]
    runs = _Runs(model, asked, scale, halves, there, scale.values(scores, asked.right), language)
    return Reaches(tuple(slopes), tuple(runs.reaches(_tried(model, slopes))), told)


def _layers(model: Model) -> range:
    return range(model.layers - LAST)


def _gradients(model: Model, asked: Asked, halves: Halves, biases: Tensor | None) -> Slopes:
    paired = halves.there is not None
    layers = _layers(model)
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

    return slopes(model, asked, biases, shift if paired else None)


def _slopes_at(there: Slopes, halves: Halves, layer: int) -> list[Slope]:
    told = []
    for kind in KINDS:
        crossed = there.crossed(layer, kind)
        won: dict[Means, float] = {"labels": there.held_out(layer, kind, crossed)}
        if halves.there is not None:
            offsets = [halves.offset(layer, side) for side in (0, 1)]
            won["offset"] = there.held_out(layer, kind, offsets)
            if kind != "generated":
                won["map"] = float(there.shifted[:, layer, KINDS.index(kind)].mean())
        told += [Slope(means, layer, kind, nats) for means, nats in won.items()]
    return told


def _tried(model: Model, slopes: Sequence[Slope]) -> list[Place]:
    """Which are run exactly."""
    places: list[Place] = []
    if any(slope.means == "offset" for slope in slopes):
        usual = max(0, min(model.layers - 2, round(USUAL_DEPTH * model.layers)))
        places.append(("offset", usual, "source", 1.0))
    for means in MEANS:
        own = [slope for slope in slopes if slope.means == means]
        if own:
            turned = means == "offset"  # it may help the other way round
            best = max(own, key=lambda s: abs(s.nats) if turned else s.nats)
            sign = -1.0 if turned and best.nats < 0 else 1.0
            places.append((means, best.layer, best.positions, sign))
    return list(dict.fromkeys(places))


class _Runs:
    """Exact runs: learned from one half of the items, and tried on the other."""

    def __init__(
        self,
        model: Model,
        asked: Asked,
        scale: Scale,
        halves: Halves,
        there: Slopes,
        before: Array,
        language: str,
    ) -> None:
        self.model, self.asked, self.scale = model, asked, scale
        self.halves, self.there, self.language = halves, there, language
        self.before = before

    def reaches(self, places: Sequence[Place]) -> list[Reach]:
        """What each kind of change wins at its place, at the best of its strengths, which is chosen
        on the first of the items.
        """
        changes = [[self._change(place, side) for side in (0, 1)] for place in places]
        strengths = [[sign * s for s in STRENGTHS[means]] for means, _, _, sign in places]
        count = len(self.asked.right)
        first, rest = range(count)[:FIRST], range(count)[FIRST:]
        tried = self._scores(first, changes, strengths)
        right = self.asked.part(first).right
        best = [
            max(range(len(own)), key=lambda s: self.scale.values(own[s], right).mean())
            for own in tried
        ]
        chosen = [[own[b]] for own, b in zip(strengths, best, strict=True)]
        more = self._scores(rest, changes, chosen)
        told = []
        for (means, layer, kind, _), b, own, start, end in zip(
            places, best, chosen, tried, more, strict=True
        ):
            after = self.scale.values([*start[b], *end[0]], self.asked.right)
            gain = paired_bootstrap(difference, self.before, after)
            told.append(Reach(means, layer, kind, own[0], gain))
        return told

    def _scores(
        self,
        index: Sequence[int],
        changes: Sequence[Sequence[Change]],
        strengths: Sequence[Sequence[float]],
    ) -> list[list[list[Array]]]:
        """Of each place, at each of its strengths, the scores of the items, under the change of the
        half that they are not of.
        """
        scores = [[[np.empty(0)] * len(index) for _ in own] for own in strengths]
        for side in (0, 1):
            here = [row for row, i in enumerate(index) if self.halves.sides[i] == side]
            if not here:
                continue
            places = [(p, s) for p, own in enumerate(strengths) for s in range(len(own))]
            steered = [changes[p][side].with_strength(strengths[p][s]) for p, s in places]
            part = self.asked.part([index[row] for row in here])
            of_side = answer_scores(self.model, part, steered, "Tried exactly")
            for (p, s), rows in zip(places, of_side, strict=True):
                for row, own in zip(here, rows, strict=True):
                    scores[p][s][row] = own
        return scores

    def _change(self, place: Place, side: int) -> Change:
        means, layer, positions, _ = place
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
        values = self.there.crossed(layer, positions)[side]
        return SteeringVector(values, layer, **about)  # type: ignore[arg-type]
