"""Candidates that are learned from the items to choose on and their English: mean differences and projections of
the prompts, which say more of this task's wording than parallel text does, and nothing of which answers are right.

An item is scored by what is learned from those at the other half of the places; what is reported on other items, and
written, is learned from all.
"""

from collections.abc import Sequence

from torch import Tensor

from langsteer.diagnosis.fits import DEPTHS, Candidate, used
from langsteer.diagnosis.items import TaskItem, TaskItems
from langsteer.fitting.projection import Moments, layers_at
from langsteer.model.model import Model
from langsteer.model.tokens import encode
from langsteer.states.capture import sentence_states
from langsteer.steering.change import Change
from langsteer.steering.projection import Projection
from langsteer.steering.vector import SteeringVector

DIFFERENCE, PROJECTED = "mean_difference of items", "projection of items"
FEWEST, MOST = 32, 240  # items
STRENGTHS = (0.5, 1.0)
MAPPED_DEPTHS = (0.2, 0.1, 0.3)
MAP_STRENGTH = 0.5
RIDGE = 1.0  # relative to the mean square of the states' numbers

Halves = tuple[Change, Change, Change]
"""What is learned from all items, for items at even places, and for those at odd ones"""


def translated_candidates(
    model: Model, task: TaskItems, items: Sequence[TaskItem]
) -> list[Candidate]:
    """Mean differences and projections from `items` and their English, the likelier first; none where they are
    too few, and where some have no English or are asked in it already.
    """
    items = items[:MOST]
    pairs = [(i.own.prompt, i.english.prompt) for i in items if i.english is not None]
    if len(items) < FEWEST or len(pairs) < len(items) or all(own == e for own, e in pairs):
        return []
    layers = list(dict.fromkeys(layers_at(model, DEPTHS)))
    here, there = (
        sentence_states(model, encode(model, list(texts)), layers, progress="The items' English")
        for texts in zip(*pairs, strict=True)
    )
    fits = _ItemFits(model, task, here, there, layers)
    mapped = [fits.projections(layer) for layer in layers_at(model, MAPPED_DEPTHS)]
    differences = [fits.differences(layer) for layer in layers]
    first, rest = STRENGTHS[0], STRENGTHS[1:]
    return [
        *(_candidate(PROJECTED, own, MAP_STRENGTH) for own in mapped),
        *(
            _candidate(DIFFERENCE, own, strength)
            for strength in (first, *rest)
            for own in differences
        ),
    ]


def _candidate(label: str, own: Halves, strength: float) -> Candidate:
    whole, even, odd = own
    made = used(label, whole, "source", strength)
    halves = (even.with_strength(strength), odd.with_strength(strength))
    return Candidate(made.name, made.change, "", halves)


class _ItemFits:
    """Fits on states of the items [items, layers, hidden] in the language and in English."""

    def __init__(
        self, model: Model, task: TaskItems, here: Tensor, there: Tensor, layers: Sequence[int]
    ) -> None:
        self.here, self.there, self.layers = here, there, list(layers)
        self.about = {
            "language": task.language,
            "pivot": "en",
            "model": {"name": model.name, "fingerprint": model.fingerprint},
            "positions": "source",
            "corpus": {"name": f"items of {task.source}", "lines": len(here)},
        }

    def differences(self, layer: int) -> Halves:
        return self._halves(layer, self._difference)

    def projections(self, layer: int) -> Halves:
        return self._halves(layer, self._projection)

    def _halves(self, layer: int, fit: object) -> Halves:
        place = self.layers.index(layer)
        here, there = self.here[:, place], self.there[:, place]
        odd, even = slice(1, None, 2), slice(0, None, 2)
        # for items at even places, from those at odd ones
        return tuple(fit(layer, here[own], there[own]) for own in (slice(None), odd, even))  # type: ignore

    def _difference(self, layer: int, here: Tensor, there: Tensor) -> Change:
        return SteeringVector((there - here).mean(0), layer, method="mean_difference", **self.about)  # type: ignore

    def _projection(self, layer: int, here: Tensor, there: Tensor) -> Change:
        moments = Moments(here.shape[1])
        moments.add(here, there)
        matrix, offset = (own.float() for own in moments.solve(RIDGE, intercept=True))
        return Projection({layer: matrix}, {layer: offset}, method="projection", **self.about)  # type: ignore
