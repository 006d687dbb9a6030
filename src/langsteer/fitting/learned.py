"""Learned: gradient descent on the vector alone, at the tokens of the text (see `descent`)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from langsteer.fitting.descent import Descent, DescentOptions, Pairs, checkpoint_files, step_rate
from langsteer.fitting.options import Method, chosen_layer, make_vector
from langsteer.fitting.readings import PivotReadings
from langsteer.model.model import Model
from langsteer.states.intervention import PositionKind
from langsteer.steering.vector import SteeringVector
from langsteer.text.corpus import ParallelCorpus

NAME = "learned"
STRENGTH = 0.75


@dataclass(frozen=True)
class LearnedOptions(DescentOptions):
    """Options of `descent`.

    A vector with the objective `centred` acts at all of the prompt, at one strength, unless told
    otherwise: those did best on development items, and the search, which counts that a vector moves
    what the model says after any text, stops short of them (docs/notes/choosing-the-strength.md).
    """

    @property
    def acts_at(self) -> PositionKind:
        return self.positions or ("prompt" if self.objective == "centred" else "source")

    @property
    def usual_strengths(self) -> tuple[float, ...]:
        return (STRENGTH,) if self.objective == "centred" else super().usual_strengths


def fit(
    model: Model,
    corpus: ParallelCorpus,
    options: LearnedOptions = LearnedOptions(),
    checkpoint: str | Path | None = None,
    readings: PivotReadings | None = None,
) -> SteeringVector:
    """Fit a vector; `loss` of the result is the mean loss of every 25 steps.

    With `checkpoint`, progress is saved there as often, and an interrupted fit with the
    same model, corpus and options goes on from it. Raises FitError where the layer has none above
    it, and StateError where states or the loss are not finite.
    """
    layer = chosen_layer(model, options)
    return _fit(model, corpus, [layer], options, [checkpoint], readings)[0]


def fit_layers(
    model: Model,
    corpus: ParallelCorpus,
    layers: Sequence[int],
    options: LearnedOptions = LearnedOptions(),
    readings: PivotReadings | None = None,
    checkpoint: str | Path | None = None,
) -> list[SteeringVector]:
    """Fit at several layers, with the same targets; `checkpoint` is the stem of a file a layer."""
    return _fit(model, corpus, layers, options, checkpoint_files(checkpoint, layers), readings)


class _Vector:
    """A vector to learn."""

    def __init__(self, start: Tensor, rate: float) -> None:
        self.parameters = {"vector": start.clone().requires_grad_(True)}
        self.rates = {"vector": rate}

    def shift(self, states: Tensor) -> Tensor:
        return self.parameters["vector"].to(states.device)


def _fit(
    model: Model,
    corpus: ParallelCorpus,
    layers: Sequence[int],
    options: LearnedOptions,
    checkpoints: Sequence[str | Path | None],
    readings: PivotReadings | None,
) -> list[SteeringVector]:
    descent = Descent(model, corpus, layers, options, readings)

    def make(pairs: Pairs, start: Tensor) -> _Vector:
        return _Vector(start, step_rate(options, pairs))

    vectors = []
    for layer, file in zip(layers, checkpoints, strict=True):
        descended = descent.run(layer, make, file)
        vectors.append(
            make_vector(
                model,
                corpus,
                replace(options, layer=layer),
                values=descended.change.parameters["vector"].detach(),
                layer=layer,
                method=NAME,
                state_norm=descended.state_norm,
                loss=descended.losses,
            )
        )
    return vectors


METHOD = Method(NAME, fit, LearnedOptions, fit_layers, resumable=True)
