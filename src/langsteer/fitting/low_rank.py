"""Low rank: a vector that depends a little on the token, learned by the same descent as `learned`.

At the output of layer l and the tokens of the text, with z the state h standardised in each dimension,

    h ← h + v + U A z        U [hidden, r], A [r, hidden]

v starts as `learned` does, and A from zero, so that what is learned first is a vector. This is DiReFT (Wu et
al., arXiv 2404.03592) with a bias that is not bound to the span of U. Saved as a projection with the map
I + U A diag(1 ÷ deviation).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from langsteer.errors import FitError
from langsteer.fitting.descent import Descent, DescentOptions, Pairs, step_rate
from langsteer.fitting.options import STRENGTHS, check_corpus, chosen_layer
from langsteer.fitting.projection import Projection
from langsteer.fitting.search import check_strengths, search
from langsteer.model.model import Model
from langsteer.text.corpus import ParallelCorpus

NAME = "low_rank"


@dataclass(frozen=True)
class LowRankOptions(DescentOptions):
    """Options of `descent`, and `rank`: r."""

    steps: int = 200
    rank: int = 16


class _LowRank:
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

    def as_map(self) -> tuple[Tensor, Tensor]:
        """W [hidden, hidden] and b [hidden], so that the changed state is W h + b."""
        vector, up, down = (p.detach() for p in self.parameters.values())
        moved = (up @ down) / self.deviation
        return torch.eye(len(vector)) + moved, vector - moved @ self.centre


def fit(
    model: Model,
    corpus: ParallelCorpus,
    options: LowRankOptions = LowRankOptions(),
    checkpoint: str | Path | None = None,
) -> Projection:
    """Fit at one layer; arguments and errors as of `learned.fit`."""
    if options.rank < 1:
        raise FitError(f"the rank must be 1 or more, not {options.rank}")
    layer = chosen_layer(model, options)
    descent = Descent(model, corpus, [layer], options)

    def make(pairs: Pairs, start: Tensor) -> _LowRank:
        return _LowRank(pairs, start, options)

    found = descent.run(layer, make, checkpoint)
    matrix, offset = found.change.as_map()
    return Projection(
        maps={layer: matrix},
        offsets={layer: offset},
        language=corpus.language,
        pivot=corpus.pivot,
        model={"name": model.name, "fingerprint": model.fingerprint},
        alpha=options.strength,
        positions=options.acts_at,
        options={"method": NAME, **asdict(options), "layer": layer},
        corpus=corpus.describe(),
        scores={"loss": list(found.losses)},
    )


def learn_low_rank(
    model: Model,
    corpus: ParallelCorpus,
    language: str | None = None,
    *,
    strengths: Sequence[float] = STRENGTHS,
    checkpoint: str | Path | None = None,
    **options: Any,
) -> Projection:
    """Fit on one part of the corpus, and choose the strength on another, as `langsteer.learn` does.

    `options` are those of LowRankOptions. Raises FitError.
    """
    pair = corpus.only(language) if language is not None else corpus
    check_corpus(pair)
    check_strengths(strengths)
    parts = pair.split(fit=0.8, choose=0.2, report=0.0)
    found = fit(model, parts["fit"], LowRankOptions(**options), checkpoint)
    best = search(model, parts["choose"], [found], strengths)
    if checkpoint is not None:
        Path(checkpoint).unlink(missing_ok=True)
    return best
