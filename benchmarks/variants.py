"""Other ways to use the vector that `learned` gives, for benchmarks.strength.

kept:      each state keeps its length: it is turned by the vector and not made longer
scaled:    each state is moved by the vector in proportion to its own length
priorless: the vector without the directions that move what the model says after any text: with δ the mean change
           of the final-norm states at words after the text, in the metric of the output, the direction is the
           gradient of δ · (the same) with respect to the vector; three of them, each at what is left of the vector
"""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from benchmarks.common import Moved
from langsteer.fitting.search import Measure
from langsteer.model.model import Model, frozen
from langsteer.model.tokens import batches, pad_mask
from langsteer.states.capture import capture
from langsteer.states.intervention import Intervention, intervene
from langsteer.steering.vector import SteeringVector
from langsteer.text.corpus import ParallelCorpus

NAMES = ("kept", "scaled", "priorless")
LINES = 60  # to know a mean by
DIRECTIONS = 3


def variant(
    model: Model, text: ParallelCorpus, name: str, own: SteeringVector
) -> Moved | SteeringVector:
    """The variant `name` of a language's vector."""
    if name == "priorless":
        return _without_prior(model, text, own)
    usual = _mean_length(model, text, own.layer) if name == "scaled" else 1.0

    def move(states: Tensor, strength: float) -> Tensor:
        before = states.float()
        length = before.norm(dim=-1, keepdim=True)
        added = strength * own.values.to(states.device)
        if name == "scaled":
            return (before + added * length / usual).to(states)
        after = before + added
        return (after * length / after.norm(dim=-1, keepdim=True)).to(states)

    return Moved(own.layer, move)


def _mean_length(model: Model, text: ParallelCorpus, layer: int) -> float:
    """Mean length of the states of the text's tokens at a layer."""
    lines = text.texts[text.language][:LINES]
    return float(token_states(model, lines, layer).norm(dim=-1).mean())


def token_states(model: Model, lines: Sequence[str], layer: int) -> Tensor:
    """States of all tokens of the lines, float64 [tokens, hidden]."""
    parts = capture(model, lines, [layer])
    return torch.cat([part.layers[layer][part.source].double() for part in parts])


def _without_prior(model: Model, text: ParallelCorpus, own: SteeringVector) -> SteeringVector:
    measure = Measure(model, text.lines(range(LINES)))
    directions: list[Tensor] = []
    values = own.values
    with frozen(model):
        unmoved = _mean_after(model, measure, own.layer, torch.zeros_like(values))
        for _ in range(DIRECTIONS):
            apart = _mean_after(model, measure, own.layer, values) - unmoved
            directions.append(_slope(model, measure, own.layer, values, apart))
            basis, _ = torch.linalg.qr(torch.stack(directions, 1))
            values = own.values - basis @ (basis.T @ own.values)
    return replace(own, values=values)


def _mean_after(model: Model, measure: Measure, layer: int, values: Tensor) -> Tensor:
    """The mean of the final-norm states after the texts, in the metric, with `values` added [hidden]."""
    add = Intervention(layer, functools.partial(torch.add, values.to(model.dtype)))
    with torch.no_grad():
        parts = [last.sum(0) for _, last in last_states(model, measure, [add])]
    return torch.stack(parts).sum(0) @ measure.english.root / len(measure.texts)


def _slope(model: Model, measure: Measure, layer: int, values: Tensor, towards: Tensor) -> Tensor:
    """The gradient of the product of that mean with `towards`, with respect to `values`."""
    added = values.to(model.dtype).clone().requires_grad_(True)
    add = Intervention(layer, functools.partial(torch.add, added))
    for _, last in last_states(model, measure, [add]):
        product = (last @ measure.english.root).sum(0) @ towards / len(measure.texts)
        product.backward()  # type: ignore[no-untyped-call]
    assert added.grad is not None
    return added.grad.float()


def last_states(
    model: Model, measure: Measure, items: Sequence[Intervention]
) -> Iterator[tuple[list[int], Tensor]]:
    """For each batch of the measure's texts: which they are, and their last final-norm states.

    Float32 [rows, hidden], with the interventions at the text's tokens.
    """
    for index in batches(measure.texts, 512):
        inputs = model.batch([measure.texts[i].ids for i in index])
        source = pad_mask([measure.texts[i].source for i in index])
        with intervene(model, items, "source", source):
            last = model.run_decoder(inputs)[:, -1].float()
        yield index, last
