"""Candidates that are learned from the items to choose on and their English: mean differences and projections of
the prompts, which know more of the task's wording than parallel text does, and nothing of which answers are right.

An item is scored by what is learned from those at the other half of the places; what is reported on other items, and
written, is learned from all.
"""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from langsteer.diagnosis.fits import DEPTHS, Candidate, used_crosswise
from langsteer.diagnosis.items import TaskItem, TaskItems
from langsteer.diagnosis.reach import linear_map
from langsteer.fitting.projection import layers_at
from langsteer.model.model import Model
from langsteer.model.tokens import encode
from langsteer.states.capture import sentence_states
from langsteer.states.intervention import PositionKind
from langsteer.steering.change import Change
from langsteer.steering.projection import Projection
from langsteer.steering.vector import SteeringVector

OF_ITEMS = " of items"  # in the names of what is learned from them
DIFFERENCE, PROJECTED = f"mean_difference{OF_ITEMS}", f"projection{OF_ITEMS}"
FEWEST, MOST = 32, 240  # items
STRENGTHS = (0.5, 1.0)
MAPPED_DEPTHS, MAP_STRENGTHS = (0.2, 0.1, 0.3), (0.5,)
POSITIONS: PositionKind = "source"
PARTS = (slice(None), slice(1, None, 2), slice(0, None, 2))
"""Items that are learned from: for other items, for those at even places, and for those at odd ones"""

Fit = Callable[[int, Tensor, Tensor], Change]
"""A change at a layer from states in the language and in English, float32 [items, hidden] each"""


def translated_candidates(
    model: Model, task: TaskItems, items: Sequence[TaskItem]
) -> list[Candidate]:
    """Projections and mean differences from `items` and their English, by turns, the likelier first; none
    where there are too few, or not of all the English, or the prompts are in English already.
    """
    items = items[:MOST]
    pairs = [(i.own.prompt, i.english.prompt) for i in items if i.english is not None]
    if len(items) < FEWEST or len(pairs) < len(items) or all(own == e for own, e in pairs):
        return []
    layers = list(dict.fromkeys([*layers_at(model, DEPTHS), *layers_at(model, MAPPED_DEPTHS)]))
    here, there = (
        sentence_states(model, encode(model, texts), layers, progress=f"The items in {side}")
        for side, texts in zip(
            (task.language, "English"), map(list, zip(*pairs, strict=True)), strict=True
        )
    )
    about = {
        "language": task.language,
        "pivot": "en",
        "model": {"name": model.name, "fingerprint": model.fingerprint},
        "positions": POSITIONS,
        "corpus": {"name": f"items of {task.source}", "lines": len(items)},
    }
    differences, projections = _fits(about)
    tried: list[tuple[str, Fit, Sequence[float], Sequence[float]]] = [
        (PROJECTED, projections, MAPPED_DEPTHS, MAP_STRENGTHS),
        (DIFFERENCE, differences, DEPTHS, STRENGTHS),
    ]
    candidates = []
    for label, fit, depths, strengths in tried:
        made = []
        for layer in dict.fromkeys(layers_at(model, depths)):
            place = layers.index(layer)
            own = here[:, place], there[:, place]
            made.append([fit(layer, *(side[part] for side in own)) for part in PARTS])
        candidates += [used_crosswise(label, own, s) for s in strengths for own in made]
    return candidates


def _fits(about: dict[str, Any]) -> tuple[Fit, Fit]:
    def difference(layer: int, here: Tensor, there: Tensor) -> Change:
        return SteeringVector((there - here).mean(0), layer, method="mean_difference", **about)

    def projection(layer: int, here: Tensor, there: Tensor) -> Change:
        matrix, offset = linear_map(here, there)
        return Projection({layer: matrix}, {layer: offset}, method="projection", **about)

    return difference, projection
