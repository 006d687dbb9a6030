"""Which layer and which strength: those at which the model reads the language most as it reads English.

On pairs that were not fitted on, and without task labels: the mean over pairs of
KL( p(· | e, w) ‖ p(· | s + v, w) ), the next-token distributions after the same English words w, which are
other words than the ones `learned` fits with.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from langsteer.corpus import ParallelCorpus
from langsteer.errors import FitError
from langsteer.fitting.common import check_corpus
from langsteer.models import Model, frozen
from langsteer.progress import track
from langsteer.tokens import Tokens, batches, encode, encode_suffix, pad_mask
from langsteer.vector import SteeringVector

STRENGTHS = (0.25, 0.5, 0.75, 1.0, 1.5)
SUFFIXES = ("\nA headline for this text:", "\nThe subject of the text above is")


@dataclass(frozen=True)
class Trial:
    """One layer and strength, and how far the steered model is from the English one (nats)."""

    layer: int
    strength: float
    divergence: float


def search(
    model: Model,
    corpus: ParallelCorpus,
    fit_layer: Callable[[int], SteeringVector],
    layers: Sequence[int],
    strengths: Sequence[float] = STRENGTHS,
) -> SteeringVector:
    """The best of the vectors that `fit_layer` gives at `layers`, at its best strength.

    `corpus` must share no line with what is fitted on. The result's `scores` hold every trial and
    the divergence without steering, which says whether steering helped at all.
    """
    language = check_corpus(corpus)
    if not layers or not strengths:
        raise FitError("a search needs at least one layer and one strength")
    measure = _Measure(model, corpus, language)
    vectors = {layer: fit_layer(layer) for layer in layers}
    trials = []
    grid = [(layer, strength) for layer in layers for strength in strengths]
    for layer, strength in track(grid, "Choosing layer and strength", len(grid)):
        found = measure(vectors[layer], strength)
        trials.append(Trial(layer, strength, found))
    best = min(trials, key=lambda t: t.divergence)
    scores = {
        "divergence": best.divergence,
        "divergence_unsteered": measure(None, 0.0),
        "chosen_on": corpus.describe(),
        "trials": [vars(trial) for trial in trials],
    }
    return replace(vectors[best.layer], strength=best.strength, scores=scores)


class _Measure:
    def __init__(self, model: Model, corpus: ParallelCorpus, language: str) -> None:
        self.model = model
        suffixes = [encode_suffix(model, text) for text in SUFFIXES]
        self.texts = self._with(corpus.texts[language], suffixes)
        pivots = self._with(corpus.texts[corpus.pivot], suffixes)
        self.english = torch.cat([self._last(pivots, i) for i in batches(pivots)])
        order = [i for group in batches(pivots) for i in group]
        self.english = self.english[torch.tensor(order).argsort()]

    def __call__(self, vector: SteeringVector | None, strength: float) -> float:
        total = 0.0
        for index in batches(self.texts):
            found = self._last(self.texts, index, vector, strength)
            wanted = self.english[index]
            total += float((wanted.exp() * (wanted - found)).sum())
        return total / len(self.texts)

    def _with(self, texts: Sequence[str], suffixes: Sequence[list[int]]) -> list[Tokens]:
        encoded = encode(self.model, texts)
        return [t.followed_by(suffixes[i % len(suffixes)]) for i, t in enumerate(encoded)]

    def _last(
        self,
        tokens: Sequence[Tokens],
        index: Sequence[int],
        vector: SteeringVector | None = None,
        strength: float = 0.0,
    ) -> Tensor:
        """Log-probabilities of the next token [rows, vocabulary]."""
        inputs = self.model.batch([tokens[i].ids for i in index])
        with torch.inference_mode(), frozen(self.model):
            if vector is None:
                logits = self.model.last_logits(inputs, 1)
            else:
                mask = pad_mask([tokens[i].source for i in index])
                with vector.applied(self.model, strength=strength, positions="source", mask=mask):
                    logits = self.model.last_logits(inputs, 1)
        return torch.log_softmax(logits[:, -1].float(), -1).cpu()
