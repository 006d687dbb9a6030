"""Candidates that are learned from the items to choose on: a vector along the mean gradient of the right answers' log
share, where half of the items says most of the others.

An item is scored by the vector of those at the other half of the places; what is reported on other items, and written,
is the vector of all.
"""

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from langsteer.diagnosis.fits import Candidate, used_crosswise
from langsteer.diagnosis.items import TaskItems
from langsteer.diagnosis.scoring import Asked
from langsteer.diagnosis.slopes import KINDS, Slopes, one_nat_along, slopes
from langsteer.diagnosis.trials import Trials
from langsteer.errors import FitError, LangsteerError
from langsteer.model.model import Model
from langsteer.states.intervention import PositionKind
from langsteer.steering.folder import load
from langsteer.steering.vector import SteeringVector

LABEL = "labels"
CHOICES = 3  # of an item that has more: the right one, and others drawn at random
FEWEST = 32  # items, of which half would say little of the others
MOST = 240
PLACES = 3
APART = 3  # layers, of two places of a kind
STRENGTHS = (0.3, 1.0)  # in nats an item, to the first order
PARTS = ("all", "even", "odd")  # what the vectors of a place are for: other items, and either half

Place = tuple[int, PositionKind]
Vectors = tuple[SteeringVector, ...]
"""Of a place, those of PARTS"""


def labelled_candidates(
    model: Model,
    task: TaskItems,
    asked: Asked,
    biases: Tensor | None,
    folder: Path,
    trials: Trials,
) -> list[Candidate]:
    """Vectors from the items' right answers, at the likelier places; those kept in `folder` are read.

    `biases` [choices] are taken off the scores. None where the items are too few, and where no
    gradient passes through the model's weights.
    """
    count = min(len(asked.right), MOST)
    if count < FEWEST:
        return []
    asked = asked.part(range(count))
    told = trials.told(LABEL)
    kept = None if told is None else _read(model, folder, told["places"])
    if kept is None:
        try:
            kept = _learned(model, task, asked, biases)
        except FitError:
            return []
        for (layer, kind), own in kept.items():
            for part, vector in zip(PARTS, own, strict=True):
                vector.save(_file(folder, layer, kind, part))
        trials.tell(LABEL, places=[list(place) for place in kept], items=count)
    return [
        used_crosswise(LABEL, own, strength)
        for strength in STRENGTHS[::-1]
        for own in kept.values()
    ]


def _learned(
    model: Model, task: TaskItems, asked: Asked, biases: Tensor | None
) -> dict[Place, Vectors]:
    there = slopes(model, asked, biases, progress="Learning from the right answers")

    def vector(layer: int, kind: PositionKind, values: Tensor, lines: int) -> SteeringVector:
        return SteeringVector(
            values=values,
            layer=layer,
            language=task.language,
            pivot="en",
            model={"name": model.name, "fingerprint": model.fingerprint},
            method=LABEL,
            positions=kind,
            corpus={"name": f"items of {task.source}", "lines": lines},
        )

    made: dict[Place, Vectors] = {}
    lines = (sum(there.counts), *there.counts[::-1])
    for layer, kind in _places(model, there):
        values = [one_nat_along(there.mean(layer, kind)), *there.crossed(layer, kind)]
        made[layer, kind] = tuple(
            vector(layer, kind, own, count) for own, count in zip(values, lines, strict=True)
        )
    return made


def _places(model: Model, there: Slopes) -> list[Place]:
    """Where half of the items wins most of the other, by turns, to the first order."""
    held: dict[Place, float] = {}
    for layer in range(model.layers - 1):
        for kind in KINDS:
            won = there.held_out(layer, kind, there.crossed(layer, kind))
            if won > 0:
                held[layer, kind] = won
    places: list[Place] = []
    for layer, kind in sorted(held, key=lambda place: -held[place]):
        same = any(held[layer, kind] == held[place] for place in places)
        near = any(k == kind and abs(at - layer) < APART for at, k in places)
        if not same and not near and len(places) < PLACES:
            places.append((layer, kind))
    return places


def _read(
    model: Model, folder: Path, places: Sequence[tuple[int, PositionKind]]
) -> dict[Place, Vectors] | None:
    made: dict[Place, Vectors] = {}
    for layer, kind in places:
        own: list[SteeringVector] = []
        for part in PARTS:
            try:
                change = load(_file(folder, layer, kind, part), model)
            except LangsteerError:
                return None
            if not isinstance(change, SteeringVector):
                return None
            own.append(change)
        made[layer, kind] = tuple(own)
    return made


def _file(folder: Path, layer: int, kind: PositionKind, part: str) -> Path:
    return folder / f"{LABEL}.{layer}.{kind}.{part}.safetensors"
