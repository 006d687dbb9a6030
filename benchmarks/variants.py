"""Other ways to use the vector that `learned` gives, for benchmarks.strength.

kept:      each state keeps its length: it is turned by the vector and not made longer
scaled:    each state is moved by the vector in proportion to its own length
priorless: the vector without the directions that move what the model says after any text: with δ the mean change
           of the final-norm states at words after the text, in the metric of the output, the direction is the
           gradient of δ · (the same) with respect to the vector; three of them, each at what is left of the vector
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from langsteer.capture import visit_states
from langsteer.corpus import ParallelCorpus
from langsteer.fitting.search import Measure
from langsteer.intervention import Intervention, PositionKind, intervene
from langsteer.models import Model, frozen
from langsteer.tokens import batches, encode, pad_mask
from langsteer.vector import SteeringVector

NAMES = ("kept", "scaled", "priorless")
LINES = 60  # to know a mean by
DIRECTIONS = 3


@dataclass(frozen=True, eq=False)
class Moved:
    """A change that depends on the state: `move` maps states and what is added to them to new ones."""

    vector: SteeringVector
    move: Callable[[Tensor, Tensor], Tensor]
    strength: float = 1.0
    positions: PositionKind = "source"

    def with_strength(self, strength: float) -> "Moved":
        return replace(self, strength=strength)

    def interventions(self, strength: float | None = None) -> Sequence[Intervention]:
        by = self.strength if strength is None else strength
        added = by * self.vector.values

        def change(hidden: Tensor) -> Tensor:
            return self.move(hidden.float(), added.to(hidden.device)).to(hidden)

        return [Intervention(self.vector.layer, change)]


def made(
    model: Model, text: ParallelCorpus, name: str, own: SteeringVector
) -> Moved | SteeringVector:
    """The variant `name` of a language's vector."""
    if name == "kept":
        return Moved(own, _turned)
    if name == "scaled":
        return Moved(own, functools.partial(_scaled, _mean_length(model, text, own.layer)))
    return _without_prior(model, text, own)


def _turned(states: Tensor, added: Tensor) -> Tensor:
    moved = states + added
    return moved * states.norm(dim=-1, keepdim=True) / moved.norm(dim=-1, keepdim=True)


def _scaled(usual: float, states: Tensor, added: Tensor) -> Tensor:
    return states + added * states.norm(dim=-1, keepdim=True) / usual


def _mean_length(model: Model, text: ParallelCorpus, layer: int) -> float:
    """Mean length of the states of the text's tokens at a layer."""
    tokens = encode(model, text.texts[text.language][:LINES])
    total, count = 0.0, 0
    for index in batches(tokens):
        source = pad_mask([tokens[i].source for i in index]).to(model.device)
        found: dict[int, Tensor] = {}
        inputs = model.batch([tokens[i].ids for i in index])
        visit_states(model, inputs, [layer], found.__setitem__)
        lengths = found[layer].float().norm(dim=-1)[source]
        total, count = total + float(lengths.sum()), count + len(lengths)
    return total / count


def _without_prior(model: Model, text: ParallelCorpus, own: SteeringVector) -> SteeringVector:
    measure = Measure(model, text.lines(range(LINES)))
    directions: list[Tensor] = []
    values = own.values
    with frozen(model):
        unmoved, _ = _mean_after(model, measure, own.layer, torch.zeros_like(values))
        for _ in range(DIRECTIONS):
            moved, _ = _mean_after(model, measure, own.layer, values)
            _, slope = _mean_after(model, measure, own.layer, values, moved - unmoved)
            directions.append(slope)
            basis, _ = torch.linalg.qr(torch.stack(directions, 1))
            values = own.values - basis @ (basis.T @ own.values)
    return replace(own, values=values)


def _mean_after(
    model: Model, measure: Measure, layer: int, values: Tensor, towards: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The mean of the final-norm states after the texts, in the metric, with `values` added [hidden].

    Second, the gradient of its product with `towards` with respect to what is added; else zeros.
    """
    added = values.to(model.dtype).clone().requires_grad_(towards is not None)
    mean = torch.zeros(model.hidden_size)
    for index in batches(measure.texts, 512):
        inputs = model.batch([measure.texts[i].ids for i in index])
        source = pad_mask([measure.texts[i].source for i in index])
        item = Intervention(layer, functools.partial(torch.add, added))
        with (
            intervene(model, [item], "source", source),
            torch.set_grad_enabled(towards is not None),
        ):
            last = model.run_decoder(inputs)[:, -1].float() @ measure.english.root
            part = last.sum(0) / len(measure.texts)
        if towards is not None:
            (part @ towards).backward()  # type: ignore[no-untyped-call]
        mean += part.detach()
    return mean, torch.zeros_like(mean) if added.grad is None else added.grad.float()
