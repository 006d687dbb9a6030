"""Low rank: a vector that depends a little on the token, learned by the same descent as `learned`.

At the output of layer l and the tokens of the text, with z the state h standardised in each dimension,

    h ← h + v + U A z        U [hidden, r], A [r, hidden]

v starts as `learned` does, and A from zero, so that what is learned first is a vector. This is DiReFT (Wu et
al., arXiv 2404.03592) with a bias that is not bound to the span of U.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from pydantic import PositiveInt
from torch import Tensor

from langsteer.errors import FitError
from langsteer.fitting.descent import Descent, DescentOptions, Pairs, checkpoint_files, step_rate
from langsteer.fitting.options import Method, chosen_layer
from langsteer.fitting.readings import PivotReadings
from langsteer.model.model import Model
from langsteer.steering.low_rank import LowRank
from langsteer.text.corpus import ParallelCorpus

NAME = "low_rank"


@dataclass(frozen=True)
class LowRankOptions(DescentOptions):
    """Options of `descent`, and `rank`: r."""

    steps: PositiveInt = 200
    rank: PositiveInt = 16


class _Learned:
    """What is learned: v, U and A."""

    def __init__(self, pairs: Pairs, start: Tensor, options: LowRankOptions) -> None:
        self.centre, self.deviation = pairs.token_moments()
        size, rank = len(start), options.rank
        random = torch.Generator().manual_seed(options.seed)
        up = torch.randn(size, rank, generator=random) * pairs.norm / size**0.5
        rate = step_rate(options, pairs)
        self.parameters = {
            "vector": start.clone().requires_grad_(True),
            "up": up.requires_grad_(True),
            "down": torch.zeros(rank, size).requires_grad_(True),
        }
        # A column of U is as long as a state: a step moves what A gives, a share of one, by the rate.
        self.rates = {"vector": rate, "up": rate, "down": options.rate / size}

    def shift(self, states: Tensor) -> Tensor:
        vector, up, down = (p.to(states.device) for p in self.parameters.values())
        centre, deviation = self.centre.to(states.device), self.deviation.to(states.device)
        return vector + ((states.float() - centre) / deviation) @ down.T @ up.T

    def in_states(self) -> tuple[Tensor, Tensor, Tensor]:
        """values [hidden], up [hidden, r] and down [r, hidden] of a map of states as they are."""
        vector, up, down = (p.detach() for p in self.parameters.values())
        scaled = down / self.deviation
        return vector - up @ (scaled @ self.centre), up, scaled


def fit(
    model: Model,
    corpus: ParallelCorpus,
    options: LowRankOptions = LowRankOptions(),
    checkpoint: str | Path | None = None,
) -> LowRank:
    """Fit at one layer; arguments and errors as of `learned.fit`."""
    return _fit(model, corpus, [chosen_layer(model, options)], options, [checkpoint], None)[0]


def fit_layers(
    model: Model,
    corpus: ParallelCorpus,
    layers: Sequence[int],
    options: LowRankOptions = LowRankOptions(),
    readings: PivotReadings | None = None,
    checkpoint: str | Path | None = None,
) -> list[LowRank]:
    """Fit at several layers, with the same targets; `checkpoint` is the stem of a file a layer."""
    files = checkpoint_files(checkpoint, layers)
    return _fit(model, corpus, layers, options, files, readings)


def _fit(
    model: Model,
    corpus: ParallelCorpus,
    layers: Sequence[int],
    options: LowRankOptions,
    checkpoints: Sequence[str | Path | None],
    readings: PivotReadings | None,
) -> list[LowRank]:
    if options.rank < 1:
        raise FitError(f"the rank must be 1 or more, not {options.rank}")
    descent = Descent(model, corpus, layers, options, readings)

    def make(pairs: Pairs, start: Tensor) -> _Learned:
        return _Learned(pairs, start, options)

    maps = []
    for layer, file in zip(layers, checkpoints, strict=True):
        descended = descent.run(layer, make, file)
        values, up, down = descended.change.in_states()
        maps.append(
            LowRank(
                values=values,
                up=up,
                down=down,
                layer=layer,
                language=corpus.language,
                pivot=corpus.pivot,
                model={"name": model.name, "fingerprint": model.fingerprint},
                method=NAME,
                strength=options.strength,
                positions=options.acts_at,
                state_norm=descended.state_norm,
                options={**asdict(options), "layer": layer},
                corpus=corpus.describe(),
                loss=descended.losses,
            )
        )
    return maps


METHOD = Method(NAME, fit, LowRankOptions, fit_layers, resumable=True, title="low-rank map")
