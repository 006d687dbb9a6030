"""More than one vector at one layer: a gate that decides a token whether to steer, and two vectors to choose from.

With z the state, standardised in each dimension, a token is moved by Σₖ softmax(G z + b)ₖ vₖ: for `gate` v₂ is 0, for
`two` both are learned. By the descent of `learned`, in twice its steps. Tried in benchmarks.strength, and not in the
package.
"""

import torch
from torch import Tensor

from benchmarks.common import Moved
from langsteer.fitting.descent import Descent, DescentOptions, Pairs, step_rate
from langsteer.model.model import Model
from langsteer.text.corpus import ParallelCorpus

NAMES = ("gate", "two")
STEPS = 200
OPEN = 2.0  # the gate's logit at the start: 0.88 of the vector
APART = 0.05  # deviation of the gates' numbers at the start, so that two vectors can part
GATE_RATE = 10.0  # of the rate of a vector


class _Gated:
    def __init__(self, pairs: Pairs, start: Tensor, options: DescentOptions, name: str) -> None:
        self.name = name
        self.centre, self.deviation = pairs.token_moments()
        size = len(start)
        rate = step_rate(options, pairs)
        random = torch.Generator().manual_seed(options.seed)
        gates = torch.randn(2, size, generator=random) * APART
        bias = torch.zeros(2)
        vectors = start.repeat(2, 1)
        if name == "gate":
            gates, bias, vectors = torch.zeros(2, size), torch.tensor([OPEN, 0.0]), start[None]
        self.parameters = {
            "vectors": vectors.clone().requires_grad_(True),
            "gates": gates.requires_grad_(True),
            "bias": bias.requires_grad_(True),
        }
        gate_rate = GATE_RATE * options.rate
        self.rates = {"vectors": rate, "gates": gate_rate / size, "bias": gate_rate}

    def shift(self, states: Tensor) -> Tensor:
        vectors, gates, bias = self.parameters.values()
        z = (states.float() - self.centre) / self.deviation
        shares = torch.softmax(z @ gates.T + bias, -1)
        return shares[..., : len(vectors)] @ vectors


def fit(model: Model, corpus: ParallelCorpus, layer: int, name: str) -> Moved:
    options = DescentOptions(steps=STEPS)
    descent = Descent(model, corpus, [layer], options)
    learned = descent.run(layer, lambda pairs, start: _Gated(pairs, start, options, name), None)

    def move(states: Tensor, strength: float) -> Tensor:
        with torch.no_grad():
            return states + (strength * learned.change.shift(states)).to(states)

    return Moved(layer, move)
