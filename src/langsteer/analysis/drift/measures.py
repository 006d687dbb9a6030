"""Measures of a version against its base, layer by layer, from pooled states alone."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from langsteer.analysis.alignment import linear_cka, mexa, pair_cosines
from langsteer.analysis.drift.curves import (
    LayerMeasures,
    cosine_curves,
    curves,
    halves_of,
    matchings,
    rows_of,
    span_curves,
)
from langsteer.analysis.drift.directions import (
    EQUAL,
    UNKNOWN,
    Direction,
    Null,
    bootstrap_weights,
    cosine,
    drawn_null,
    inner,
    isotropic_null,
    orthonormal,
    plain_cosine,
    random_directions,
    random_shares,
    share_of,
    shares,
)
from langsteer.analysis.drift.results import (
    GAP,
    CosineMatrix,
    Directions,
    LanguageDrift,
    Likeness,
    Movement,
    Nearness,
    PivotDrift,
    VersionDrift,
    VersionPair,
)
from langsteer.progress import track
from langsteer.steering.vector import SteeringVector

NAN = math.nan
TINY = 1e-12
States = dict[str, Tensor]
"""Pooled states by language tag: float32 [lines, layers, hidden]"""


_COSINE = (
    *("value", "low", "high", "isotropic", "covariance"),
    *("p_isotropic", "p_covariance", "p_languages"),
)


_SPAN = (
    *("share", "isotropic", "isotropic_high", "covariance", "covariance_high"),
    *("p_isotropic", "p_covariance"),
)


@dataclass(frozen=True, eq=False)
class Ground:
    """What versions are measured against.

    States of the base: `fit`, of the lines that directions are fitted on, and `states`, of those
    that are measured. `vectors` by kind and tag; `layer` is the one whose matrix is kept.
    """

    pivot: str
    fit: States
    states: States
    vectors: Mapping[str, Mapping[str, SteeringVector]]
    layer: int
    draws: int
    seed: int

    @property
    def layers(self) -> int:
        return int(self.states[self.pivot].shape[1])

    @property
    def tags(self) -> list[str]:
        """The languages without the pivot."""
        return [tag for tag in self.states if tag != self.pivot]

    def length(self, tag: str, layer: int) -> float:
        """Mean length of a language's measured states."""
        return float(self.states[tag][:, layer].double().norm(dim=1).mean())


@dataclass(frozen=True, eq=False)
class Measured:
    """A version's measures, its displacements [layers, hidden] by tag, and the own displacement

    of each half of the lines: [2, layers, hidden] by tag, NaN where it is not clear.
    """

    drift: VersionDrift
    displacements: dict[str, Tensor]
    halves: dict[str, Tensor]


def measure(ground: Ground, states: States, name: str) -> Measured:
    """Everything measured of a version from its states of the measured lines.

    `states` has the pivot, and those of the ground's languages that the version is measured in.
    """
    tags = [tag for tag in ground.tags if tag in states]
    layers = [
        _Place(ground, states, layer).measured()
        for layer in track(range(ground.layers), f"{name}: measuring", ground.layers)
    ]
    drift = VersionDrift(
        name=name,
        source=name,
        steered=False,
        pivot=PivotDrift(
            **curves([layer.pivot for layer in layers]),
            similarity=likeness(ground.states[ground.pivot], states[ground.pivot]),
        ),
        languages={tag: _language_drift(ground, states, layers, tag) for tag in tags},
        matching=matchings(layers, ground.seed),
        matrix=CosineMatrix(ground.layer, tuple(tags), rows_of(layers[ground.layer].matrices[GAP])),
    )
    moved = {tag: after - ground.states[tag] for tag, after in states.items()}
    return Measured(
        drift, {tag: m.mean(0) for tag, m in moved.items()}, halves_of(layers, moved, ground.pivot)
    )


def _language_drift(
    ground: Ground, states: States, layers: Sequence[LayerMeasures], tag: str
) -> LanguageDrift:
    return LanguageDrift(
        alignment=nearness(states[tag], states[ground.pivot]),
        movement=Movement(**curves([layer.movement[tag] for layer in layers])),
        similarity=likeness(ground.states[tag], states[tag]),
        directions={
            kind: Directions(
                own=cosine_curves(layers, "own", kind, tag),
                raw=cosine_curves(layers, "raw", kind, tag),
                span=span_curves(layers, kind, tag),
            )
            for kind in (GAP, *ground.vectors)
            if any((kind, tag) in layer.own for layer in layers)
        },
    )


def nearness(here: Tensor, there: Tensor) -> Nearness:
    """Alignment by layer of states [lines, layers, hidden] with those of their translations."""
    rows = []
    for states, translations in zip(here.unbind(1), there.unbind(1), strict=True):
        pair = pair_cosines(states, translations)
        rows.append(
            {
                "mexa": mexa(states, translations),
                "pair_cosine": pair.pairs,
                "other_cosine": pair.others,
                "cka": linear_cka(states, translations),
            }
        )
    return Nearness(**curves(rows))


def likeness(before: Tensor, after: Tensor) -> Likeness:
    """Linear CKA and mean cosine, by layer, of states [lines, layers, hidden] of the same lines."""
    cosines = torch.nn.functional.cosine_similarity(before.double(), after.double(), dim=2)
    pairs = zip(before.unbind(1), after.unbind(1), strict=True)
    return Likeness(
        cka=tuple(linear_cka(*pair) for pair in pairs),
        cosine=tuple(cosines.mean(0).tolist()),
    )


class _Place:
    """A version at one layer: displacements of its lines, directions, and what chance gives."""

    def __init__(self, ground: Ground, states: States, layer: int) -> None:
        self.ground, self.layer = ground, layer
        self.generator = torch.Generator().manual_seed(ground.seed * 1000 + layer)
        pivot, fit = ground.pivot, {t: lines[:, layer].double() for t, lines in ground.fit.items()}
        weights, refit = (
            bootstrap_weights(len(part[pivot]), ground.draws, self.generator)
            for part in (ground.states, fit)
        )
        self.scale = {tag: ground.length(tag, layer) for tag in ground.states}
        self.moved = {
            tag: after[:, layer].double() - ground.states[tag][:, layer].double()
            for tag, after in states.items()
        }
        self.tags = [tag for tag in ground.tags if tag in states]
        self.own_lines = {tag: self.moved[tag] - self.moved[pivot] for tag in self.tags}
        self.raw = {tag: Direction.of(lines, weights) for tag, lines in self.moved.items()}
        self.own = {tag: Direction.of(lines, weights) for tag, lines in self.own_lines.items()}
        self.gaps = {tag: Direction.of(fit[pivot] - fit[tag], refit) for tag in ground.tags}
        centred = torch.cat([lines - lines.mean(0) for lines in fit.values()])
        self.random = random_directions(centred, ground.draws, self.generator)

    def measured(self) -> LayerMeasures:
        own: dict[tuple[str, str], dict[str, float]] = {}
        raw: dict[tuple[str, str], dict[str, float]] = {}
        span: dict[tuple[str, str], dict[str, float]] = {}
        matrices = {}
        for kind, directions in self._directions().items():
            for tag in directions.keys() & self.own.keys():
                own[kind, tag] = self._cosine(self.own[tag], tag, directions)
                raw[kind, tag] = self._cosine(self.raw[tag], tag, directions)
            if self._one_layer(kind):
                span |= {(kind, tag): row for tag, row in self._span_shares(directions).items()}
            matrices[kind] = self._matrix(directions)
        return LayerMeasures(
            self.layer,
            self._pivot(),
            {tag: self._movement(tag) for tag in self.tags},
            own,
            raw,
            span,
            matrices,
            frozenset(tag for tag in self.tags if self._clear(self.own[tag], tag)),
        )

    def _directions(self) -> dict[str, dict[str, Direction]]:
        """Directions by kind and tag, of those kinds that there are at this layer."""
        directions = {GAP: self.gaps}
        for kind, vectors in self.ground.vectors.items():
            at_this_layer = {
                tag: Direction.exact(vector.values)
                for tag, vector in vectors.items()
                if vector.layer == self.layer
            }
            if at_this_layer:
                directions[kind] = at_this_layer
        return directions

    def _one_layer(self, kind: str) -> bool:
        """Whether all vectors of a kind are at this layer, so that they have a span here."""
        vectors = self.ground.vectors.get(kind, {})
        return all(vector.layer == self.layer for vector in vectors.values())

    def _clear(self, direction: Direction, tag: str) -> bool:
        return direction.clear(self.scale[tag])

    def _pivot(self) -> dict[str, float]:
        tag = self.ground.pivot
        return {
            "raw": self._relative(self.raw[tag].length, tag),
            "noise": self._relative(math.sqrt(self.raw[tag].noise), tag),
            "coherence": self._coherence(self.raw[tag], self.moved[tag], tag),
        }

    def _movement(self, tag: str) -> dict[str, float]:
        raw, own, gap = self.raw[tag], self.own[tag], self.gaps[tag]
        crossed = share_of(own, gap) if self._clear(gap, tag) else UNKNOWN
        return {
            "raw": self._relative(raw.length, tag),
            "own": self._relative(own.length, tag),
            "noise": self._relative(math.sqrt(own.noise), tag),
            "pivot_cosine": self._pivot_cosine(tag),
            "coherence": self._coherence(own, self.own_lines[tag], tag),
            "crossed": crossed.value,
            "crossed_low": crossed.low,
            "crossed_high": crossed.high,
        }

    def _relative(self, length: float, tag: str) -> float:
        return length / self.scale[tag] if self.scale[tag] > 0 else NAN

    def _coherence(self, mean: Direction, lines: Tensor, tag: str) -> float:
        """Squared length of the mean over the lines' mean squared length."""
        mean_square = float(lines.square().sum(1).mean())
        return mean.squared / mean_square if self._clear(mean, tag) else NAN

    def _pivot_cosine(self, tag: str) -> float:
        """Cosine of a language's displacement with the pivot's, where both are clear."""
        pivot = self.ground.pivot
        if not (self._clear(self.raw[tag], tag) and self._clear(self.raw[pivot], pivot)):
            return NAN
        lengths = math.sqrt(self.raw[tag].squared * self.raw[pivot].squared)
        value = inner(self.moved[tag], self.moved[pivot]) / lengths
        return min(1.0, max(-1.0, value))

    def _cosine(
        self, moved: Direction, tag: str, directions: Mapping[str, Direction]
    ) -> dict[str, float]:
        if not (self._clear(moved, tag) and self._clear(directions[tag], tag)):
            return dict.fromkeys(_COSINE, NAN)
        estimate = cosine(moved, directions[tag])
        plain = plain_cosine(moved.mean, directions[tag].mean)
        straight = isotropic_null(plain**2, 1, len(moved.mean))
        unit = torch.nn.functional.normalize(moved.mean, dim=0).to(self.random.dtype)
        drawn = drawn_null(abs(plain), (self.random @ unit).abs())
        # What random vectors reach is shown on the scale of the cosine without noise.
        scale = estimate.value / plain if abs(plain) > TINY else 1.0
        every = [plain_cosine(moved.mean, d.mean) for d in directions.values()]
        rank = sum(value >= plain - EQUAL for value in every)
        return {
            "value": estimate.value,
            "low": estimate.low,
            "high": estimate.high,
            "isotropic": min(1.0, scale * math.sqrt(straight.high)),
            "covariance": min(1.0, scale * drawn.high),
            "p_isotropic": straight.p,
            "p_covariance": drawn.p,
            "p_languages": rank / len(every) if len(every) > 1 else NAN,
        }

    def _matrix(self, directions: Mapping[str, Direction]) -> Tensor:
        matrix = torch.full((len(self.tags), len(self.tags)), NAN, dtype=torch.float64)
        for row, tag in enumerate(self.tags):
            for column, other in enumerate(self.tags):
                if other in directions and self._clear(self.own[tag], tag):
                    matrix[row, column] = plain_cosine(self.own[tag].mean, directions[other].mean)
        return matrix

    def _span_shares(self, directions: Mapping[str, Direction]) -> dict[str, dict[str, float]]:
        """Shares of own displacements in the span of the directions, against random spans."""
        usable = [d.mean for tag, d in directions.items() if self._clear(d, tag)]
        basis = orthonormal(torch.stack(usable)) if usable else torch.empty(0, 0)
        rows = {tag: {"rank": len(basis), **dict.fromkeys(_SPAN, NAN)} for tag in self.tags}
        clear = [tag for tag in self.tags if self._clear(self.own[tag], tag)]
        if not clear or not 0 < len(basis) <= len(self.random):
            return rows
        moved = torch.stack([self.own[tag].mean for tag in clear])
        inside = shares(moved, basis).tolist()
        reached = random_shares(moved, self.random, len(basis), self.ground.draws, self.generator)
        for place, tag in enumerate(clear):
            straight = isotropic_null(inside[place], *basis.shape)
            drawn = drawn_null(inside[place], reached[:, place])
            rows[tag] |= {"share": inside[place], **_by_chance(straight, drawn)}
        return rows


def _by_chance(straight: Null, drawn: Null) -> dict[str, float]:
    return {
        "isotropic": straight.mean,
        "isotropic_high": straight.high,
        "p_isotropic": straight.p,
        "covariance": drawn.mean,
        "covariance_high": drawn.high,
        "p_covariance": drawn.p,
    }


def version_pairs(tags: Sequence[str], versions: Sequence[Measured]) -> tuple[VersionPair, ...]:
    """Cosines of the own displacements of each two versions, each from other lines."""
    pairs = []
    for place, first in enumerate(versions):
        for second in versions[place + 1 :]:
            shared = [tag for tag in tags if tag in first.halves and tag in second.halves]
            cosines = {tag: cross_cosine(first.halves[tag], second.halves[tag]) for tag in shared}
            pairs.append(VersionPair(first.drift.name, second.drift.name, cosines))
    return tuple(pairs)


def cross_cosine(first: Tensor, second: Tensor) -> tuple[float, ...]:
    """Cosine by layer of two displacements, each [2 halves of the lines, layers, hidden].

    Products are of different halves, so that sentences in common do not make for likeness.
    """
    first, second = first.double(), second.double()
    between = ((first[0] * second[1]).sum(1) + (first[1] * second[0]).sum(1)) / 2
    squares = [(side[0] * side[1]).sum(1) for side in (first, second)]
    known = (squares[0] > 0) & (squares[1] > 0)
    below = (squares[0] * squares[1]).clamp(min=torch.finfo(torch.float64).tiny).sqrt()
    cosines = torch.where(known, (between / below).clamp(-1, 1), NAN)
    return tuple(cosines.tolist())
